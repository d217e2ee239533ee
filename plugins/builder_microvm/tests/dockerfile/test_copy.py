"""COPY and ADD: owners, modes, links, archives, downloads, and contexts that mean harm.

Where things go is compared with BuildKit in test_engines.py; here is what that can't say.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fledge.errors import BuildError
from fledge.testing.dockerfiles import Project
from fledge.testing.http import Answer, serving
from fledge.testing.oracles import need_root, run
from fledge.testing.tars import archive, member
from fledge.testing.trees import described
from fledge.tree.inode import Fifo, File, Symlink
from fledge.tree.tree import Tree
from fledge_builder_microvm.host_tree import context_tree
from fledge_builder_microvm.patterns import IgnoreRules


@pytest.mark.parametrize("step", ["COPY big /", "ADD t.tar.gz /", "ADD {url}/big /"])
def test_case_089_a_full_disk(project: Project, step: str) -> None:
    """A layer, what an archive decompresses to, and a download: one message, and nothing is left."""
    need_root()
    project.write("big", os.urandom(400_000))
    project.write("t.tar.gz", gzip.compress(archive(member(b"big", bytes(400_000)))))
    project.store.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", project.store)
    try:
        with (
            serving(lambda asked: Answer(body=os.urandom(400_000))) as server,
            pytest.raises(BuildError, match=r"^Dockerfile:2: (COPY|ADD): can't write to the cache folder /") as caught,
        ):
            project.build(f"FROM scratch\n{step.format(url=server.url)}\n")
        assert caught.value.message.endswith(f"{project.store}: No space left on device")
        assert caught.value.hint == "free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere"
        assert [path.name for path in project.store.rglob("*") if path.is_file()] == ["lock"]
    finally:
        run("umount", "--lazy", project.store)


def test_a_folder_that_an_archive_replaces_and_another_makes_again(project: Project) -> None:
    project.write("1.tar", archive(member(b"sub")))
    project.write("2.tar", archive(member(b"sub/", flag=b"5"), member(b"sub/new")))
    project.write("old/sub/deep/old")
    built = project.build("FROM scratch\nCOPY old /z/\nADD 1.tar 2.tar /z/\n")
    assert built.paths == ["z", "z/sub", "z/sub/new"]


@pytest.mark.parametrize(
    "rows",
    [
        'COPY a b "/x/"',
        "ARG D=/x/\nCOPY a b $D",
        "WORKDIR /x\nCOPY a b /x",
        "WORKDIR /x\nCOPY ? /x",
        "WORKDIR /x\nCOPY a b ./",
        "WORKDIR /x\nCOPY a <<b .\nb",
        "COPY a /x/\nCOPY a *.none b /x",
    ],
)
def test_several_sources(project: Project, rows: str) -> None:
    project.write("a")
    project.write("b")
    assert project.build(f"FROM scratch\n{rows}\n").paths == ["x", "x/a", "x/b"]


@pytest.mark.parametrize(
    "rows", ["COPY a b /x", "COPY ? /x", "COPY a <<b /x\nb", "ADD a b c", "COPY a /x\nCOPY a b /x"]
)
def test_several_sources_for_one_file(project: Project, rows: str) -> None:
    project.write("a")
    project.write("b")
    with pytest.raises(
        BuildError, match=r"2 files or folders, but the destination /[xc] does not end with / and is no dir"
    ):
        project.build(f"FROM scratch\n{rows}\n")


def test_links_times_and_owners_of_the_context(project: Project) -> None:
    one = project.write("d/one", "1", 0o4710)
    os.utime(one, ns=(0, 1_600_000_000_123_456_789))
    os.link(one, project.folder / "d" / "two")
    os.mkfifo(project.folder / "d" / "pipe")
    os.setxattr(one, "user.kept", b"\0v")
    (project.folder / "d" / "link").symlink_to("/etc/shadow")
    built = project.build("FROM scratch\nCOPY d /\n")
    entries = built.tree.root.entries
    file = entries[b"one"]
    assert file is entries[b"two"]
    assert (file.mode, file.uid, file.gid, file.mtime) == (0o4710, 0, 0, 1_600_000_000 * 10**9)
    assert dict(file.xattrs) == {b"user.kept": b"\0v"}
    assert isinstance(entries[b"pipe"], Fifo)
    link = entries[b"link"]
    assert isinstance(link, Symlink)
    assert link.target == b"/etc/shadow"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--chown=5", (5, 5, 0o640)),
        ("--chown=5:6", (5, 6, 0o640)),
        ("--chown=bob", (1000, 2000, 0o640)),
        ("--chown=bob:staff", (1000, 50, 0o640)),
        ("--chown=7:staff", (7, 50, 0o640)),
        ("--chown=4294967294:1", (4294967294, 1, 0o640)),
        ("--chmod=4755", (0, 0, 0o4755)),
        ("--chmod=0", (0, 0, 0)),
        ("--chown=$u --chmod=$m", (9, 9, 0o600)),
    ],
)
def test_owner_and_mode(project: Project, flags: str, expected: tuple[int, int, int]) -> None:
    project.write("etc/passwd", "#bob:no\nroot:x:0:0::/:/bin/sh\nbob:x:1000:2000::/:/bin/sh\n")
    project.write("etc/group", "root:x:0:\nstaff:x:50:bob\n")
    project.write("f", "", 0o640)
    text = f"FROM scratch\nARG u=9\nARG m=600\nCOPY etc /etc\nCOPY {flags} f /n/e/w\n"
    inode = project.build(text).get("/n/e/w")
    assert inode is not None
    assert (inode.uid, inode.gid, inode.mode) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("COPY --chown=eve f /", "COPY: no user 'eve' in the image's /etc/passwd"),
        ("COPY --chown=0:eve f /", "COPY: no group 'eve' in the image's /etc/group"),
        ("COPY --chown=:0 f /", "COPY: malformed owner ':0'"),
        ("COPY --chown=4294967295 f /", "COPY: 4294967295 is not an owner; 0 to 4294967294"),
        ("COPY --chmod=u+x f /", r"COPY: --chmod=u\+x is not a mode; octal digits from 0 to 7777"),
        ("COPY --chmod=17777 f /", "COPY: --chmod=17777 is not a mode"),
        ("COPY nowhere /", "COPY: 'nowhere' is not in the build context"),
        ("COPY f/x /", "COPY: 'f/x' of the build context: /f is in the way"),
        ("COPY [ /", "COPY: malformed pattern"),
        ("COPY ? /x", "COPY: 3 files or folders, but the destination /x does not end with / and is no directory"),
        ("COPY f /x\nCOPY d /x", "COPY: /x is there already and not a directory"),
        ("COPY d /x/f/\nCOPY f /x/", "COPY: /x/f is a directory; a file can't be copied over it"),
        ("COPY links /\nCOPY d /to/sub/", "COPY: /file is"),
        ("COPY loop/x /", "COPY: 'loop/x' of the build context: /loop/x crosses more than 40 symlinks"),
        ("ADD https://example.org/x.git /x", "ADD: https://example.org/x.git: git repositories can't be added"),
        ("ADD git@example.org:x /x", "ADD: git@example.org:x: git repositories can't be added"),
        ("ADD https://example.org/ /x/", "ADD: https://example.org/: it does not end with a file's name"),
        ("ADD http://127.0.0.1:1/%2e%2e /x/", "ADD: http://127.0.0.1:1/%2e%2e: it does not end with a file's name"),
        ("ADD http://127.0.0.1:1/a%00b /x/", "ADD: http://127.0.0.1:1/a%00b: it does not end with a file's name"),
        ("COPY <<.. /x/\n..", r"COPY: the heredoc's name '\.\.' can't be a file's"),
        ("COPY <<a/b /x/\na/b", "COPY: the heredoc's name 'a/b' can't be a file's"),
        ("ADD --checksum=sha256:1 f /", "ADD: --checksum: malformed digest"),
        (f"ADD --checksum=sha256:{'0' * 64} f /", "ADD: --checksum is for downloads"),
        ("ADD ftp://example.org/x /", "ADD: 'ftp://example.org/x' is not in the build context"),
    ],
)
def test_mistakes(project: Project, rows: str, message: str) -> None:
    project.write("f")
    project.write("g")
    project.write("d/f")
    project.write("links/file")
    (project.folder / "links" / "to").symlink_to("file")
    (project.folder / "loop").symlink_to("loop")
    with pytest.raises(BuildError, match=rf"^Dockerfile:\d: {message}"):
        project.build(f"FROM scratch\n{rows}\n")


def test_what_dockerignore_leaves_out_is_told(project: Project) -> None:
    project.write("f")
    project.write(".dockerignore", "f")
    with pytest.raises(BuildError, match="'f' is not in the build context") as caught:
        project.build("FROM scratch\nCOPY f /\n")
    assert caught.value.hint == "the file exists, but a rule of .dockerignore leaves it out"


def test_a_file_outside_of_the_context_is_not_left_out_by_a_rule(project: Project) -> None:
    (project.folder.parent / "outside").touch()
    (project.folder / "link").symlink_to("..")
    (project.folder / "dead").symlink_to("nowhere")
    for source in ("../outside", "link/outside", "dead"):
        with pytest.raises(BuildError, match=f"'{source}' is not in the build context") as caught:
            project.build(f"FROM scratch\nCOPY {source} /\n")
        assert caught.value.hint is None


def test_a_pattern_that_nothing_matches_is_told(project: Project) -> None:
    project.write("f")
    built = project.build("FROM scratch\nCOPY f *.nothing /x/\n")
    assert built.paths == ["x", "x/f"]
    assert built.log.texts("warning") == ["nothing in the build context matches '*.nothing'"]


def test_a_socket_is_refused(project: Project) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        project.write("d/f")
        one.bind(str(project.folder / "d" / "s"))
        with pytest.raises(BuildError, match="s is a socket, which no layer can hold"):
            project.build("FROM scratch\nCOPY d /x\n")


def test_exclude(project: Project) -> None:
    for name in ("d/a.txt", "d/b.md", "d/sub/c.txt", "d/sub/d.md"):
        project.write(name)
    built = project.build("FROM scratch\nCOPY --exclude=*.txt --exclude=sub/*.md d /x\nCOPY --exclude=b.* d/?.* /y/\n")
    assert built.paths == ["x", "y", "x/b.md", "x/sub", "x/sub/c.txt", "y/a.txt"]


def test_heredocs(project: Project) -> None:
    rows = """\
ENV v="1 2"
COPY <<EOF <<'RAW' <<-TABS /x/
a $v "${v}" 'it' \\$v \\\\ $
EOF
a $v
RAW
\t\tindented
\tTABS
COPY --chown=3 --chmod=711 <<EOF /y
EOF
"""
    built = project.build(f"FROM scratch\n{rows}")
    assert built.read("/x/EOF") == b"a 1 2 \"1 2\" 'it' $v \\ $\n"
    assert built.read("/x/RAW") == b"a $v\n"
    assert built.read("/x/TABS") == b"indented\n"
    inode = built.get("/y")
    assert isinstance(inode, File)
    assert (inode.uid, inode.gid, inode.mode, inode.content.size) == (3, 3, 0o711, 0)


class TestHostileContexts:
    """Nothing outside of the context is read, and nothing leaves the image."""

    @pytest.fixture
    def secret(self, project: Project) -> Path:
        secret = project.folder.parent / "secret"
        secret.mkdir()
        (secret / "key").write_text("s3cret")
        project.write("f", "mine")
        (project.folder / "out").symlink_to(secret)
        (project.folder / "up").symlink_to("..")
        (project.folder / "direct").symlink_to(secret / "key")
        return secret

    @pytest.mark.parametrize(
        "source", ["out", "out/key", "up/secret/key", "../secret/key", "/../secret", "direct", "out/k*", "d*t"]
    )
    def test_what_leads_out_is_not_there(self, project: Project, secret: Path, source: str) -> None:
        with pytest.raises(BuildError, match="is not in the build context"):
            project.build(f"FROM scratch\nCOPY {source} /x/\n")

    def test_patterns_do_not_lead_out(self, project: Project, secret: Path) -> None:
        assert project.build("FROM scratch\nCOPY ou?/k* up/*/key /x/\n").paths == []

    def test_symlinks_are_copied_as_such(self, project: Project, secret: Path) -> None:
        built = project.build("FROM scratch\nCOPY . /x/\n")
        assert isinstance(built.get("/x/out"), Symlink)
        assert "x/out/key" not in built.paths

    def test_a_file_that_becomes_another_while_it_is_read(self, project: Project, secret: Path) -> None:
        tree = context_tree(project.folder, IgnoreRules(()), 0)
        inode = tree.root.entries[b"f"]
        assert isinstance(inode, File)
        (project.folder / "f").unlink()
        (project.folder / "f").symlink_to(secret / "key")
        with pytest.raises(BuildError, match="changed while it was read"):
            inode.content.read()

    @pytest.mark.parametrize("target", ["/../../../../../..", "../../../../../../../..", "/proc/self/root"])
    def test_a_destination_that_leads_out(self, project: Project, secret: Path, target: str) -> None:
        (project.folder / "lnk").mkdir()
        (project.folder / "lnk" / "away").symlink_to(target)
        planted = project.folder.parent / "planted"
        built = project.build(f"FROM scratch\nCOPY lnk /\nCOPY f /away{planted}\nCOPY f ../../../../up\n")
        assert built.read("/up") == b"mine"
        assert built.read(f"/proc/self/root{planted}" if target.startswith("/proc") else str(planted)) == b"mine"
        assert not planted.exists()

    def test_a_context_that_is_no_folder(self, project: Project) -> None:
        with pytest.raises(BuildError, match=r"the build context .* is not a folder"):
            project.build("FROM scratch\nCOPY a /\n", build_context=project.write("file"))

    def test_a_name_that_is_a_whiteout(self, project: Project) -> None:
        project.write("d/.wh.passwd")
        with pytest.raises(BuildError, match=r"/x/\.wh\.passwd: a name in an image can't begin with \.wh\."):
            project.build("FROM scratch\nCOPY d /x\n")


def sample() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, mode in (
            ("d", tarfile.DIRTYPE, 0o711),
            ("d/f", tarfile.REGTYPE, 0o4640),
            ("l", tarfile.LNKTYPE, 0),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime, info.linkname = kind, mode, 5, 6, 7, "d/f"
            data = b"content" if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def in_two_streams(data: bytes) -> bytes:
    return bz2.compress(data[:700]) + bz2.compress(data[700:])


class TestArchives:
    @pytest.mark.parametrize(
        "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress, in_two_streams]
    )
    def test_are_extracted(self, project: Project, pack: Callable[[bytes], bytes]) -> None:
        project.write("sample.bin", pack(sample()))
        built = project.build("FROM scratch\nADD sample.bin /x\nCOPY sample.bin /copied\n")
        assert built.paths == ["copied", "x", "x/d", "x/l", "x/d/f"]
        file, folder, linked = built.get("/x/d/f"), built.get("/x/d"), built.get("/x/l")
        assert isinstance(file, File)
        assert isinstance(linked, File)
        assert folder is not None
        assert (file.mode, file.uid, file.gid, file.mtime, file.content.read()) == (0o4640, 5, 6, 7 * 10**9, b"content")
        assert (folder.mode, folder.uid) == (0o711, 5)
        assert linked.mode == 0o4640

    @pytest.mark.parametrize(
        "data", [b"", bytes(10240), gzip.compress(b"text", mtime=0), b"\x1f\x8b", sample()[:100], b"BZh9nothing"]
    )
    def test_others_are_copied(self, project: Project, data: bytes) -> None:
        project.write("f", data)
        assert project.build("FROM scratch\nADD f /x\n").read("/x") == data

    def test_a_folder_with_archives_is_copied(self, project: Project) -> None:
        project.write("d/t.tar", sample())
        assert project.build("FROM scratch\nADD d /x\n").paths == ["x", "x/t.tar"]

    @pytest.mark.parametrize(
        "members",
        [
            [member(b"../../etc/cron", b"x")],
            [member(b"/etc/cron", b"x")],
            [member(b"e", flag=b"2", link=b"/../.."), member(b"e/etc/cron", b"x")],
        ],
    )
    def test_nothing_leaves_the_destination_by_its_name(self, project: Project, members: list[bytes]) -> None:
        project.write("t", archive(*members))
        built = project.build("FROM scratch\nADD t /x/y/\n")
        assert {path for path in built.paths if path.endswith("cron")} == {"x/y/etc/cron"}

    def test_a_folder_that_an_entry_takes_away(self, project: Project, runner: Any) -> None:
        """`a` leads to `b`, and the archive has a file `a/x` and another thing at `b`: what that is comes first."""
        below = archive(member(b"a", flag=b"2", link=b"b"), member(b"b/old"), member(b"c", flag=b"5"))
        project.write("below.tar", below)
        project.write("link.tar", archive(member(b"a/x", b"x"), member(b"b", flag=b"2", link=b"c")))
        project.write("file.tar", archive(member(b"a/x", b"x"), member(b"b", b"a file")))
        seen: list[Tree] = []
        runner.make = lambda step, root: seen.append(root) or ()
        for number in range(2):
            project.build(f"FROM scratch\nADD below.tar /\nADD link.tar /\nRUN {number}\n")
        edited, merged = map(described, seen)
        assert edited == merged
        assert sorted(merged) == [b"", b"a", b"b", b"c", b"c/x"]
        for _ in range(2):
            with pytest.raises(BuildError, match=r"^Dockerfile:3: ADD: /a is in the way|^Dockerfile:3: ADD: /b is"):
                project.build("FROM scratch\nADD below.tar /\nADD file.tar /\n")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (archive(member(b"a/.wh.b")), r"entry '/a/\.wh\.b': a name in an image can't begin with \.wh\."),
            (member(b"a", b"x" * 600)[:-512], "the tar ends in the middle"),
            (archive(member(b"a", flag=b"1", link=b"nowhere")), "the hard link's target /nowhere is not there"),
            (gzip.compress(sample() + os.urandom(100_000))[:-50_000], "cut short|ends in the middle"),
            (bz2.compress(sample() + os.urandom(2_000_000))[:-50_000], "cut short|checksum"),
            (lzma.compress(sample() + os.urandom(2_000_000))[:-50_000], "cut short|checksum"),
        ],
        ids=["whiteout", "short", "link", "gz", "bz2", "xz"],
    )
    def test_that_are_not_sound(self, project: Project, data: bytes, message: str) -> None:
        project.write("t", data)
        with pytest.raises(BuildError, match=f"^Dockerfile:2: ADD: .*({message})"):
            project.build("FROM scratch\nADD t /x/\n")

    def test_they_are_not_chowned_and_that_is_told(self, project: Project) -> None:
        project.write("t", sample())
        built = project.build("FROM scratch\nADD --chown=9 t /x/\n")
        inode = built.get("/x/d/f")
        assert inode is not None
        assert inode.uid == 5
        assert built.log.texts("warning") == ["--chown does not change the owners that the archive 't' holds"]


class TestDownloads:
    def test_a_file(self, project: Project) -> None:
        with serving(lambda asked: Answer(body=b"fetched" + asked.path.encode())) as server:
            rows = f"ADD {server.url}/a/b%20c?q=1 /x/\nADD --chown=1 --chmod=755 {server.url}/z /y\n"
            built = project.build(f"FROM scratch\n{rows}")
            assert built.read("/x/b c") == b"fetched/a/b%20c?q=1"
            first, second = built.get("/x/b c"), built.get("/y")
            assert first is not None
            assert second is not None
            assert (first.mode, first.uid, second.mode, second.uid) == (0o600, 0, 0o755, 1)
            again = project.build()
            assert "(cached)" in again.log.texts("info")[-1]
            assert f"{server.url}/z is used unverified; pin it with --checksum=sha256:" in again.log.texts("warning")[1]
            server.behaviour = lambda asked: Answer(body=b"another")
            assert project.build().read("/y") == b"another"

    def test_it_is_not_extracted(self, project: Project) -> None:
        with serving(lambda asked: Answer(body=sample())) as server:
            built = project.build(f"FROM scratch\nADD {server.url}/t.tar /x/\n")
            assert built.paths == ["x", "x/t.tar"]

    def test_with_a_checksum(self, project: Project) -> None:
        with serving(lambda asked: Answer(body=b"fetched")) as server:
            digest = hashlib.sha256(b"fetched").hexdigest()
            text = f"FROM scratch\nARG sum=sha256:{digest}\nADD --checksum=$sum {server.url}/a /x\n"
            project.build(text)
            assert project.build(text, no_cache=True).read("/x") == b"fetched"
            assert server.paths() == ["/a"], "what the store has is not asked for"
            with pytest.raises(BuildError, match=r"^Dockerfile:3: ADD: .* has the digest sha256:"):
                project.build(text, build_args={"sum": f"sha256:{'0' * 64}"})

    def test_a_name_that_leads_elsewhere(self, project: Project) -> None:
        with (
            serving(lambda asked: Answer(body=b"fetched")) as server,
            pytest.raises(BuildError, match=r"^Dockerfile:3: ADD: /x is a directory, and the source has no name"),
        ):
            project.build(f"FROM scratch\nWORKDIR /x\nADD {server.url}/%2e%2e /x\n")

    def test_a_failure_names_the_line(self, project: Project) -> None:
        with (
            serving(lambda asked: Answer(404)) as server,
            pytest.raises(BuildError, match=r"^Dockerfile:2: ADD: .*404"),
        ):
            project.build(f"FROM scratch\nADD {server.url}/a /x\n")
