"""Tree.resolve and insert: what a mapping's or the agent's destination becomes."""

import pytest
from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Symlink
from fledge.tree.tree import Tree
from fledge.values import GuestPath


@pytest.fixture
def tree() -> Tree:
    root = Directory(0o755)
    tree = Tree(root, epoch=99)
    tree.insert(GuestPath.parse("/usr/bin/sh"), File(Content.of(b"sh"), 0o755))
    for name, target in {
        "bin": b"usr/bin",
        "abs": b"/usr/bin",
        "up": b"../../../../usr",
        "dots": b"./usr/../usr/./bin",
        "loop1": b"loop2",
        "loop2": b"loop1",
        "dangling": b"not/there",
        "chain": b"abs",
    }.items():
        root.entries[name.encode()] = Symlink(target)
    return tree


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/bin/kestrel", "/usr/bin/kestrel"),
        ("/abs/x", "/usr/bin/x"),
        ("/up/x", "/usr/x"),
        ("/dots/x", "/usr/bin/x"),
        ("/chain/x", "/usr/bin/x"),
        ("/dangling/x", "/not/there/x"),
        ("/new/er/x", "/new/er/x"),
        ("/", "/"),
    ],
)
def test_case_050_destination_is_resolved_inside_the_image(tree: Tree, path: str, real: str) -> None:
    assert tree.resolve(GuestPath.parse(path)) == GuestPath.parse(real)
    if path != "/":
        assert tree.insert(GuestPath.parse(path), File(Content.of(b"k"), 0o755)) == GuestPath.parse(real)
        assert tree.get(GuestPath.parse(real)) is tree.get(GuestPath.parse(path))


@pytest.mark.parametrize(("path", "what"), [("/loop1/x", "more than 40 symlinks"), ("/bin/sh/x", "not a directory")])
def test_case_050_destination_that_leads_nowhere(tree: Tree, path: str, what: str) -> None:
    with pytest.raises(BuildError, match=what):
        tree.insert(GuestPath.parse(path), File(Content.of(b"k"), 0o755))


def test_case_050_the_last_component_is_replaced_not_followed(tree: Tree) -> None:
    tree.insert(GuestPath.parse("/chain"), File(Content.of(b"k"), 0o755))
    assert isinstance(tree.root.entries[b"chain"], File)
    assert isinstance(tree.root.entries[b"abs"], Symlink)
