"""What every filesystem must do, with xfs's own facts."""

from __future__ import annotations

from typing import ClassVar

from fledge.testing.conformance.filesystem import FilesystemConformance
from fledge.testing.conformance.traits import NAME, Limit, symlink_of, xattr_of


class TestXfs(FilesystemConformance):
    name = "xfs"
    options: ClassVar = {"size_buffer_mb": 1}
    kernel = "xfs"
    kernel_xattrs = (b"trusted.SGI_ACL_FILE",)  # The form in which xfs keeps an ACL, beside its usual one.
    lacks = ("symlinks above 1023 bytes", "device majors above 511")
    limits = (NAME, Limit("bytes in a symlink", symlink_of, 1023), Limit("bytes in an xattr", xattr_of, 65_536))
    variants = ({"preallocate": True},)
