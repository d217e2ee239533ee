"""Real boots, under QEMU's emulation, with Debian's kernel: each takes a few seconds."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from fledge.boot.initramfs import archive
from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.project import Project
from fledge.testing.tars import archive as tar
from fledge.testing.tars import member
from fledge_guest import Workload, init_binary

SMALL = ("--accel", "tcg", "--memory", "256", "--cpus", "1", "--timeout", "120")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    need_qemu()
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    made.environ["FLEDGE_KERNEL_BZIMAGE"] = str(need_kernel())
    made.environ["TMPDIR"] = str(made.folder)
    return made


def image(project: Project, *entrypoint: str, **config: Any) -> None:
    """An image with busybox and a page."""
    layer = tar(member(b"bin/busybox", busybox(), mode=0o755), member(b"www/index.html", b"a page of the guest\n"))
    project.image(layer, config={"Entrypoint": ["/bin/busybox", *entrypoint], **config})


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def machines(project: Project) -> list[int]:
    """The VMMs that run with this project's environment, whoever is their parent by now."""
    mark = f"FLEDGE_CACHE_DIR={project.cache}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().startswith("qemu") and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def busy(process: int) -> float:
    """Seconds of processor time that a process has had: how far a guest is, however loaded this machine."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4"])
def test_a_workload_that_exits_with_3_is_reported_as_3(project: Project, filesystem: str) -> None:
    script = "echo $GREETING from $(busybox id -u) in $PWD; echo written > /www/index.html; busybox cat /www/index.html; exit 3"
    image(project, "sh", "-c", script, Env=["PATH=/bin", "GREETING=hello"], User="7:8", WorkingDir="/srv")
    project.config(filesystem, more='overlay_size = "64M"' if filesystem == "squashfs" else "")
    artifact = project.build()["artifact"]
    before = digest(artifact)

    done = project.run("boot", artifact, "--json", *SMALL, code=1)

    facts = json.loads(done.stdout)
    assert facts["exit_status"] == 3
    assert (facts["vmm"], facts["accelerator"]) == ("qemu", "tcg")
    assert 0 < facts["seconds"] < 120
    assert done.stderr.endswith("fledge: error: the workload exited with 3\n")
    assert "  | hello from 7 in /srv\n" in done.stderr
    assert "  | fledge: workload exited with 3\n" in done.stderr
    assert digest(artifact) == before
    assert machines(project) == project.leftovers() == []


MANIFEST = """\
schema_version = "v1"
name = "web"
version = "1"
runtime = "web"
[resources]
cpu_cores = 1
memory_mb = 256
[workload]
type = "http"
[health_check]
endpoint = "/index.html"
timeout_ms = 5000
"""


def test_a_web_server_answers_through_the_forwarded_port(project: Project) -> None:
    image(project, "httpd", "-f", "-p", "8080", "-h", "/www", ExposedPorts={"8080/tcp": {}})
    project.config("ext4")
    (project.folder / "manifest.toml").write_text(MANIFEST)
    built = project.build()
    before = digest(built["artifact"])

    done = project.run("boot", built["manifest"], "--accel", "tcg", "--timeout", "120")

    assert done.stdout.startswith("up in ")
    assert done.stdout.endswith("/index.html answers 200\n")
    assert digest(built["artifact"]) == before
    assert machines(project) == []


@pytest.mark.parametrize("filesystem", ["squashfs", "ext4"])
def test_a_debian_image_with_nginx_answers(project: Project, nginx: Path, filesystem: str) -> None:
    (project.folder / "manifest.toml").write_text(MANIFEST.replace("/index.html", "/"))
    (project.folder / "image").symlink_to(nginx)
    project.config(filesystem, more="compression_level = 3" if filesystem == "squashfs" else "")
    built = project.build()

    done = project.run("boot", built["artifact"], "--accel", "tcg", "--timeout", "120", "--json")

    assert json.loads(done.stdout)["answer"].endswith("/ answers 200")


def test_an_agent_gets_the_manifest_as_volant_passes_it(project: Project) -> None:
    image(project, "sh", "-c", "exit 9")
    (project.folder / "agent").write_text(
        "#!/bin/busybox sh\n/bin/busybox cat /proc/cmdline\necho agent is $$\nexec /bin/busybox sleep 1000\n"
    )
    project.config(agent='source_strategy = "local"\npath = "agent"')
    artifact = project.build()["artifact"]

    # The console goes to stdout, and the machine would run on: it is left by a signal. The VMM makes the terminal raw.
    keyboard, stdin = pty.openpty()
    before = termios.tcgetattr(stdin)
    with project.start("boot", artifact, "--console", *SMALL, stdin=stdin, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = ""
        while "agent is" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        assert termios.tcgetattr(stdin) != before
        process.terminate()
        rest = process.stdout.read()
    assert termios.tcgetattr(stdin) == before
    os.close(stdin)
    os.close(keyboard)
    assert process.returncode == 130, rest
    assert "fledge: handing over to /bin/kestrel" in said
    assert "agent is 1" in said
    encoded = said.partition("volant.manifest=")[2].split()[0]
    manifest = json.loads(gzip.decompress(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))))
    assert manifest["workload"]["entrypoint"] == ["/bin/busybox", "sh", "-c", "exit 9"]
    assert machines(project) == []


def test_the_exit_status_that_a_user_at_the_console_saw(project: Project) -> None:
    image(project, "sh", "-c", "echo it goes on; busybox sleep 4; exit 7", Env=["PATH=/bin"])
    project.config("ext4")
    artifact = project.build()["artifact"]

    done = project.run("boot", artifact, "--console", *SMALL, code=1)

    console, up = done.stdout.rstrip().rsplit("\n", 1)
    assert "it goes on" in console
    assert "fledge: workload exited with 7" in console
    assert up.startswith("up in ")
    assert up.endswith(": the workload exited with 7")
    assert "the workload exited with 7\n" in done.stderr
    assert done.stderr.count("exited with 7") == 1


def initramfs(project: Project, init: bytes, **files: tuple[int, bytes]) -> Path:
    """An artifact with busybox, whose process 1 is `init`."""
    path = project.folder / "plugin.cpio"
    path.write_bytes(archive({"/init": (0o755, init), "/bin/busybox": (0o755, busybox()), **files}))
    return path


def test_an_initramfs_gets_the_modules_of_its_network(project: Project) -> None:
    workload = Workload(("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/"), stop_signal=15)
    path = initramfs(project, init_binary("amd64"), **{"/.fledge/workload": (0o644, workload.render())})
    document = {
        "schema_version": "v1",
        "name": "web",
        "version": "1",
        "runtime": "web",
        "resources": {"cpu_cores": 1, "memory_mb": 256},
        "initramfs": {"url": path.as_uri(), "checksum": f"sha256:{digest(path)}", "format": "cpio"},
        "workload": {"type": "http", "entrypoint": list(workload.entrypoint), "base_url": "http://127.0.0.1:80"},
        "health_check": {"endpoint": "/.fledge/workload", "timeout_ms": 1000},
        "network": {"mode": "bridged", "expose": [{"port": 80, "protocol": "tcp"}]},
    }
    (project.folder / "web.manifest.json").write_text(json.dumps(document))

    done = project.run("boot", path, "--accel", "tcg", "--timeout", "120")

    assert done.stdout.endswith("/.fledge/workload answers 200\n")


def test_a_panicking_kernel(project: Project) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\necho my own init\nexit 3\n")

    done = project.run("boot", path, *SMALL, code=1)

    assert "fledge: error: the guest's kernel panicked: Attempted to kill init! exitcode=0x00000300\n" in done.stderr
    assert "  | my own init\n" in done.stderr
    assert machines(project) == []


def test_a_guest_that_takes_too_long(project: Project) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\n")
    began = time.monotonic()

    done = project.run("boot", path, "--accel", "tcg", "--memory", "256", "--timeout", "1", code=1)

    assert "fledge: error: the guest did not come up within 1 s: its workload has not started\n" in done.stderr
    assert done.stderr.endswith("  hint: --timeout for more patience\n")
    assert time.monotonic() - began < 20
    assert machines(project) == []


def test_a_vmm_that_says_why_it_ends(project: Project) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\n")

    done = project.run("boot", path, "--accel", "tcg", "--memory", str(1 << 40), code=1)

    assert "fledge: error: the VMM ended with exit code 1: qemu-system-x86_64: " in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_case_088_an_interrupted_boot_leaves_nothing(project: Project, number: signal.Signals) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n")
    with project.start("boot", path, *SMALL) as process:
        deadline = time.monotonic() + 30
        while not machines(project):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while number == signal.SIGINT and busy(machines(project)[0]) < 2:
            time.sleep(0.1)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=20)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.endswith("fledge: error: interrupted by SIGINT\n")
        assert "\n  | [" in err
    deadline = time.monotonic() + 10
    while machines(project):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {path.name for path in project.folder.iterdir()} <= {"plugin.cpio", "cache"}


# Without a machine


def test_a_kernel_without_the_filesystem(project: Project) -> None:
    kernel = Path(project.environ["FLEDGE_KERNEL_BZIMAGE"])
    release = kernel.name.removeprefix("vmlinuz-")
    own = project.folder / "boot"
    own.mkdir()
    (own / "bzImage").symlink_to(kernel)
    config = (kernel.parent / f"config-{release}").read_text()
    (own / f"config-{release}").write_text(config.replace("CONFIG_SQUASHFS_ZSTD=y\n", ""))
    project.environ["FLEDGE_KERNEL_BZIMAGE"] = str(own / "bzImage")
    image(project, "true")
    project.config()
    lack = f"the kernel {own}/bzImage ({release}) has no zstd in squashfs (CONFIG_SQUASHFS_ZSTD)\n"

    built = project.run("build")
    assert f"fledge: warning: FLEDGE_KERNEL_BZIMAGE: the artifact won't boot: {lack}" in built.stderr

    artifact = built.stdout.split()[0]
    done = project.run("boot", artifact, "--accel", "tcg", code=1)
    assert f"fledge: error: image-rootfs.img can't boot: {lack}" in done.stderr

    (own / f"config-{release}").write_text(config)
    done = project.run("boot", artifact, "--modules", own, "--accel", "tcg", code=1)
    assert f"{own} is not a folder of kernel modules" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--kernel", "/none"), 2, "there is no kernel /none"),
        (("--kernel", "/etc/passwd"), 1, "/etc/passwd is no kernel"),
        (("--vmm", "bhyve"), 2, "unknown vmm 'bhyve'; installed: cloud-hypervisor, firecracker, qemu"),
        (("--vmm", "firecracker", "--accel", "tcg"), 2, "firecracker does not boot"),
        (("--vmm", "cloud-hypervisor", "--accel", "tcg"), 2, "cloud-hypervisor runs with KVM only"),
        (("--console", "--json"), 2, "--console and --json exclude each other"),
        (("--timeout", "0"), 2, "invalid value for '--timeout'"),
    ],
)
def test_what_can_not_be_booted_with(project: Project, arguments: tuple[str, ...], code: int, message: str) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\n")
    said = project.run("boot", path, *arguments, code=code).stderr
    assert said.startswith(f"fledge: error: {message}")
    assert said.count("\n") <= 2


def test_a_vmm_that_is_not_installed(project: Project, tmp_path: Path) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\n")
    project.environ["PATH"] = str(tmp_path / "empty")
    said = project.run("boot", path, "--accel", "tcg", code=2).stderr
    assert said == (
        "fledge: error: qemu is not installed: there is no qemu-system-x86_64 in PATH\n"
        "  hint: install qemu-system-x86, or qemu-system-arm for arm64\n"
    )


def test_an_initramfs_of_another_architecture(project: Project) -> None:
    workload = Workload(("/app",)).render()
    path = initramfs(project, init_binary("arm64"), **{"/.fledge/workload": (0o644, workload)})
    said = project.run("boot", path, "--accel", "tcg", code=1).stderr
    assert said.startswith("fledge: error: plugin.cpio can't boot: its init is for arm64, and the kernel ")


def test_the_environment_chooses_the_accelerator(project: Project) -> None:
    path = initramfs(project, b"#!/bin/busybox sh\n")
    project.environ["FLEDGE_ACCEL"] = "hvf"
    assert "FLEDGE_ACCEL is 'hvf'; allowed are auto, kvm and tcg" in project.run("boot", path, code=2).stderr


def test_no_kernel_is_named(project: Project) -> None:
    if Path("/var/lib/volant/kernel").exists():
        pytest.skip("this machine has Volant's kernels")
    path = initramfs(project, b"#!/bin/busybox sh\n")
    kernel = project.environ.pop("FLEDGE_KERNEL_BZIMAGE")
    done = project.run("boot", path, code=2)
    assert "fledge: error: no kernel to boot: --kernel is not given" in done.stderr
    assert done.stderr.endswith(f"hint: --kernel {kernel}\n")
