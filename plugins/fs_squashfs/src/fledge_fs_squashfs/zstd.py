"""zstd, the default compressor: how blocks become small enough in the time that there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final

from fledge.errors import BuildError

from fledge_fs_squashfs.format import BLOCK_SIZE_MAX

if TYPE_CHECKING:
    import zstandard

_REVISION: Final = 3
"""Raised whenever TUNED or the probe changes: kept blocks must be what compressing them now would give."""

TUNED: Final = {14: {"search_log": 2, "target_length": 64}, 15: {"search_log": 3, "target_length": 64}}
"""What differs from zstd's own parameters in blocks over 16 KiB, at the two levels that search optimally for long.

In blocks of 128 KiB such searches find little: level 15 is 1.2 to 1.3 times as fast for 0.8 to 1.7 % more bytes, and
level 14 stays between it and level 13.
"""
_STUBBORN: Final = {"search_log": 2, "target_length": 64}
"""The same for blocks that leave more of the probe than _PROBE_STUBBORN, machine code mostly: there longer searches find least."""
_SMALL: Final = 16 << 10
_SMALL_LEVEL: Final = 12
"""For inputs up to 16 KiB, such as metadata, zstd has other parameters, and from level 12 on they gain under 1 % more.

Used in place of the TUNED levels: it takes half of the time.
"""

_PROBED_LEVELS: Final = 10
"""From this level on, a block that does not compress takes long enough to look for it first."""
_PROBE: Final = 16 << 10
_PROBE_STUBBORN: Final = _PROBE * 2 // 5
"""Bytes that the fastest level leaves of the probe, from which on a block is stubborn."""

_Compress = Callable[["bytes | memoryview"], bytes]


class Zstd:
    """Frames with their content size and without a checksum, as the kernel's one-shot decompression has them.

    A frame of a block never needs a window larger than the block, which is what the kernel has memory for.
    See compress.Codec for the members.
    """

    name = "zstd"
    LEVELS: Final = range(1, 23)
    DEFAULT: Final = 15
    """What mksquashfs takes; options are stored only for another level."""

    def __init__(self, level: int = DEFAULT, block_size: int = BLOCK_SIZE_MAX) -> None:
        """`block_size`: the largest input that `compress` will get."""
        import zstandard

        self._zstandard = zstandard
        self._level = level
        self._block_size = block_size
        self._local = threading.local()  # A context serves one thread at a time.
        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        self.identity = f"zstd-{level}-{block_size}-{version}-{_REVISION}"
        self.options = b"" if level == self.DEFAULT else Struct("<i").pack(level)

    def compress(self, data: bytes | memoryview) -> bytes | None:
        """See Codec."""
        local = self._local
        if not hasattr(local, "small"):
            tuned = self._level in TUNED
            local.small = self._zstandard.ZstdCompressor(_SMALL_LEVEL if tuned else self._level).compress
            local.large = self._tuned(TUNED[self._level]) if tuned else local.small
            local.stubborn = self._tuned(_STUBBORN) if tuned else local.small
            local.fastest = self._zstandard.ZstdCompressor(1).compress
            local.fast = self._zstandard.ZstdCompressor(3).compress
        size = len(data)
        compress: _Compress = local.large if size > _SMALL else local.small
        if self._level >= _PROBED_LEVELS and size > _PROBE:
            middle = (size - _PROBE) // 2
            left = len(local.fastest(memoryview(data)[middle : middle + _PROBE]))
            # The fast levels give up below a gain of 1/64: hardly more is lost, and in blocks without a gain alone.
            if left >= _PROBE and len(local.fast(data)) >= size:
                return None
            if left >= _PROBE_STUBBORN:
                compress = local.stubborn
        compressed = compress(data)
        return compressed if len(compressed) < size else None

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """See Codec."""
        decompressor: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if decompressor is None:
            decompressor = self._local.decompressor = self._zstandard.ZstdDecompressor()
        try:
            # The frame's own size is the allocation that it asks for, so it is looked at first.
            size = self._zstandard.frame_content_size(data)
            if size > limit:
                raise BuildError(f"its data is corrupt: it claims {size} bytes, more than {limit}")
            return decompressor.decompress(data, max_output_size=limit)
        except self._zstandard.ZstdError as error:
            raise BuildError(f"its data is corrupt: {error}") from error

    def _tuned(self, changes: Mapping[str, int]) -> _Compress:
        parameters = self._zstandard.ZstdCompressionParameters.from_level(
            self._level, source_size=self._block_size, **changes
        )
        return self._zstandard.ZstdCompressor(compression_params=parameters).compress
