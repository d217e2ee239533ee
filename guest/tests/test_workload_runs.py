"""The init as process 1 over a workload, in namespaces: no kernel is booted."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool
from fledge_guest import Workload

ACCOUNTS = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nbroken line\nweb:x:1000:1001:Web:/srv/web:/bin/sh\n"
    b"7:x:70:70::/seven:/bin/sh\n",
    "/etc/group": b"root:x:0:\nstaff:x:50:web,other\nwebs:x:1001:\nweby:x:51:webby,other\nadm:x:4:other,web\n",
}


def shell(script: str, **fields: object) -> dict[str, bytes]:
    return {"/.fledge/workload": Workload(("sh", "-c", script), **fields).render()}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("exit 0", "fledge: workload exited with 0"),
        ("exit 3", "fledge: workload exited with 3"),
        ("exit 255", "fledge: workload exited with 255"),
        ("kill -9 $$", "fledge: workload killed by signal 9"),
        ("kill -TERM $$", "fledge: workload killed by signal 15"),
        # What it leaves behind is asked to end, then killed, and can't write after the last line.
        (
            "(trap '' TERM; while :; do busybox sleep 0.1; echo still here; done) & busybox sleep 0.3; exit 4",
            "fledge: workload exited with 4",
        ),
    ],
)
def test_the_end_of_the_workload_is_the_last_line(run_as_init, script, last):
    console = run_as_init(shell(script))
    assert "fledge: workload started\n" in console
    assert console.splitlines()[-1] == last


def test_the_workload_has_its_environment_folder_and_arguments(run_as_init):
    workload = Workload(
        ("/bin/show", "one two", "", "*", "\x1b[31m"),
        env={"A": "b=c", "EMPTY": "", "PATH": "/nowhere:/bin"},
        workdir="/srv/new/folder",
        hostname="machine",
    )
    show = b"""#!/bin/sh
busybox env | busybox sort; busybox pwd; busybox stat -c %a,%u:%g .; busybox hostname
for word; do busybox printf '<%s>\\n' "$word"; done
busybox grep -E '^(Sig(Blk|Ign)|Groups|Uid)' /proc/self/status; umask
busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start; busybox ip address show lo | busybox grep -o 'LOOPBACK,UP'
busybox cat /etc/hosts; echo out >/dev/stdout; echo err >/dev/stderr; : </dev/tty && echo terminal
"""
    console = run_as_init({"/.fledge/workload": workload.render(), "/bin/show": show})
    # Signals 32 and 33 are the C library's own. Whom glibc's posix_spawn starts (make does) has them ignored, and so has
    # a process 1 that is not the kernel's.
    (own,) = re.findall(r"^SigIgn:\t(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    ignored = int(own, 16) & 0b11 << 31
    lines = console[console.index("A=b=c") :].replace("fledge: workload started\n", "").splitlines()
    assert lines == [
        "A=b=c", "EMPTY=", "HOME=/", "PATH=/nowhere:/bin", "PWD=/srv/new/folder", "SHLVL=1",
        "/srv/new/folder", "755,0:0", "machine",
        "<one two>", "<>", "<*>", "<\x1b[31m>",
        "Uid:\t0\t0\t0\t0", "Groups:\t ", "SigBlk:\t0000000000000000", f"SigIgn:\t{ignored:016x}",
        "0022",
        "0", "LOOPBACK,UP",
        "127.0.0.1 localhost", "::1 localhost", "out", "err", "terminal",
        "fledge: workload exited with 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (None, "0:0 0 /root"),
        ("web", "1000:1001 1001 4 50 /srv/web"),
        ("1000", "1000:1001 1001 4 50 /srv/web"),
        ("web:staff", "1000:50 50 /srv/web"),
        ("web:0", "1000:0 0 /srv/web"),
        ("4294967294:12345", "4294967294:12345 12345 /"),
        ("7", "7:0 0 /"),
    ],
)
def test_the_workload_runs_as_its_user(run_as_init, user, shown):
    script = "id() { busybox id $1 2>/dev/null; }; echo $(id -u):$(id -g) $(id -G) $HOME; echo mine >/dev/stdout"
    console = run_as_init(shell(script, user=user) | ACCOUNTS)
    assert f"\n{shown}\nmine\n" in console.replace("fledge: workload started\n", "")


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "the workload's user nobody is not a user in /etc/passwd"),
        ("web:wheel", "the workload's user web:wheel has a group that is not in /etc/group"),
    ],
)
def test_an_unknown_user_is_an_error(run_as_init, user, message):
    console = run_as_init(shell("echo ran", user=user) | ACCOUNTS)
    assert console.splitlines()[-1] == f"fledge: error: {message}"


def test_orphans_are_reaped_and_signals_are_passed_on(run_as_init):
    script = """
for signal in HUP INT QUIT USR1 USR2 TERM WINCH; do trap "echo got $signal" $signal; done
(busybox sleep 0.1 & busybox sleep 0.1 & exit 0) & wait
busybox sleep 0.5
busybox ps -o stat,ppid,comm | busybox grep -c '^Z'
for signal in HUP INT QUIT USR1 USR2 WINCH TERM; do kill -$signal 1; busybox sleep 0.1; done
exit 9
"""
    console = run_as_init(shell(script))
    assert re.findall("got (.*)", console) == ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "TERM"]
    assert "\n0\n" in console, "zombies are left"
    assert console.endswith("fledge: workload exited with 9\n")


@pytest.mark.parametrize(
    ("entrypoint", "files", "message"),
    [
        (("nginx",), {}, "cannot execute nginx: not in PATH /bin:/sbin"),
        (("/opt/app",), {}, "cannot execute /opt/app: no such file or directory (ENOENT)"),
        (("/etc",), {"/etc/hosts": b"x"}, "cannot execute /etc: permission denied (EACCES)"),
        (("sbin",), {"/bin/sbin/x": b""}, "cannot execute /bin/sbin: permission denied (EACCES)"),
        (("/app",), {"/app": b"#! /opt/python -x\n"}, "cannot execute /app: its interpreter /opt/python is missing"),
        (("app",), {"/sbin/app": b"#!/opt/py\n"}, "cannot execute /sbin/app: its interpreter /opt/py is missing"),
        (("/app",), {"/app": b"neither\n"}, "neither a program for this machine nor a script with a #! line"),
        (("/app",), {"/app": b"\x7fELF\x02\x01\x01" + bytes(200)}, "cannot execute /app: neither a program"),
        (("a\x1b[2J\nb",), {}, r"cannot execute a\x1b[2J\x0ab: not in PATH"),
    ],
)
def test_what_cannot_be_executed_is_named(run_as_init, entrypoint, files, message):
    workload = Workload(entrypoint, env={"PATH": "/bin:/sbin"})
    console = run_as_init({"/.fledge/workload": workload.render(), **files})
    assert message in console.splitlines()[-1]
    assert "workload started" not in console


def test_a_missing_loader_is_named(run_as_init):
    program = Path("/bin/ls").read_bytes()  # any dynamic program of this machine
    files = {"/app": program, "/.fledge/workload": Workload(("/app",)).render()}
    assert "fledge: error: cannot execute /app: its interpreter /lib64/ld-linux-x86-64.so.2 is missing" in run_as_init(
        files
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it does not start with the line 'fledge-workload 1'"),
        (b"fledge-workload 2\narg=x\0", "it does not start with the line 'fledge-workload 1'"),
        (b"fledge-workload 1\n", "it names neither a program to hand over to nor an entrypoint"),
        (b"fledge-workload 1\narg=x", "it is cut off: its last field has no end"),
        (b"fledge-workload 1\ncolour=red\0", "colour is not known"),
        (b"fledge-workload 1\narg=x\0arg\0", "arg has no value"),
        (b"fledge-workload 1\narg=x\0env=A\0", "env is not NAME=VALUE"),
        (b"fledge-workload 1\narg=x\0workdir=srv\0", "workdir is not an absolute path"),
        (b"fledge-workload 1\narg=x\0user=a\0user=b\0", "user is there twice"),
        (b"fledge-workload 1\narg=x\0overlay_size=5Q\0", "overlay_size is not a size"),
        (b"fledge-workload 1\narg=x\0stop_signal=65\0", "stop_signal is not a signal number, 1 to 64"),
        (b"fledge-workload 1\n" + b"arg=x\0" * 4097, "arg is there too often"),
        (b"fledge-workload 1\narg=" + b"x" * 300_000, "cannot read /.fledge/workload: file too large (EFBIG)"),
    ],
    ids=range(13),
)
def test_a_malformed_description_is_an_error(run_as_init, content, message):
    console = run_as_init({"/.fledge/workload": content})
    assert console.startswith("fledge: error: ")
    assert console.rstrip().endswith(message)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            "fledge.overlay_size=0",
            "kernel parameter fledge.overlay_size=0: allowed is bytes, a number with K, M, G or T",
        ),
        ("volant.overlay_size=101%", "kernel parameter volant.overlay_size=101%: allowed is"),
        ("fledge.shutdown=now", "kernel parameter fledge.shutdown=now: allowed is poweroff, reboot or halt"),
        ("fledge.root_timeout", "kernel parameter fledge.root_timeout=: allowed is seconds, 0 to 3600"),
        ("fledge.ip=10.0.2.256/24", "kernel parameter fledge.ip=10.0.2.256/24: allowed is ADDRESS/PREFIX"),
        ("fledge.ip=10.0.2.15/24", "fledge.ip: there is no network interface"),
        ("root=UUID=1234", "root=UUID=1234: only the path of a device is understood, such as /dev/vda"),
        ("root=sda/../vda", "root=sda/../vda: only the path of a device is understood"),
        ("root=/dev/nothing fledge.root_timeout=0", "no root device /dev/nothing after 0 s; block devices here: "),
        ("volant.rootfs_device=vdzz fledge.root_timeout=0", "no root device /dev/vdzz after 0 s"),
        ("root=/dev/null", "the root device /dev/null is not a block device"),
        ("", "cannot execute /bin/kestrel: no such file or directory (ENOENT)"),
    ],
)
def test_wrong_parameters_and_nothing_to_run_are_errors(run_as_init, parameters, message):
    described = shell("echo ran") if "root" not in parameters.partition(" ")[0] and parameters else {}
    console = run_as_init(described, parameters)
    assert f"fledge: error: {message}" in console
    assert "ran" not in console.splitlines()


@pytest.mark.parametrize(
    ("magic", "parameters", "message"),
    [
        (
            b"",
            "",
            "the root device {} has no squashfs, ext4, xfs, btrfs or erofs filesystem; name its type with rootfs",
        ),
        (
            b"\x53\xef",
            "",
            "cannot mount {} as ext4 (another filesystem, a damaged one, a feature that this kernel lacks",
        ),
        (b"", "rootfstype=ext3.5", "cannot mount {}: kernel has no driver for ext3.5, built in or in /.fledge/modules"),
    ],
)
def test_a_damaged_root_device_is_an_error(run_as_init, tmp_path, magic, parameters, message):
    image = tmp_path / "image"
    image.write_bytes((bytes(1080) + magic).ljust(1 << 20, b"\0"))
    device = subprocess.check_output([need_tool("losetup"), "--find", "--show", image], text=True).strip()
    try:
        console = run_as_init({}, f"root={device} {parameters}")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert f"fledge: error: {message.format(device)}" in console


def test_an_unknown_parameter_is_a_warning_and_those_of_others_are_ignored(run_as_init):
    console = run_as_init(
        shell("exit 0"), 'quiet volant.manifest=AbC "a b" ip=dhcp fledge.colour=red -- fledge.shutdown=x'
    )
    assert console.splitlines()[0] == "fledge: warning: unknown kernel parameter fledge.colour"
    assert console.endswith("fledge: workload exited with 0\n")


@pytest.mark.parametrize(
    ("modules", "files", "message"),
    [
        (
            "no_such\n",
            {"modules.dep": b"kernel/a.ko:\n"},
            "unknown module no_such: not in /lib/modules/{}/modules.dep or",
        ),
        (
            "virtio\n",
            {},
            "no modules for the running kernel {0}: cannot read /lib/modules/{0}/modules.dep: no such file",
        ),
        (
            "a-b\n",
            {"modules.dep": b"kernel/a_b.ko.zst: kernel/c.ko\n"},
            "cannot open the module /lib/modules/{}/kernel/c.ko",
        ),
        ("/x.ko\n", {}, "cannot open the module /x.ko: no such file or directory (ENOENT)"),
    ],
)
def test_missing_modules_are_errors(run_as_init, modules, files, message):
    release = os.uname().release
    found = {f"/lib/modules/{release}/{name}": content for name, content in files.items()}
    console = run_as_init({"/.fledge/modules": modules.encode(), **found, **shell("echo ran")})
    assert f"fledge: error: {message.format(release)}" in console
    assert "ran" not in console.splitlines()


def test_a_module_that_is_built_in_is_there(run_as_init):
    release = os.uname().release
    folder = f"/lib/modules/{release}"
    files = {f"{folder}/modules.dep": b"", f"{folder}/modules.builtin": b"kernel/fs/ext4/ext4.ko\nkernel/a/b-c.ko\n"}
    console = run_as_init({"/.fledge/modules": b"# comment\n\next4\nb_c\n", **files, **shell("exit 0")})
    assert console.endswith("fledge: workload exited with 0\n")


def test_a_custom_init_becomes_process_1(run_as_init):
    script = b"#!/bin/sh\necho I am $$ with $# arguments; busybox env | busybox grep PATH; busybox ls -d /proc/1 /sys/class /dev/pts\n"
    console = run_as_init({"/.fledge/workload": Workload(handover="/opt/my-init").render(), "/opt/my-init": script})
    assert "fledge: handing over to /opt/my-init\nI am 1 with 0 arguments\nPATH=/usr/local/sbin" in console


def test_what_the_image_has_in_run_and_tmp_stays(run_as_init):
    console = run_as_init(shell("busybox cat /run/app/file; busybox stat -f -c %T /tmp") | {"/run/app/file": b"kept\n"})
    assert "kept\n" in console
    assert "tmpfs" in console
