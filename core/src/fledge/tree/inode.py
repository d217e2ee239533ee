"""The kinds of inode that an image can hold, and their metadata.

An inode does not know its names: directories do. A hard link is one inode under several names, so
that overwriting or removing a name can't touch the others (OCI image-spec layer.md, "Hardlinks").

Slotted plain classes, not dataclasses: an image has a hundred thousand of them.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from fledge.tree.content import Content

NO_XATTRS: Final[Mapping[bytes, bytes]] = MappingProxyType({})


class Inode:
    """What every kind has.

    `mode`: permission bits with setuid, setgid and sticky (0 to 0o7777). `uid`, `gid`: 0 to 2^32-1.
    `mtime`: nanoseconds since 1970, may be negative. `xattrs`: full names (`user.comment`) to values in
    the form that getxattr(2) gives; never changed in place, always replaced.
    """

    __slots__ = ("gid", "mode", "mtime", "uid", "xattrs")

    FORMAT: ClassVar[int]
    """The file type bits of st_mode (S_IFREG, ...)."""

    def __init__(
        self, mode: int, uid: int = 0, gid: int = 0, mtime: int = 0, xattrs: Mapping[bytes, bytes] = NO_XATTRS
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.xattrs = xattrs


class Directory(Inode):
    """`entries` maps a name (1 to 255 bytes without NUL and `/`, never `.` or `..`) to its inode.

    The order of `entries` means nothing: writers sort by name.
    """

    __slots__ = ("entries",)
    FORMAT = stat.S_IFDIR

    def __init__(
        self, mode: int, uid: int = 0, gid: int = 0, mtime: int = 0, xattrs: Mapping[bytes, bytes] = NO_XATTRS
    ) -> None:
        super().__init__(mode, uid, gid, mtime, xattrs)
        self.entries: dict[bytes, Inode] = {}


class File(Inode):
    """A regular file."""

    __slots__ = ("content",)
    FORMAT = stat.S_IFREG

    def __init__(
        self,
        content: Content,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        xattrs: Mapping[bytes, bytes] = NO_XATTRS,
    ) -> None:
        super().__init__(mode, uid, gid, mtime, xattrs)
        self.content = content


class Symlink(Inode):
    """`target` is kept verbatim, wherever it points to (1 to 4095 bytes)."""

    __slots__ = ("target",)
    FORMAT = stat.S_IFLNK

    def __init__(
        self,
        target: bytes,
        mode: int = 0o777,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        xattrs: Mapping[bytes, bytes] = NO_XATTRS,
    ) -> None:
        super().__init__(mode, uid, gid, mtime, xattrs)
        self.target = target


class Device(Inode):
    """A device node: `major` 0 to 4095, `minor` 0 to 1048575, the kernel's limits (include/linux/kdev_t.h)."""

    __slots__ = ("major", "minor")

    def __init__(
        self,
        major: int,
        minor: int,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        xattrs: Mapping[bytes, bytes] = NO_XATTRS,
    ) -> None:
        super().__init__(mode, uid, gid, mtime, xattrs)
        self.major = major
        self.minor = minor


class CharDevice(Device):
    """A character device."""

    __slots__ = ()
    FORMAT = stat.S_IFCHR


class BlockDevice(Device):
    """A block device."""

    __slots__ = ()
    FORMAT = stat.S_IFBLK


class Fifo(Inode):
    """A named pipe."""

    __slots__ = ()
    FORMAT = stat.S_IFIFO


class Socket(Inode):
    """A socket's name. Tar can't carry one; mappings and artifacts that are read back can."""

    __slots__ = ()
    FORMAT = stat.S_IFSOCK
