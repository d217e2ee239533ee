"""Two ways to run the init: in a virtual machine, and as process 1 of namespaces for what needs no kernel of its own."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import pty
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fledge.testing.boots import busybox, need_kernel, need_qemu
from fledge.testing.oracles import need_root, need_tool

GUEST = Path(__file__).resolve().parents[1]
SOURCES = GUEST / "src" / "init"

Files = Mapping[str, "bytes | Path"]  # content, or what a symbolic link points to


@pytest.fixture(scope="session")
def compile_init() -> Callable[[str, Path], None]:
    """The compiler of the wheel's build, for an architecture and an output file."""
    spec = importlib.util.spec_from_file_location("guest_build", GUEST / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda architecture, output: module.compile_init(SOURCES, architecture, output)


@pytest.fixture(scope="session")
def init(compile_init: Callable[[str, Path], None], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The init as the sources are now."""
    output = tmp_path_factory.mktemp("init") / "init"
    compile_init("amd64", output)
    return output.read_bytes()


@pytest.fixture(name="busybox", scope="session")
def busybox_fixture() -> bytes:
    return busybox()


def initramfs(files: Files) -> bytes:
    """A newc archive with parent folders; every file may be executed."""
    names: dict[str, bytes | Path | None] = {}
    for path, content in files.items():
        for parent in reversed(Path(path).parents[:-1]):
            names.setdefault(str(parent), None)
        names[path] = content
    out = bytearray()
    for number, (path, content) in enumerate([*names.items(), ("/TRAILER!!!", b"")], start=1):
        match content:
            case None:
                mode, data = 0o040755, b""
            case Path():
                mode, data = 0o120777, os.fsencode(content)
            case bytes():
                mode, data = 0o100755, content
        name = os.fsencode(path[1:]) + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


@pytest.fixture(name="unpack", scope="session")
def unpack_fixture() -> Callable[[Files, Path], None]:
    return unpack


def unpack(files: Files, folder: Path) -> None:
    """Puts files into a folder of this machine."""
    for path, content in files.items():
        target = folder / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
            target.chmod(0o755)


@dataclass(frozen=True)
class Kernel:
    image: Path
    release: str

    @property
    def modules(self) -> Path:
        return Path("/lib/modules") / self.release

    def module_files(self, *names: str) -> dict[str, bytes]:
        """The modules and what they depend on, under /lib/modules of a guest, with modules.dep."""
        files = {
            f"{self.modules}/{name}": (self.modules / name).read_bytes() for name in ("modules.dep", "modules.builtin")
        }
        for line in files[f"{self.modules}/modules.dep"].decode().splitlines():
            path, _, needed = line.partition(":")
            if Path(path).name.removesuffix(".ko").replace("-", "_") in names:
                for one in (path, *needed.split()):
                    files[f"{self.modules}/{one}"] = (self.modules / one).read_bytes()
        return files


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """Debian's kernel for virtual machines; everything of virtio, squashfs and overlay is a module in it."""
    image = need_kernel()
    kernel = Kernel(image, image.name.removeprefix("vmlinuz-"))
    if not any(kernel.modules.rglob("squashfs.ko")):
        pytest.skip(f"the modules of kernel {kernel.release} are not plain .ko files")
    return kernel


@pytest.fixture
def boot(kernel: Kernel, tmp_path: Path) -> Callable[..., str]:
    """Boots, and returns what the console showed; fails when the machine does not end by itself."""
    qemu = need_qemu()

    def run(
        append: str,
        *options: str,
        files: Files | None = None,
        during: Callable[[Path], None] | None = None,
        timeout: float = 100,
    ) -> str:
        console = tmp_path / "console"
        console.touch()
        # microvm would start faster, but the kernel can't always calibrate its clock there without KVM.
        argv = [qemu, "-machine", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none"]
        argv += ["-serial", f"file:{console}", "-kernel", str(kernel.image), *options]
        if files is not None:
            (tmp_path / "initramfs").write_bytes(initramfs(files))
            argv += ["-initrd", str(tmp_path / "initramfs")]
        argv += ["-append", f"console=ttyS0 quiet panic=-1 {append}"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as machine:
            if during is not None:
                threading.Thread(target=during, args=(console,), daemon=True).start()
            try:
                _, errors = machine.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                machine.kill()
                pytest.fail(f"still running after {timeout:g} s; console:\n{console.read_text(errors='replace')}")
        text = console.read_bytes().decode(errors="replace").replace("\r\n", "\n")
        assert machine.returncode == 0, errors.decode() + text
        assert "Kernel panic" not in text, text
        return text

    return run


# Everything is private to the namespaces, and the root is a tmpfs as in an initramfs. The devices are mounted
# beforehand, with a terminal of the test in the place of this machine's console.
_ENTER = """
mount -t tmpfs -o mode=0755 root "$1" && cp -a "$2/." "$1/" && mkdir -p "$1/dev" &&
mount -t devtmpfs devtmpfs "$1/dev" && mount --bind "$3" "$1/dev/console" &&
exec env -i HOME=/ TERM=linux "$(command -v chroot)" "$1" $4 /init <"$3" >"$3" 2>&1
"""


@pytest.fixture
def run_as_init(init: bytes, busybox: bytes, tmp_path: Path) -> Callable[..., str]:
    """Runs the init as process 1 over `files` and busybox, and returns what the console showed."""
    need_root()
    need_tool("unshare", "util-linux")
    if subprocess.run(["unshare", "-mpfnui", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")

    def start(files: Files, parameters: str = "", *, emulator: str = "", timeout: float = 30) -> str:
        source = Path(tempfile.mkdtemp(dir=tmp_path))
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        shell = {"/bin/busybox": busybox, "/bin/sh": Path("busybox")}
        source.chmod(0o755)
        unpack({"/proc/cmdline": f"{parameters}\n".encode(), **shell} | {"/init": init, **files}, source)
        master, slave = pty.openpty()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, master)
            argv = ["unshare", "-mpfnui", "--kill-child", "sh", "-c", _ENTER, "sh"]
            argv += [str(root), str(source), os.ttyname(slave), emulator]
            process = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return _read_console(master, slave, process, timeout)

    return start


def _read_console(master: int, slave: int, process: subprocess.Popen[bytes], timeout: float) -> str:
    console = bytearray()
    deadline = time.monotonic() + timeout
    while True:
        ended = process.poll() is not None
        if ended and slave >= 0:
            os.close(slave)
            slave = -1
        readable, _, _ = select.select([master], [], [], 0.02)
        if readable:
            try:
                console += os.read(master, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break
        elif ended:
            break
        if time.monotonic() > deadline:
            pytest.fail(f"still running after {timeout:g} s; console:\n{console.decode(errors='replace')}")
    return console.decode(errors="replace").replace("\r\n", "\n")
