"""A boot of Debian's kernel from an erofs disk, under QEMU's emulation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.project import Project
from fledge.testing.tars import archive as tar
from fledge.testing.tars import member
from fledge.testing.trees import data

TEXT = b"".join(b"line %d of a text that compresses well\n" % i for i in range(20_000))
FILES = {
    **{b"data/text-%d" % size: TEXT[:size] for size in (100, 4000, 4096, 9000, 131_072, 131_073, 600_000)},
    **{b"data/raw-%d" % size: data(size, size) for size in (100, 4096, 4097, 200_000)},
    **{b"data/both-%d" % size: TEXT[:size] + data(size, 1) + TEXT[:777] for size in (3000, 131_072, 150_001)},
}


def test_debians_kernel_reads_every_byte_and_the_guest_can_write(tmp_path: Path) -> None:
    need_qemu()
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    project.environ["FLEDGE_KERNEL_BZIMAGE"] = str(need_kernel())
    project.environ["TMPDIR"] = str(project.folder)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  /{name.decode()}\n" for name, data in FILES.items())
    members = [member(name, data) for name, data in FILES.items()]
    layer = tar(member(b"bin/busybox", busybox(), mode=0o755), member(b"sums", sums.encode()), *members)
    script = "busybox sha256sum -c -s /sums && echo all are right > /sums && busybox cat /sums; exit 3"
    project.image(layer, config={"Entrypoint": ["/bin/busybox", "sh", "-c", script], "Env": ["PATH=/bin"]})
    project.config("erofs", more='overlay_size = "64M"')
    artifact = project.build()["artifact"]

    done = project.run(
        "boot", artifact, "--json", "--accel", "tcg", "--memory", "256", "--cpus", "1", "--timeout", "120", code=1
    )

    assert json.loads(done.stdout)["exit_status"] == 3
    assert "  | all are right\n" in done.stderr
