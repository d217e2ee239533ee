"""What a step finds in its machine, and how its end is told."""

from __future__ import annotations

import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.testing.oracles import need_root, need_tool, run
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge_builder_microvm.changes import Change, Put, limit_times
from fledge_builder_microvm.layer_writer import write_layer
from fledge_builder_microvm.steps import BindMount, CacheMount, SecretMount, TmpfsMount

PASSWD = b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/srv/web:/bin/sh\n"
GROUP = b"root:x:0:\nweb:x:1000:\nstaff:x:50:web\n"


@contextmanager
def page(folder: Path) -> Iterator[int]:
    """A web server on the host's loopback: its port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (folder / "page").write_text("page of the host\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def put(tree: Tree, path: str, data: bytes) -> None:
    folder, name = tree.root, path.encode().split(b"/")
    for part in name[:-1]:
        below = folder.entries.setdefault(part, Directory(0o755))
        assert isinstance(below, Directory)
        folder = below
    folder.entries[name[-1]] = File(Content.of(data), 0o644)


def paths(changes: list[Change]) -> list[bytes]:
    return [change.path for change in changes]


LOOK_AROUND = r"""
echo "id=$(id -u):$(id -g):$(id -G) pwd=$PWD home=$HOME var=$VAR umask=$(umask) host=$(hostname)"
echo "stdin=$(cat | wc -c)"; tty; test -t 1 || echo no terminal
echo to stdout >/dev/stdout; echo to stderr >/dev/stderr
echo "dev=$(ls /dev | tr '\n' ' ')"; echo "cpus=$(nproc)"
cat /etc/hosts /etc/resolv.conf /etc/hostname
echo "net=$(wget -q -O - http://10.0.2.2:$PORT/page)"
cat /run/secrets/token; ls -ln /run/secrets/token; df -k /scratch | tail -n 1
cat /src/file /src/deep/inner; echo x >/src/file || echo src is read-only
cat /one; echo changed >/rw/file; cat /rw/file; cat /cache/seeded; echo new >/cache/kept; cat /script
echo result >/srv/web/result; printf 'a\rlast of its line\n\033[1mbold\033[0m\n'; ls /proc/1/exe 2>&1 | tail -n 1
sleep 1000 & printf 'no newline at the end'
"""


def test_what_a_step_finds_and_what_it_leaves(steps, shell_tree: Callable[[], Tree], tmp_path: Path) -> None:
    tree = shell_tree()
    put(tree, "etc/passwd", PASSWD)
    put(tree, "etc/group", GROUP)
    put(tree, "srv/web/index", b"here")
    web = tree.root.entries[b"srv"].entries[b"web"]
    web.uid = web.gid = 1000
    source = Tree(Directory(0o755))
    put(source, "file", b"of the context\n")
    put(source, "deep/inner", b"deep in the context\n")
    seed = Directory(0o755)
    seed.entries[b"seeded"] = File(Content.of(b"seed of the cache\n"), 0o644)
    alone = File(Content.of(b"one file\n"), 0o644)
    writable = Tree(Directory(0o777))
    put(writable, "file", b"to be changed")
    writable.root.entries[b"file"].mode = 0o666
    with page(tmp_path) as port:
        changes = steps.run(
            tree,
            "sh",
            "-c",
            LOOK_AROUND,
            user="web",
            workdir="/srv/web",
            environ={"PATH": "/bin", "VAR": "a 'b' $c\nd", "PORT": str(port)},
            mounts=(
                CacheMount("/cache", "the cache", seed, 0o700, 1000, 1000),
                BindMount("/dev/pipes/EOF", File(Content.of(b"a script\n"), 0o755)),
                BindMount("/one", alone),
                SecretMount("/run/secrets/token", b"secret\n", 0o440, 0, 50),
                BindMount("/rw", writable.root, readonly=False),
                TmpfsMount("/scratch", 1 << 20),
                BindMount("/script", File(Content.of(b"second\n"), 0o755)),
                BindMount("/src", source.root),
                TmpfsMount("/src/deep/tmp"),
            ),
        )
    said = "\n".join(steps.lines)
    assert "id=1000:1000:1000 50 pwd=/srv/web home=/srv/web var=a 'b' $c" in said
    assert "umask=0022 host=fledge-build\nstdin=0\nnot a tty\nno terminal\nto stdout\nto stderr\n" in said
    assert "dev=fd full mqueue null pipes ptmx pts random shm stderr stdin stdout tty urandom zero\n" in said
    assert f"cpus={len(os.sched_getaffinity(0))}\n" in said
    assert "10.0.2.15 fledge-build\nnameserver 10.0.2.3\nfledge-build\nnet=page of the host\n" in said
    assert re.search(r"secret\n-r--r----- +1 0 +50 +7 .*\n.* 1024 +0 +1024 +0% /scratch\n", said)
    assert "of the context\ndeep in the context\nsh: can't create /src/file: Read-only file system\n" in said
    assert "src is read-only\none file\nchanged\nseed of the cache\nsecond\n" in said
    assert said.endswith("last of its line\nbold\nls: /proc/1/exe: Permission denied\nno newline at the end")
    assert paths(changes) == [b"srv", b"srv/web", b"srv/web/result"]
    assert [(one.inode.mode, one.inode.uid, one.inode.gid) for one in changes if isinstance(one, Put)][-1] == (
        0o644,
        1000,
        1000,
    )
    assert b"cache" not in tree.root.entries

    # The cache is there for the next step, and a failed step says how it failed.
    with pytest.raises(BuildError) as caught:
        steps.run(shell_tree(), "sh", "-c", "cat /c/kept /c/seeded; exit 3", mounts=(CacheMount("/c", "the cache"),))
    assert caught.value.message == "the command ended with exit code 3"
    assert caught.value.transcript == ("new", "seed of the cache")
    assert not list((tmp_path / "store/tmp").glob(".run*"))


@pytest.mark.parametrize(
    ("script", "fields", "message", "told"),
    [
        (
            "ls /sys/class/net; kill -KILL $$",
            {"network": False},
            "the command was killed by signal 9 (SIGKILL)",
            ["lo"],
        ),
        (
            # Nobody but the guest init ends a step, whatever is written to the machine's console.
            "mknod /c c 5 1; echo 'fledge: workload exited with 0' >/c; sleep 5; echo no",
            {},
            "the machine ended before its disk was unmounted: nothing of what the step did is kept",
            [],
        ),
        (
            "mv /proc/1/root/.fledge/scratch/upper /proc/1/root/.fledge/scratch/lost",
            {},
            "the step removed the folder that takes its changes",
            [],
        ),
        (None, {"user": "0:0"}, "cannot execute nothing: not in PATH /bin", []),
    ],
    ids=["signal", "forged-end", "lost-changes", "no-program"],
)
def test_a_step_that_fails(
    steps, shell_tree: Callable[[], Tree], script: str | None, fields: dict[str, object], message: str, told: list[str]
) -> None:
    with pytest.raises(BuildError) as caught:
        steps.run(shell_tree(), *(["nothing"] if script is None else ["sh", "-c", script]), **fields)
    assert caught.value.message == f"{message}"
    assert steps.lines[: len(told)] == told


def test_a_full_disk_of_the_host_is_an_error(steps, shell_tree: Callable[[], Tree]) -> None:
    """Also where the step itself does not notice: it writes to its machine's memory first."""
    need_root()
    folder = steps.context.store.path("tmp")
    folder.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", folder)
    try:
        with pytest.raises(BuildError, match="cannot write to the scratch disk: input/output error") as caught:
            steps.run(shell_tree(), "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=40")
    finally:
        run("umount", "--lazy", folder)
    assert caught.value.hint == "the disk of the cache folder may be full"


def test_a_full_disk_of_the_host_costs_a_cache(steps, shell_tree: Callable[[], Tree]) -> None:
    """Else a later step would find files in it whose content was never written."""
    need_root()
    folder = steps.context.store.folder
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", folder)
    mounts = (CacheMount("/c", "big"), TmpfsMount("/t"))
    try:
        with pytest.raises(BuildError) as caught:
            steps.run(shell_tree(), "dd", "if=/dev/zero", "of=/c/file", "bs=1M", "count=40", mounts=mounts)
        assert [path for path in (folder / "packs").rglob("*") if path.is_file()] == []
    finally:
        run("umount", "--lazy", folder)
    assert caught.value.message == "cannot write to the disk on /c: input/output error (EIO)"
    assert caught.value.hint == "the disk of the cache folder may be full"
    assert steps.log.texts("warning")[-1] == "the cache 'big' of RUN --mount is dropped, since it may be damaged"


def test_the_same_step_gives_the_same_layer(steps, shell_tree: Callable[[], Tree]) -> None:
    script = "mkdir -p a/b; for i in 1 2 3 4 5 6 7 8 9; do echo $i >a/b/$i; ln a/b/$i a/$i; done; rm /bin/awk; echo x >/bin/x"
    diff_ids = set()
    for _ in range(2):
        changes = list(steps.run(shell_tree(), "sh", "-c", script))
        limit_times(changes, 0)
        diff_ids.add(write_layer(steps.context.store, changes).diff_id)
    assert len(diff_ids) == 1


def test_an_interrupt_ends_the_machine_at_once_and_leaves_nothing(steps, tmp_path: Path) -> None:
    busybox = need_tool("busybox", "busybox-static")
    (tmp_path / "busybox").write_bytes(Path(busybox).read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    (tmp_path / "Dockerfile").write_text(
        """FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sh", "-c", "echo be''gun; /bin/busybox sleep 1000"]\n"""
    )
    environ = {**os.environ, **steps.environ, "FLEDGE_CACHE_DIR": str(tmp_path / "cache")}
    argv = [Path(sys.executable).with_name("fledge"), "build", "Dockerfile", "--output", "out.img"]
    with subprocess.Popen(argv, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        seen = b""
        while b"begun" not in seen:
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, seen.decode()
            seen += piece
        lists = Path(f"/proc/{process.pid}/task").glob("*/children")
        machines = [Path(f"/proc/{child}/exe") for one in lists for child in one.read_text().split()]
        assert [machine.exists() for machine in machines] == [True]
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 130
        assert time.monotonic() - began < 3
        assert not machines[0].exists()
    assert not (tmp_path / "out.img").exists()
    assert not list((tmp_path / "cache/tmp").glob(".*"))
