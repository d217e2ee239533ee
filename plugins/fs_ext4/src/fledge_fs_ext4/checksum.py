"""crc32c as ext4 uses it.

The kernel chains crc32c without the inversions before and after that the usual libraries make, so a value on disk
is the library's with all bits flipped. Values in this package are the library's, and `on_disk` flips the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import google_crc32c

INVERT: Final = 0xFFFFFFFF

extend: Callable[[int, bytes], int] = google_crc32c.extend
"""The checksum of what `crc` covers and the bytes after it."""


def on_disk(crc: int) -> int:
    """What is stored for the checksum `crc`."""
    return crc ^ INVERT


from_disk = on_disk
"""The checksum to extend, for a stored seed."""


def inode_seed(seed: int, ino: int, generation: int = 0) -> int:
    """What the checksums of an inode and of its directory and extent blocks start from."""
    return extend(seed, ino.to_bytes(4, "little") + generation.to_bytes(4, "little"))
