"""Go's filepath.Match, and .dockerignore; what is expected is what the docker command does (test_engines.py asks it)."""

from __future__ import annotations

import os

import pytest
from fledge.errors import BuildError
from fledge.testing.dockerfiles import Project
from fledge_builder_microvm.patterns import IgnoreRules, match_name


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "", True), ("*", ".hidden", True), ("*.txt", "a.txt", True), ("*.txt", "a.txt~", False),
        ("a?c", "abc", True), ("a?c", "ac", False), ("a?c", "aäc", True), ("[a-c]x", "bx", True), ("[a-c]x", "dx", False),
        ("[^a-c]x", "dx", True), ("[^a-c]x", "ax", False), ("[!a]x", "!x", True), ("[!a]x", "bx", False),
        (r"\*", "*", True), (r"\*", "a", False), (r"[\]]", "]", True), ("[a\\-z]", "-", True), ("a]", "a]", True),
        ("a.c", "abc", False), ("(a|b)", "a", False), ("[b-a]", "a", False), ("[a^]", "^", True), ("[äö]", "ö", True),
    ],
)  # fmt: skip
def test_match_name(pattern: str, name: str, expected: bool) -> None:
    assert match_name(pattern)(name.encode()) == expected


@pytest.mark.parametrize("pattern", ["[", "[]", "[]a]", "[a", "[-a]", "[a-", "[a-]", "\\", "a[b-]"])
def test_malformed_names(pattern: str) -> None:
    with pytest.raises(ValueError, match="malformed pattern"):
        match_name(pattern)


FILES = (
    "README.md", "a.md", "a.txt", "b.txt", "dir/a.txt", "dir/b.md", "dir/sub/a.txt", "dir/sub/keep.txt",
    "other/deep/y.go", "other/x.go", "temp", "tempa", ".hidden",
)  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("*.md", "* -README.md -a.md"),
        ("*.md\n!README.md", "* -a.md"),
        ("!README.md\n*.md", "* -README.md -a.md"),
        ("**/*.md", "* -README.md -a.md -dir/b.md"),
        ("**.md", "* -README.md -a.md -dir/b.md"),
        ("**/*.txt\n!dir/sub/keep.txt", "* -a.txt -b.txt -dir/a.txt -dir/sub/a.txt"),
        ("dir", "* -dir/a.txt -dir/b.md -dir/sub/a.txt -dir/sub/keep.txt"),
        ("/dir/", "* -dir/a.txt -dir/b.md -dir/sub/a.txt -dir/sub/keep.txt"),
        ("dir\n!dir/sub", "* -dir/a.txt -dir/b.md"),
        ("*\n!dir/sub/keep.txt\n!a.md", "a.md dir/sub/keep.txt"),
        ("*\n!**/*.go", "other/deep/y.go other/x.go"),
        ("**\n!other", "other/deep/y.go other/x.go"),
        ("*/*/*.txt", "* -dir/sub/a.txt -dir/sub/keep.txt"),
        ("temp?", "* -tempa"),
        ("tem[oq]a\ntem[^q]", "* -temp"),
        (".*", "* -.hidden"),
        (".", "*"),
        ("..", "*"),
        ("../a.md", "*"),
        ("dir/../a.md", "* -a.md"),
        ("# a.md\n\n  b.txt  \r\n", "* -b.txt"),
        ("! a.md\n*.md\n! a.md", "* -README.md"),
        ("**/deep", "* -other/deep/y.go"),
        ("other/**/y.go", "* -other/deep/y.go"),
        ("other/**", "* -other/deep/y.go -other/x.go"),
        ("\\temp", "* -temp"),
        ("\ufefftemp", "* -temp"),
    ],
)
def test_dockerignore(project: Project, rules: str, kept: str) -> None:
    for name in FILES:
        project.write(name)
    project.write(".dockerignore", f"{rules}\nDockerfile\n.dockerignore\n")
    built = project.build("FROM scratch\nCOPY . /\nCOPY . /\n")
    files = {path for path in built.paths if path in FILES}
    assert set(built.paths) - set(FILES) <= {"dir", "dir/sub", "other", "other/deep", "Dockerfile", ".dockerignore"}
    wanted = set(FILES) if kept.startswith("*") else set()
    for word in kept.removeprefix("* ").split():
        wanted = wanted - {word[1:]} if word.startswith("-") else wanted | ({word} - {"*"})
    assert files == wanted


@pytest.mark.parametrize(
    ("rules", "read"),
    [
        ("node_modules", False),
        ("node_modules\n!README.md", False),
        ("node_modules\n!other/m/*", False),
        ("node_modules\n!node_modules", True),
        ("node_modules\n!node_modules/m", True),
        ("node_modules\n!node_*/?", True),
        ("node_modules\n!node_*/m/x/y/z", True),
        ("node_modules\n!**/keep", True),
        ("node_modules\n!node_modules/**", True),
        ("node_modules\n!nod/**", False),
        ("*\n!src", False),
    ],
)
def test_ignored_folders_are_read_only_where_something_in_them_may_be_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch, rules: str, read: bool
) -> None:
    project.write("node_modules/m/index.js")
    project.write("src/a")
    project.write(".dockerignore", rules)
    folders: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (folders.append(os.fsdecode(path)), scandir(path))[1])
    project.build("FROM scratch\nCOPY . /\n")
    assert any(folder.endswith("/node_modules") for folder in folders) == read


def test_the_dockerfiles_own_ignore_file_comes_first(project: Project) -> None:
    project.write("a")
    project.write("b")
    project.write(".dockerignore", "*")
    project.write("Dockerfile.dockerignore", "a\n*ockerfile*\n.dockerignore")
    assert project.build("FROM scratch\nCOPY . /\n").paths == ["b"]


@pytest.mark.parametrize("text", ["a[", "!", "dir\\"])
def test_malformed_rules(project: Project, text: str) -> None:
    project.write(".dockerignore", text)
    with pytest.raises(BuildError, match=r"\.dockerignore: "):
        project.build("FROM scratch\nCOPY . /\n")


def test_no_rules_ignore_nothing() -> None:
    assert not IgnoreRules(()).ignores(IgnoreRules(()).matches("a", ()))
