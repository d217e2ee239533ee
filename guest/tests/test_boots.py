"""Whole machines under emulation: the init as process 1 of Debian's kernel, with its modules and real disks."""

from __future__ import annotations

import http.server
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool, run
from fledge_guest import INIT_PATH, MODULES_PATH, ROOT_WORKLOAD_PATH, WORKLOAD_PATH, Workload, render_modules

NETWORK = ("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=")


# What a filesystem in memory takes: in a ramfs the first, in a tmpfs the second.
MEMORY = "busybox awk '/^(Unevictable|Shmem):/ {sum += $2} END {print \"in memory\", sum}' /proc/meminfo"
BALLAST = {"/ballast": bytes(48 << 20)}


def output(console: str) -> str:
    """What the workload said; the init's line about its start may come in between."""
    return console.replace("fledge: workload started\n", "")


def kib_in_memory(console: str) -> int:
    found = re.search(r"in memory (\d+)", console)
    assert found, console
    return int(found[1])


def disk(image: Path, device: str = "virtio-blk-pci") -> list[str]:
    return [
        "-drive",
        f"file={image},if=none,id=root,format=raw",
        "-device",
        f"{device},drive=root" + (",serial=root" if device == "nvme" else ""),
    ]


def ext4(folder: Path, image: Path) -> Path:
    run(need_tool("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-d", folder, image, "48M")
    return image


def squashfs(folder: Path, image: Path) -> Path:
    run(
        need_tool("mksquashfs", "squashfs-tools"), folder, image, "-quiet", "-no-progress", "-comp", "zstd", "-all-root"
    )
    return image


def erofs(folder: Path, image: Path) -> Path:
    run(need_tool("mkfs.erofs", "erofs-utils"), "--all-root", image, folder)
    return image


def holds(image: Path, path: str, content: str) -> None:
    """The disk was unmounted properly, with this file."""
    assert run("e2fsck", "-fn", image, check=False).returncode == 0
    assert "needs_recovery" not in run("dumpe2fs", "-h", image).stdout
    assert run("debugfs", "-R", f"cat {path}", image).stdout == content


@pytest.fixture
def folder(tmp_path, unpack, init, busybox):
    """A root filesystem with nothing but busybox and the init; its /proc, /dev and so on are for the init to make."""
    folder = tmp_path / "root"
    folder.mkdir(mode=0o755)
    unpack({INIT_PATH: init, "/bin/busybox": busybox, "/bin/sh": Path("busybox")}, folder)
    return folder


@pytest.fixture
def boot_files(init, kernel):
    """A boot initramfs: the init and the modules for disks."""
    names = ("virtio_pci", "virtio_blk", "squashfs", "erofs", "overlay")
    return {"/init": init, MODULES_PATH: render_modules(names), **kernel.module_files(*names)}


def test_an_initramfs_runs_its_workload_with_modules_and_network(boot, init, busybox, kernel):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"page of the host")

        def log_message(self, *_):
            pass

    script = f"""busybox wget -q -O - "http://10.0.2.2:$PORT/"; echo
busybox cat /etc/resolv.conf; busybox ip -o -4 address show eth0; busybox ip route
busybox cut -d ' ' -f 2,3 /proc/self/mounts; ulimit -n; ulimit -Hn
busybox id -u; echo out >/dev/stdout; {MEMORY}; exit 3"""
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"PORT": str(server.server_port)}
        files = {
            "/init": init,
            "/bin/busybox": busybox,
            "/bin/sh": Path("busybox"),
            "/etc/passwd": b"web:x:1000:1000::/srv:/bin/sh\n",
            "/etc/resolv.conf": b"",
            WORKLOAD_PATH: Workload(("sh", "-c", script), env=env, user="web").render(),
            MODULES_PATH: render_modules(["virtio-pci", "virtio_net", "ext4"]),
            **kernel.module_files("virtio_pci", "virtio_net"),
            **BALLAST,
        }
        console = boot("fledge.trace fledge.ip=10.0.2.15/24,10.0.2.2,10.0.2.3", *NETWORK, files=files)
        server.shutdown()
    assert "page of the host\nnameserver 10.0.2.3\n" in output(console)
    assert re.search(r"eth0 +inet 10\.0\.2\.15/24 ", console)
    assert "default via 10.0.2.2 dev eth0" in console
    for mount in (
        "/proc proc",
        "/sys sysfs",
        "/dev devtmpfs",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/run tmpfs",
        "/tmp tmpfs",
    ):
        assert f"\n{mount}\n" in console
    assert "\n1024\n524288\n1000\nout\n" in output(console)
    assert "\nfledge: workload started\n" in console
    assert "\nfledge: workload exited with 3\n" in console
    assert kib_in_memory(console) > 48 * 1024
    assert "warning" not in console
    steps = re.findall(r"^fledge: trace (\w+) boot_us=(\d+) init_us=(\d+)$", console, re.MULTILINE)
    assert [step for step, _, _ in steps] == ["start", "modules", "system", "exec"]
    for times in zip(*((int(boot_us), int(init_us)) for _, boot_us, init_us in steps), strict=True):
        assert list(times) == sorted(times)


def test_an_initramfs_without_a_description_hands_over_to_the_agent(boot, init, busybox):
    agent = b"#!/bin/sh\necho agent is $$ on $(busybox tty); exec busybox poweroff -f\n"
    files = {"/init": init, "/bin/busybox": busybox, "/bin/sh": Path("busybox"), "/bin/kestrel": agent}
    console = boot("volant.manifest=e30", files=files)
    assert "fledge: handing over to /bin/kestrel\nagent is 1 on /dev/console\n" in console


def test_an_ext4_disk_from_a_boot_initramfs(boot, boot_files, folder, tmp_path):
    script = f"echo written >/srv/file; busybox grep ' / ' /proc/mounts; {MEMORY}; busybox find / -xdev -name ballast"
    (folder / "srv").mkdir()
    (folder / WORKLOAD_PATH[1:]).write_bytes(Workload(("sh", "-c", script)).render())
    image = ext4(folder, tmp_path / "image")
    console = boot("root=/dev/vda", *disk(image), files=boot_files | BALLAST | {"/deep/er/file": b"", "/dev/old": b""})
    assert "fledge: handing over to /.fledge/init\n" in console
    assert re.search(r"^/dev/vda / ext4 rw,", console, re.MULTILINE)
    assert kib_in_memory(console) < 4096, "the initramfs still takes memory"
    assert "/ballast" not in console
    assert "\nfledge: workload exited with 0\n" in console
    assert "warning" not in console
    holds(image, "/srv/file", "written\n")


OVERLAY = """echo changed >/etc/file; busybox cat /etc/file; busybox stat -c '%a %u:%g %Y' /
busybox df -k / | busybox awk 'END {print "size", $2}'
busybox grep -E ' / ' /proc/mounts | busybox cut -d ' ' -f 1-3
busybox dd if=/dev/zero of=/fill bs=64k count=1024 2>&1 | busybox head -n 1; busybox stat -c 'filled %s' /fill
busybox ls -a /.fledge"""


@pytest.mark.parametrize("make", [squashfs, erofs])
def test_a_read_only_disk_with_a_description_in_the_boot_initramfs(boot, boot_files, folder, tmp_path, make):
    for name in ("dev", "etc", "proc", "run", "sys", "tmp"):
        (folder / name).mkdir()
    (folder / "etc/file").write_text("original")
    folder.chmod(0o711)
    image = make(folder, tmp_path / "image")
    before = image.read_bytes()
    workload = Workload(("sh", "-c", OVERLAY), overlay_size="16M").render()
    console = boot("root=/dev/vda", *disk(image), files=boot_files | {ROOT_WORKLOAD_PATH: workload})
    assert f"changed\n711 0:0 {int(folder.stat().st_mtime)}\nsize 16384\noverlay / overlay\n" in output(console)
    assert "No space left on device" in console
    filled = int(re.search(r"filled (\d+)", console)[1])
    assert 15 << 20 < filled <= 16 << 20
    assert "\nfledge: workload exited with 0\n" in console
    assert image.read_bytes() == before


def test_a_read_only_root_without_an_initramfs(boot, init, busybox, kernel, folder, unpack, tmp_path):
    """The kernel mounts the disk itself (its NVMe and ext4 drivers are built in), the init pivots into the overlay."""
    workload = Workload(("sh", "-c", OVERLAY), overlay_size="1T").render()
    unpack({WORKLOAD_PATH: workload, MODULES_PATH: render_modules(["overlay"]), "/etc/file": b"original"}, folder)
    unpack(kernel.module_files("overlay"), folder)
    image = ext4(folder, tmp_path / "image")
    before = image.read_bytes()
    console = boot(f"root=/dev/nvme0n1 ro init={INIT_PATH} fledge.overlay_size=10%", *disk(image, "nvme"))
    assert "changed\n755 " in output(console)
    size = int(re.search(r"size (\d+)", console)[1])
    total = 256 * 1024
    assert total * 0.07 < size < total * 0.10, "10 % of what the kernel leaves of 256 MiB"
    assert "\noverlay / overlay\n" in output(console)
    assert "No space left on device" in console
    assert "\nfledge: workload exited with 0\n" in console
    assert image.read_bytes() == before


def test_ctrl_alt_del_stops_a_workload_on_a_writable_root(boot, folder, unpack, tmp_path):
    """The kernel mounts the disk itself, read-only as always; the init makes it writable."""
    script = "trap 'echo stopping; exit 7' QUIT; echo written >/file; echo ready; while :; do busybox sleep 0.1; done"
    unpack({WORKLOAD_PATH: Workload(("sh", "-c", script), stop_signal=3).render()}, folder)
    image = ext4(folder, tmp_path / "image")
    monitor = tmp_path / "monitor"

    def press(console: Path) -> None:
        while b"ready" not in console.read_bytes():
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(monitor))
            channel.sendall(b"sendkey ctrl-alt-delete\n")
            channel.recv(1024)
            while b"stopping" not in console.read_bytes():
                time.sleep(0.05)

    options = ("-monitor", f"unix:{monitor},server,nowait")
    console = boot(f"root=/dev/nvme0n1 init={INIT_PATH}", *disk(image, "nvme"), *options, during=press)
    assert "stopping\nfledge: workload exited with 7\n" in console
    holds(image, "/file", "written\n")


def test_a_compressed_module_that_the_kernel_does_not_take_and_the_end_by_reset(boot, init, kernel):
    path = "/x.ko.xz"
    files = {"/init": init, MODULES_PATH: render_modules([path]), path: b"\xfd7zXZ\0" + bytes(1000)}
    message = f"kernel {kernel.release} does not decompress it (CONFIG_MODULE_DECOMPRESS); it is needed as plain .ko"
    console = boot("reboot=k", files=files)
    assert f"fledge: error: cannot load the module {path}: {message}\n" in console
    assert "reboot: Power down" not in console
