"""The same Dockerfiles built by BuildKit, in a dockerd that the tests start: same trees, same configs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fledge.context import BuildContext
from fledge.kinds import Builder
from fledge.testing.builders import dockerd
from fledge.testing.dockerfiles import Project, described, docker_of_buildkit, with_builder

pytestmark = pytest.mark.xdist_group("dockerd")


@pytest.fixture(scope="module")
def buildkit() -> Iterator[Callable[[BuildContext], Builder]]:
    folder = docker_of_buildkit()
    with tempfile.TemporaryDirectory(prefix="fledge-", ignore_cleanup_errors=True) as name, dockerd(Path(name)) as host:
        yield with_builder("docker", {**os.environ, "DOCKER_HOST": host, "PATH": f"{folder}:{os.environ['PATH']}"})


@pytest.fixture
def other(project: Project, buildkit: Callable[[BuildContext], Builder], tmp_path: Path) -> Project:
    """The same folder, built by BuildKit."""
    (tmp_path / "other").mkdir()
    made = Project(tmp_path / "other", buildkit)
    made.folder = project.folder
    return made


@pytest.fixture
def files(project: Project) -> Project:
    project.write("dir/f", "f")
    project.write("dir/sub/g", "g")
    (project.folder / "dir").chmod(0o700)
    (project.folder / "dir" / "sub").chmod(0o711)
    os.link(project.folder / "dir" / "f", project.folder / "dir" / "f2")
    (project.folder / "dir" / "in").symlink_to("../a.txt")
    project.write("a.txt", "a")
    project.write("b.txt", "b", 0o600)
    project.write("suid", "s", 0o4755)
    project.write(".hidden", "h")
    project.write("a b", "with a space")
    (project.folder / "link").symlink_to("a.txt")
    (project.folder / "dlink").symlink_to("dir")
    (project.folder / "abs").symlink_to("/etc/passwd")
    project.write("etc/passwd", "root:x:0:0::/:/bin/sh\nbob:x:1000:2000::/:/bin/sh\n")
    project.write("etc/group", "root:x:0:\nstaff:x:50:bob\n")
    (project.folder / "links").mkdir()
    (project.folder / "links" / "dl").symlink_to("/real/dir")
    (project.folder / "links" / "dl2").symlink_to("rel")
    (project.folder / "links" / "fl").symlink_to("../real/file")
    (project.folder / "links2").mkdir()
    (project.folder / "links2" / "sub").symlink_to("rel")
    packed = project.folder.parent / "packed"
    (packed / "sub").mkdir(parents=True)
    (packed / "f").write_text("in the archive")
    (packed / "sub" / "g").write_text("g")
    (packed / "sub").chmod(0o750)
    (packed / "s").symlink_to("/abs")
    os.link(packed / "f", packed / "f2")
    for name, *what in (
        ("t.tar", "."),
        ("t.tgz", "-z", "."),
        ("t.txz", "-J", "."),
        ("some.tar", "sub"),
        ("deep.tar", "sub/g"),
    ):
        argv = ["tar", "--owner=5", "--group=6", "-cf", project.folder / name, "-C", packed, *what]
        subprocess.run(argv, check=True)
    return project


PLACES = [
    "COPY dir /new",
    "COPY dir /new/",
    "COPY dir /x/y/new/",
    "COPY --chown=7:8 dir /x/new",
    "COPY --chown=7 a.txt /x/",
    "COPY --chmod=751 dir /x/new",
    "COPY etc /etc\nCOPY --chown=bob a.txt /x/\nCOPY --chown=bob:staff b.txt /x/\nCOPY --chown=9:staff b.txt /z/",
    "COPY a.txt suid /x/",
    "COPY a.txt /x",
    "COPY dir /x\nCOPY a.txt /x",
    "COPY *.txt /x/",
    "COPY *.none a.txt /x/",
    "COPY ?.txt d*r /x/",
    "COPY [a]*.txt /x/\nCOPY [^a].txt /y/",
    "COPY dir/* /x/",
    "COPY dir/*/g /x/",
    'COPY ["a b", "/x y/"]',
    "COPY link /x",
    "COPY link /x/",
    "COPY lin? /x/",
    "COPY dlink /x/",
    "COPY dlink/sub/g /x/",
    "COPY abs /y/",
    "COPY ../a.txt /x/",
    "COPY . /x/",
    'COPY a.txt b.txt "/x/"',
    "ARG D=/x/\nCOPY a.txt b.txt $D",
    "WORKDIR /x\nCOPY a.txt b.txt /x",
    "COPY *.none dir /x",
    "COPY a*/../b.txt /x",
    "COPY dir/f etc/../dir/sub/../f /x/",
    "COPY links /\nCOPY a.txt /dl/\nCOPY a.txt /dl2/q/r",
    "COPY links /\nCOPY a.txt /fl",
    "COPY links /\nCOPY a.txt /dl2",
    "COPY links /\nCOPY dir /dl2",
    "COPY dir /y/\nCOPY etc /y/",
    "COPY dir /x\nCOPY --chown=3:4 etc dir /x/",
    "COPY dir /z/dir\nCOPY --chown=3:4 . /z/",
    "WORKDIR /w/v\nCOPY a.txt .\nCOPY b.txt ./q\nCOPY dir ../u/",
    "ADD t.tar /x",
    "ADD t.tgz /x/",
    "ADD t.txz /x/y/",
    "ADD --chown=11:12 t.tar a.txt /x/",
    "ADD a.txt dir /y/",
    "COPY links2 /z\nCOPY dir /z/rel\nADD some.tar /z/",
    "COPY etc /z/f/\nADD t.tar /z/",
    "COPY etc /z/sub/\nADD deep.tar /z/",
    "ADD t.t?z a* /z/",
    "WORKDIR /a/b\nWORKDIR c\nWORKDIR ../d/",
    "COPY etc /etc\nUSER bob\nWORKDIR /a/b\nWORKDIR /etc",
    "COPY etc /etc\nUSER bob:staff\nWORKDIR /a/b",
    "USER 33\nWORKDIR /a/b",
    "COPY links /z/\nWORKDIR /z/dl2/k",
]


def test_where_things_go(files: Project, other: Project) -> None:
    stages = "".join(f"FROM scratch AS case{number}\n{rows}\n" for number, rows in enumerate(PLACES))
    last = "".join(f"COPY --from=case{number} / /{number:02}/\n" for number in range(len(PLACES)))
    text = f"{stages}FROM scratch\n{last}"
    ours, theirs = described(files.build(text).tree), described(other.build(text).tree)
    wrong: dict[str, list[str]] = {}
    for path in sorted(set(ours) | set(theirs)):
        if ours.get(path) != theirs.get(path):
            rows = PLACES[int(path[1:3])] if path != "/" else "/"
            wrong.setdefault(rows, []).append(f"{path}: {ours.get(path)}; BuildKit: {theirs.get(path)}")
    assert wrong == {}
    assert len(theirs) > 200


CONFIGS: list[tuple[str, dict[str, str]]] = [
    ("ENV a=hello\nENV a=bye b=$a\nENV c $a x  y \nENV d=\"q $a\" e='$a' f=\\$a g=${a:-no}${zz:-yes}${a:+set}${zz:+un} h=a\\ b\n"
     "ENV PATH=/x:$PATH\nENV empty= e2=\"\"\nLABEL x=$a $a=\"multi \\\nline\" y='a b' z=\"it's\"", {}),
    ("ENV a=abc b=a$ c=$ d=\"$\" e=$1 f=${a} g=a${a}b h=$a$a i=\"\\\"\" j='a\"b' k=\\\\ l=a\\nb m=\"a\\nb\" n=${a:-\"x y\"}", {}),
    ("ARG a=1\nENV x=$a\nARG a=2\nENV y=$a\nARG b\nENV z=${b:-nob}\nARG c=$a\nENV w=$c\nENV c=env\nENV v=$c\nARG c=arg\nENV u=$c", {}),
    ("ARG a=1\nENV x=$a\nARG b\nENV y=$b z=$unknown", {"a": "A", "b": "B"}),
    ("CMD echo hi\nENTRYPOINT [\"/e\"]", {}),
    ("SHELL [\"/bin/bash\",\"-c\"]\nCMD hi $x\nENTRYPOINT foo", {}),
    ("CMD ['a']\nEXPOSE 80 81/udp 90-92/TCP\nARG P=\"1 2/udp\"\nEXPOSE $P\nVOLUME /a /b\nVOLUME [\"/c\", \"/d e\"]", {}),
    ("USER a:b\nARG U=x\nUSER $U\nSTOPSIGNAL 9\nMAINTAINER me  <x@y>", {}),
    ("HEALTHCHECK --interval=1m30s --timeout=3s --retries=5 --start-period=500ms CMD curl x || exit 1", {}),
    ("ONBUILD COPY a.txt /x\nONBUILD RUN echo 'a b'\nHEALTHCHECK NONE", {}),
    ("ENV a=1 \\\n# comment\n  b=2 \\\n\n  c=3\nCMD a\\\nb \\  \n  c", {}),
    ("ENV a=1\nCMD [\"c\"]\nARG V=q\nFROM one\nENTRYPOINT [\"e\"]\nENV b=$V", {}),
    ("ONBUILD COPY a.txt /ob/\nONBUILD ENV X=1\nFROM one\nCOPY b.txt /", {}),
    ("ARG TARGETARCH\nARG TARGETPLATFORM\nENV A=$TARGETARCH B=$TARGETPLATFORM", {"TARGETARCH": "mine"}),
    ("ARG TARGETARCH\nARG TARGETPLATFORM\nENV A=$TARGETARCH B=$TARGETPLATFORM C=$TARGETOS D=$BUILDPLATFORM", {}),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "arguments"), CONFIGS)
def test_configs(project: Project, other: Project, rows: str, arguments: dict[str, str]) -> None:
    project.write("a.txt", "a")
    project.write("b.txt", "b")
    text = f"FROM scratch AS one\nCOPY a.txt /\n{rows}\n"
    ours, theirs = project.build(text, build_args=arguments), other.build(text, build_args=arguments)
    assert told(ours.document) == told(theirs.document)
    assert described(ours.tree) == described(theirs.tree)


def told(document: dict[str, Any]) -> dict[str, Any]:
    """What a config says, without what Go writes for nothing."""
    run = {key: value for key, value in document["config"].items() if value not in (None, "", [], {}, False)}
    run.pop("ArgsEscaped", None)  # For Windows; Docker sets it with the shell form and without.
    return {**run, "author": document.get("author")}


NAMES = (
    "a.txt", "b.txt", "a.md", "README.md", "dir/a.txt", "dir/b.md", "dir/sub/a.txt", "dir/sub/keep.txt", "other/x.go",
    "other/deep/y.go", ".hidden", "temp", "tempa", "dir/temp", "[x].txt", "sp ace",
)  # fmt: skip


@pytest.mark.parametrize(
    "rules",
    [
        "**/*.txt\n!dir/sub/keep.txt\n# no rule\n other/** \ntemp?",
        "*\n!dir/sub\n!README.md\ndir/*/a.txt",
        "/dir/\n! a.md\n**/deep\n\\[x\\].txt\n.*\n*/temp*",
    ],
)
def test_dockerignore(project: Project, other: Project, rules: str) -> None:
    for name in NAMES:
        project.write(name)
    project.write(".dockerignore", rules)
    text = "FROM scratch\nCOPY . /x/\n"
    assert project.build(text).paths == other.build(text).paths
