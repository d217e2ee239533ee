"""Users and groups by name, as the image's own /etc/passwd and /etc/group have them."""

from __future__ import annotations

from typing import Final

from fledge.errors import BuildError
from fledge.tree.inode import File
from fledge.tree.tree import Tree
from fledge.values import GuestPath

from fledge_builder_microvm.digits import whole_number

_MAX_ID: Final = (1 << 32) - 2
"""-1 means "leave it as it is" to chown(2)."""
_MAX_TABLE: Final = 1 << 20
_PASSWD: Final = GuestPath((b"etc", b"passwd"))
_GROUP: Final = GuestPath((b"etc", b"group"))


def find_owner(owner: str, tree: Tree) -> tuple[int, int]:
    """The numbers of `user` or `user:group`, each a name or a number.

    Without a group: a named user's own, and for a number that number. Raises BuildError for what there is not.
    """
    user, colon, group = owner.partition(":")
    if not user or (colon and not group):
        raise BuildError(f"malformed owner {owner!r}; expected user or user:group, names or numbers")
    uid, own_group = owner_number(user), owner_number(user)
    if uid is None:
        row = _row(tree, _PASSWD, user)
        if row is None or len(row) < 4:
            raise BuildError(f"no user {user!r} in the image's /etc/passwd")
        uid, own_group = owner_number(row[2]), owner_number(row[3])
    gid = own_group
    if colon:
        gid = owner_number(group)
        if gid is None:
            row = _row(tree, _GROUP, group)
            if row is None or len(row) < 3:
                raise BuildError(f"no group {group!r} in the image's /etc/group")
            gid = owner_number(row[2])
    if uid is None or gid is None:
        raise BuildError(f"the image's /etc/passwd or /etc/group has no numbers for {owner!r}")
    return uid, gid


def owner_number(text: str) -> int | None:
    """None for what is no number. Raises BuildError for one that no owner can have."""
    number = whole_number(text, _MAX_ID)
    if number is None and text.isascii() and text.isdigit():
        raise BuildError(f"{text} is not an owner; 0 to {_MAX_ID} are allowed")
    return number


def _row(tree: Tree, path: GuestPath, name: str) -> list[str] | None:
    inode = tree.get(tree.resolve(path))
    if not isinstance(inode, File) or inode.content.size > _MAX_TABLE:
        return None
    for line in inode.content.read().decode("utf-8", "surrogateescape").splitlines():
        row = line.strip().split(":")
        if row[0] == name:
            return row
    return None
