"""A format that holds everything, for comparing two trees that never were in an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from fledge.kinds import Filesystem


class _Exact:
    """What verify_tree.differences asks of a driver."""

    links_symlinks = True

    def held_mtime(self, mtime: int) -> int:
        return mtime

    def held_xattrs(self, xattrs: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        return xattrs


EXACT: Final = cast("Filesystem", _Exact())
