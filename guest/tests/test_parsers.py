"""The init's parsers, compiled for this machine under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fledge.testing.oracles import need_tool
from fledge_guest import Step, StepMount, Workload, render_modules, stop_signal

TESTS = Path(__file__).resolve().parent
SOURCES = TESTS.parent / "src" / "init"
MEBI = 1 << 20
PLAIN = "ro=0 trace=0 timeout=10 shutdown=0"
HEADER = b"fledge-workload 1\n"


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    output = tmp_path_factory.mktemp("parsers") / "parsers"
    sources = [TESTS / "parsers.c", *(SOURCES / f"{name}.c" for name in ("params", "text", "users", "workload"))]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-I", SOURCES, "-o", output]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([need_tool("gcc"), *sanitizers, *flags, *sources], check=True)
    return output


@pytest.fixture
def parse(program):
    def run(kind: str, text: bytes | str) -> list[str]:
        data = text.encode() if isinstance(text, str) else text
        done = subprocess.run([program, kind], input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="surrogateescape").splitlines()

    return run


SIZES = [
    ("1", "1 0"), ("4096", "4096 0"), ("512M", f"{512 * MEBI} 0"), ("512m", f"{512 * MEBI} 0"), ("1KiB", "1024 0"),
    ("1kb", "1024 0"), ("2G", f"{2 << 30} 0"), ("3T", f"{3 << 40} 0"), ("50%", "0 50"), ("1%", "0 1"), ("100%", "0 100"),
    ("9223372036854775807", "9223372036854775807 0"), ("8388607T", f"{8388607 << 40} 0"),
]  # fmt: skip
NOT_SIZES = [
    "", "0", "0%", "101%", "M", "-1", "+1", " 1", "1 ", "1Q", "1MM", "1iB", "1B", "1Mi", "50%%", "0x10", "1.5G",
    "9223372036854775808", "18446744073709551616", "99999999999999999999999", "8388608T", "5\u00e9",
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), SIZES + [(text, "malformed") for text in NOT_SIZES])
def test_sizes(parse, text, shown):
    assert parse("size", text) == [shown]
    if shown == "malformed":
        with pytest.raises(ValueError, match="malformed overlay size"):
            Workload(("x",), overlay_size=text)
    else:
        Workload(("x",), overlay_size=text)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", [PLAIN]),
        ("quiet console=ttyS0 root=\n", [PLAIN]),
        ("root=/dev/vda rootfstype=ext4 rootflags=noload init=/x", ["root=/dev/vda", "rootfstype=ext4", "rootflags=noload", "init=/x", PLAIN]),
        ("root=a root=b", ["root=b", PLAIN]),
        ("volant.rootfs_device=vdb volant.rootfs_fstype=xfs", ["root=vdb", "rootfstype=xfs", PLAIN]),
        ("\t  ro\nrw  ro ", [PLAIN.replace("ro=0", "ro=1")]),
        ("ro rw", [PLAIN]),
        ("ro=1", [PLAIN]),
        ('rootflags="a b" root="/dev/x"', ["root=/dev/x", "rootflags=a b", PLAIN]),
        ('"root=/dev/x y"', ["root=/dev/x y", PLAIN]),
        ('root="', [PLAIN]),
        ('root=" ro', ["root= ro", PLAIN]),
        ("ro -- rw root=x", [PLAIN.replace("ro=0", "ro=1")]),
        ("fledge.trace fledge.root_timeout=3600 fledge.shutdown=halt", ["ro=0 trace=1 timeout=3600 shutdown=3"]),
        ("console=ttyS0 reboot=k panic=1", [PLAIN.replace("shutdown=0", "shutdown=2")]),
        ("reboot=t fledge.shutdown=poweroff", [PLAIN.replace("shutdown=0", "shutdown=1")]),
        ("reboot=acpi", [PLAIN]),
        ("fledge.root_timeout=3601", ["malformed fledge.root_timeout=3601"]),
        ("fledge.root_timeout=-1", ["malformed fledge.root_timeout=-1"]),
        ("fledge.nothing=1 fledge.more", ["unknown=fledge.nothing", PLAIN]),
        ("fledge.ip=10.0.2.15/24", [PLAIN, "address=10.0.2.15", "prefix=24"]),
        ("fledge.ip=1.2.3.4/0,5.6.7.8,9.9.9.9,8.8.8.8", [PLAIN, "address=1.2.3.4", "prefix=0", "gateway=5.6.7.8", "nameserver=9.9.9.9", "nameserver=8.8.8.8"]),
        ("fledge.ip=255.255.255.255/32,,9.9.9.9", [PLAIN, "address=255.255.255.255", "prefix=32", "nameserver=9.9.9.9"]),
        *(
            (f"fledge.ip={text}", [f"malformed fledge.ip={text}"])
            for text in ("1.2.3.4", "1.2.3/8", "1.2.3.4.5/8", "1.2.3.4/33", "1.2.3.4/", "1.2.3.1000/8", "1.2.3.4/8,", "1.2.3.4/8,,", "1.2.3.4/8,1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4,5.5.5.5", "::1/64", "")
        ),
    ],
)  # fmt: skip
def test_the_kernel_command_line(parse, line, shown):
    assert parse("params", line) == shown


@pytest.mark.parametrize(
    ("workload", "shown"),
    [
        (Workload(("a",)), ["arg=a"]),
        (
            Workload(("a", "", "b=c"), {"X": "", "Y": "1=2"}, "/srv", "web:staff", None, "host", "50%", 15),
            ["arg=a", "arg=", "arg=b=c", "env=X=", "env=Y=1=2", "hostname=host", "overlay_size=50%", "stop_signal=15", "user=web:staff", "workdir=/srv"],
        ),
        (Workload(handover="/bin/kestrel"), ["handover=/bin/kestrel"]),
        (Workload(("\udcff\udcfe",)), ["arg=\udcff\udcfe"]),
        (Workload(tuple("x" * 4096)), ["arg=x"] * 4096),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_is_rendered_is_read_back(parse, workload, shown):
    assert parse("workload", workload.render()) == shown


def test_a_step_is_read_back(parse):
    mounts = (
        StepMount("/a b", "/.fledge/files/0", read_only=True),
        StepMount("/tmp", type="tmpfs", options="size=1"),
        StepMount("/src", "/dev/vdc", "ext4", "file"),
    )
    assert parse("workload", Step(Workload(("a",)), "/dev/vdb", "/dev/vport0p1", mounts).render()) == [
        "arg=a",
        "scratch=/dev/vdb",
        "output=/dev/vport0p1",
        "mount=/a b",
        "mount_source=/.fledge/files/0",
        "mount_read_only=yes",
        "mount=/tmp",
        "mount_type=tmpfs",
        "mount_options=size=1",
        "mount=/src",
        "mount_type=ext4",
        "mount_source=/dev/vdc",
        "mount_within=file",
    ]


@pytest.mark.parametrize(
    ("scratch", "mount", "count", "message"),
    [
        ("vdb", "/a", 1, "'vdb' is not an absolute path"),
        ("/dev/vdb", "a", 1, "'a' is not an absolute path"),
        ("/dev/vdb", "/a\0", 1, "has a NUL byte"),
        ("/dev/vdb", "/a", 65, "65 mounts; the guest init takes at most 64"),
        ("/dev/vdb", "/" + "a" * 262144, 1, "the guest init reads at most 262143"),
    ],
)
def test_steps_that_the_init_would_refuse(scratch, mount, count, message):
    with pytest.raises(ValueError, match=message):
        Step(Workload(("a",)), scratch, "/dev/vport0p1", (StepMount(mount),) * count)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HEADER + b"arg=\0", "it has an empty entrypoint"),
        (HEADER + b"\0", " has no value"),
        (HEADER + b"=x\0", " is not known"),
        (HEADER + b"arg=x\0env==x\0", "env is not NAME=VALUE"),
        (HEADER + b"arg=x\0workdir=/a\0workdir=/b\0", "workdir is there twice"),
        (HEADER + b"arg=x\0user=\0", "user is empty"),
        (HEADER + b"arg=x\0stop_signal=0\0", "stop_signal is not a signal number, 1 to 64"),
        (HEADER + b"arg=x\0hostname=" + b"h" * 65 + b"\0", "hostname is longer than 64 bytes"),
        (HEADER + b"arg=x\0scratch=/dev/vdb\0", "it names only a part of scratch, output and mount"),
        (HEADER + b"arg=x\0mount=/a\0", "it names only a part of scratch, output and mount"),
        (HEADER + b"mount_type=ext4\0", "mount_type comes before any mount"),
        (HEADER + b"mount=/a\0mount_type=x\0mount_type=y\0", "mount_type is there twice"),
        (HEADER + b"mount=/a\0mount_read_only=1\0", "mount_read_only is not yes"),
        (HEADER + b"mount=/a\0mount_other=1\0", "mount_other is not known"),
        (HEADER + b"mount=a\0", "mount is not an absolute path"),
        (HEADER + b"mount=/a\0" * 65, "mount is there too often"),
        (HEADER[:-1], "it does not start with the line 'fledge-workload 1'"),
    ],
)
def test_malformed_descriptions(parse, text, shown):
    assert parse("workload", text) == [shown]


@pytest.mark.parametrize(
    ("user", "passwd", "group", "shown"),
    [
        ("", "", "", "0:0 0 /"),
        ("0", "root:x:0:0:root:/root:/bin/sh", "", "0:0 0 /root"),
        (":5", "root:x:0:7::/root:", "", "0:5 0 /root"),
        ("a", "a:x:1:2", "", "1:2 0 /"),
        ("a", "a:x:1", "", "is not a user in /etc/passwd"),
        ("a", "ab:x:1:2\na:x:4294967295:1:\na:x:3:4::/h:", "", "3:4 0 /h"),
        ("a:", "a:x:1:2::/h:", "g:x:9:a", "1:2 1 /h"),
        ("4294967295", "", "", "is not a user in /etc/passwd"),
        ("-1", "", "", "is not a user in /etc/passwd"),
        ("a:b", "a:x:1:2:::", "b:x:5", "1:5 0 /"),
        ("a:b", "a:x:1:2:::", "b:x:", "has a group that is not in /etc/group"),
        ("a", "a:x:1:2::" + "/" * 300 + ":", "", "1:2 0 /"),
        ("a", "a:x:1:2:::", "g:x:1:a\n" * 256, "1:2 256 /"),
        ("a", "a:x:1:2:::", "g:x:1:a\n" * 257, "is in more than 256 groups"),
        ("a", "\n:::\na:x:1:2:::\n", "::::::\n\ng:x:3:,a,", "1:2 1 /"),
    ],
)
def test_users(parse, user, passwd, group, shown):
    assert parse("user", f"{user}\0{passwd}\0{group}") == [shown]


def test_mutated_inputs_break_nothing(program):
    done = subprocess.run(
        [program, "fuzz", "1", "300000"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs an entrypoint or a program to hand over to"),
        ({"entrypoint": ("", "x")}, "first word of an entrypoint can't be empty"),
        ({"workdir": "srv"}, "workdir 'srv' is not an absolute path"),
        ({"handover": "bin/x"}, "handover 'bin/x' is not an absolute path"),
        ({"env": {"A=B": "c"}}, "malformed name of an environment variable 'A=B'"),
        ({"env": {"": "c"}}, "malformed name of an environment variable ''"),
        ({"env": {"A": "\0"}}, "has a NUL byte"),
        ({"user": ""}, "malformed user ''"),
        ({"user": "a:b:c"}, "malformed user 'a:b:c'"),
        ({"user": "4294967295"}, "4294967295 is over 4294967294"),
        ({"hostname": "h" * 65}, "is empty or over 64 bytes"),
        ({"stop_signal": 65}, "stop signal 65 is not between 1 and 64"),
        ({"entrypoint": ("x",) * 4097}, "4097 arguments; the guest init takes at most 4096"),
        ({"entrypoint": ("x" * 262144,)}, "the guest init reads at most 262143"),
    ],
)
def test_what_the_init_would_refuse_is_refused_before(fields, message):
    with pytest.raises(ValueError, match=message):
        Workload(**({"entrypoint": ("x",)} if fields and "entrypoint" not in fields else {}) | fields)


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGTERM", 15), ("QUIT", 3), ("sigwinch", 28), ("9", 9), ("SIGRTMIN+3", 37), ("SIGRTMIN", 34), ("RTMAX-1", 63), ("SIGCLD", 17)],
)  # fmt: skip
def test_stop_signals(text, number):
    assert stop_signal(text) == number


@pytest.mark.parametrize("text", ["", "SIG", "0", "65", "TERM1", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN+99", "\u0663"])
def test_unknown_stop_signals(text):
    with pytest.raises(ValueError, match="unknown signal"):
        stop_signal(text)


def test_lists_of_modules():
    assert render_modules(["virtio_blk", "/lib/x.ko"]) == b"virtio_blk\n/lib/x.ko\n"
    for wrong in ("", "a b", "#a", "a\n", "a\0"):
        with pytest.raises(ValueError, match="malformed module"):
            render_modules([wrong])
    with pytest.raises(ValueError, match="reads at most"):
        render_modules(["x" * 16384])
