"""The tar reader: strict, fed with the bytes as they come, and fast where tars are plain.

What is read: v7, ustar, PAX, GNU (long names, base-256, sparse) and star's headers. What is refused: whatever is
not a file, directory, link, device or FIFO, and every field that is not what the format says. Python's tarfile
(3.11) loops for ever on a negative size, takes a bad checksum for the end, and lets NUL into names.
"""

from __future__ import annotations

from typing import Final, NoReturn
from zlib import adler32

from fledge.errors import BuildError
from fledge.tree import index as ix
from fledge.tree import sparse, tar_pax
from fledge.tree import tar_format as tf
from fledge.tree.tar_names import agreed, clean, join, long_name
from fledge.values import PATH_MAX, show_path

MAX_EXTENSION: Final = 1 << 20
"""The longest extended header or long name, as in Go's archive/tar; it is read into memory."""

_MAX_ID: Final = (1 << 32) - 1
_MAX_INT64: Final = (1 << 63) - 1
_MAX_MAJOR: Final = (1 << 12) - 1
_MAX_MINOR: Final = (1 << ix.MINOR_BITS) - 1

_KINDS: Final = {
    b"0": ix.FILE,
    b"\0": ix.FILE,  # v7; with a slash at the end of its name it is a directory, which v7 had no type for
    b"7": ix.FILE,  # contiguous: POSIX has it read as a file where the system has no such thing
    b"S": ix.FILE,
    b"1": ix.HARD_LINK,
    b"2": ix.SYMLINK,
    b"3": ix.CHAR_DEVICE,
    b"4": ix.BLOCK_DEVICE,
    b"5": ix.DIRECTORY,
    b"6": ix.FIFO,
}
_LONG_NAME: Final = b"L"
_LONG_LINK: Final = b"K"
_EXTENDED: Final = (b"x", b"X")  # X: Solaris, before POSIX made it x
_GLOBAL: Final = b"g"

_NO_PREFIX: Final = bytes(155)
_CACHE_ENTRIES: Final = 1 << 16

_Fields = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]


class _Extensions:
    """What the headers before a member say of it."""

    __slots__ = ("link", "name", "records")

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.name: bytes | None = None
        self.link: bytes | None = None

    def only_name(self) -> bytes | None:
        """The member's name, where that is all they say: so it is for most that have any, in layers with long paths."""
        if self.link is not None:
            return None
        if not self.records:
            return self.name
        return self.records.get(b"path") if self.name is None and len(self.records) == 1 else None


class TarReader:
    """Reads one tar. `feed` and `finish` raise BuildError, with `label` and the entry, where the tar is not sound."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._builder = ix.IndexBuilder()
        self._rest = b""  # from a header that is not whole yet
        self._next = 0  # where in the tar that header stands, or will
        self._fed = 0
        self._data_end = 0
        self._ended = False
        self._extensions: _Extensions | None = None
        self._global: dict[bytes, bytes] = {}
        # The same fields come again and again, and a look-up is cheaper than parsing.
        self._ids: dict[bytes, tuple[int, int, int]] = {}
        self._sizes: dict[bytes, int] = {}
        self._mtimes: dict[bytes, int] = {}
        self._sums: dict[bytes, int] = {}

    def feed(self, data: bytes) -> None:
        """The next bytes of the tar, however many."""
        self._fed += len(data)
        if self._ended or self._next >= self._fed:
            return
        if self._rest:
            data = self._rest + data
        base = self._fed - len(data)
        stopped = self._members(data, base, self._next - base)
        self._next = base + stopped
        self._rest = b"" if self._ended else data[stopped:]

    def skip_data(self, size: int) -> int:
        """Where feeding may go on: past the data of the member whose header was fed last.

        For a tar of `size` bytes that can be read anywhere, so that only its headers have to be.
        """
        self._fed = max(self._fed, min(self._next, size))
        return self._fed

    def finish(self) -> ix.LayerIndex:
        """The index, once all bytes were fed.

        A tar may end without its two zero blocks, or with one of them, or go on after them: Go's archive/tar and with
        it every container engine takes it so, and the layer's digest has shown that nothing is missing.
        """
        if self._data_end > self._fed:
            self._fail("the tar ends in the middle of a file's data", self._data_end)
        if self._rest and self._rest != tf.ZERO_BLOCK:
            self._fail("the tar ends in the middle of a header", self._next)
        if self._extensions is not None:
            self._fail("the tar ends after an extended header, before the member it belongs to", self._next)
        return self._builder.finish()

    def _members(self, data: bytes, base: int, at: int) -> int:
        """Reads the members from `at` whose headers are whole; returns where the first other one stands."""
        unpack, kind_of = tf.HEADER.unpack_from, _KINDS.get
        known_ids, known_size, known_mtime = self._ids.get, self._sizes.get, self._mtimes.get
        known_sum = self._sums.get
        add, pack = self._builder.add, ix.pack_record
        last = len(data) - tf.BLOCK
        while at <= last:
            fields: _Fields = unpack(data, at)
            name, ids_field, size_field, mtime_field, chksum, flag, _, magic, _, prefix, trailer = fields
            try:
                # The sum of the header's bytes: Adler-32's low half is 1 + the sum modulo 65521, which half a header
                # (256 * 255 = 65280) can't reach. sum() would take longer than all the rest.
                half = at + 256
                byte_sum = (adler32(data[at:half]) & 0xFFFF) + (adler32(data[half : at + 512]) & 0xFFFF) - 2
                if known_sum(chksum) != byte_sum:
                    if not byte_sum:
                        if at < last:
                            self._end(data, at)
                        return at
                    if not self._is_sound(data, at, chksum, byte_sum):
                        # The name is worth showing only if it looks like one: most often this is not a tar at all.
                        legible = tf.text(name).isascii() and tf.text(name).decode().isprintable()
                        self._fail("the header's checksum is wrong", base + at, fields if legible else None)
                kind = kind_of(flag)
                size = known_size(size_field)
                if size is None:
                    size = self._parse_size(size_field)
                if kind is None:
                    after = self._extension(flag, size, data, at)
                    if not after:
                        return at
                    at = after
                    continue
                ids = known_ids(ids_field) or self._parse_ids(ids_field)
                mtime = known_mtime(mtime_field)
                if mtime is None:
                    mtime = self._parse_mtime(mtime_field)
                extensions = self._extensions
                long_name = None if extensions is None else extensions.only_name()
                if kind > ix.DIRECTORY or (extensions and not long_name) or flag == b"S" or self._global:
                    try:
                        at = self._uncommon(data, base, at, fields, kind, ids, size, mtime)
                    except sparse.NeedMore:
                        return at
                    continue
                if long_name:
                    name = long_name
                else:
                    name = name.partition(b"\0")[0]
                    if prefix != _NO_PREFIX:
                        name = join(prefix, name, magic, trailer)
                path = clean(name) if name else _nameless()
                if flag == b"\0" and name[-1] == 0x2F:
                    kind = ix.DIRECTORY
                self._extensions = None
                at += tf.BLOCK
                mode, uid, gid = ids
                if kind == ix.DIRECTORY:
                    add(path, pack(kind, mode, uid, gid, mtime, 0, 0, 0, 0))
                else:
                    start = base + at
                    add(path, pack(kind, mode, uid, gid, mtime, 0, size, start, 0))
                    self._data_end = start + size
                    at += (size + 511) & -512
            except ValueError as error:
                self._fail(str(error), base + at, fields)
        return at

    def _end(self, data: bytes, at: int) -> None:
        if at + 2 * tf.BLOCK <= len(data):
            if data[at + tf.BLOCK : at + 2 * tf.BLOCK] != tf.ZERO_BLOCK:
                raise ValueError("a single zero block, and more after it")
            self._ended = True

    def _extension(self, flag: bytes, size: int, data: bytes, at: int) -> int:
        """Reads a header that says something of the next member. Returns where it ends, 0 when it is not whole yet."""
        if flag not in _EXTENDED and flag not in (_GLOBAL, _LONG_NAME, _LONG_LINK):
            raise ValueError(f"type flag {flag!r} is not supported")
        if size > MAX_EXTENSION:
            raise ValueError(f"an extended header of {size} bytes; {MAX_EXTENSION} are allowed")
        start = at + tf.BLOCK
        after = start + tf.padded(size)
        if after > len(data):
            return 0
        body = data[start : start + size]
        if flag == _GLOBAL:
            self._global.update(tar_pax.parse_global(body))
            return after
        if self._extensions is None:
            self._extensions = _Extensions()
        extensions = self._extensions
        # Of two for one member one reader takes the first, another the last, and they see different images.
        if flag in _EXTENDED and not extensions.records:
            extensions.records = tar_pax.parse_records(body)
        elif flag == _LONG_NAME and extensions.name is None:
            extensions.name = long_name(body)
        elif flag == _LONG_LINK and extensions.link is None:
            extensions.link = long_name(body)
        else:
            raise ValueError(f"two headers of type {flag!r} for one member")
        return after

    def _uncommon(
        self,
        data: bytes,
        base: int,
        at: int,
        fields: _Fields,
        kind: int,
        ids: tuple[int, int, int],
        size: int,
        mtime: int,
    ) -> int:
        """Reads a member with extensions, or other than a file or directory. Returns where its data end."""
        raw_name, _, _, _, _, flag, raw_link, magic, device, prefix, trailer = fields
        extensions = self._extensions or _Extensions()
        records = {**self._global, **extensions.records} if self._global else extensions.records
        mode, uid, gid = ids
        nanoseconds = 0
        number = 0
        xattrs = tar_pax.NO_RECORDS
        if records:
            size = tar_pax.decimal(records, b"size", size, _MAX_INT64)
            uid = tar_pax.decimal(records, b"uid", uid, _MAX_ID)
            gid = tar_pax.decimal(records, b"gid", gid, _MAX_ID)
            if value := records.get(b"mtime"):
                mtime, nanoseconds = tar_pax.seconds(value)
                mtime = _clamp(mtime)
            xattrs = tar_pax.xattrs(records)
        name = (
            records.get(b"GNU.sparse.name")
            or agreed(extensions.name, records.get(b"path"))
            or join(prefix, tf.text(raw_name), magic, trailer)
        )
        path = clean(name) if name else _nameless()
        if kind == ix.FILE and flag == b"\0" and name.endswith(b"/"):
            kind = ix.DIRECTORY
        start = at + tf.BLOCK
        if kind == ix.FILE:
            stored = size
            sparse_map = None
            if flag == b"S":
                if magic != tf.GNU_MAGIC:
                    raise ValueError("a sparse file in a form that is not GNU tar's")
                size, sparse_map, start = sparse.old_gnu(data, at)
            elif records and (found := sparse.from_pax(records, data, start, stored)):
                size, sparse_map, used = found
                start += used
                stored -= used
            where = base + start
            extents = None if sparse_map is None else sparse.place(sparse_map, size, stored, where)
            extra = self._builder.add_extra(xattrs, extents)
            self._builder.add(path, ix.pack_record(kind, mode, uid, gid, mtime, nanoseconds, size, where, extra))
            self._data_end = where + stored
            after = start + tf.padded(stored)
        else:
            # A size in the header of a member without data is not that of data: Go's archive/tar, too, passes over it.
            after = start
            if kind in (ix.CHAR_DEVICE, ix.BLOCK_DEVICE):
                number = _device(device, records)
            extra = self._builder.add_extra(xattrs, None)
            record = ix.pack_record(kind, mode, uid, gid, mtime, nanoseconds, 0, number, extra)
            if kind in ix.LINKS:
                target = agreed(extensions.link, records.get(b"linkpath")) or tf.text(raw_link)
                if not target:
                    raise ValueError("a link without a target")
                if kind == ix.HARD_LINK:
                    target = clean(target)
                    if not target:
                        raise ValueError("a hard link to the root")
                elif len(target) >= PATH_MAX:
                    raise ValueError(f"a symlink's target of {len(target)} bytes; Linux allows {PATH_MAX - 1}")
                self._builder.add_link(path, target, record)
            else:
                self._builder.add(path, record)
        self._extensions = None
        return after

    def _is_sound(self, data: bytes, at: int, chksum: bytes, byte_sum: int) -> bool:
        try:
            expected = tf.expected_sum(chksum)
        except ValueError:
            return False
        if expected != byte_sum:
            return expected == tf.signed_sum(data[at : at + tf.BLOCK])
        if len(self._sums) < _CACHE_ENTRIES:
            self._sums[chksum] = expected
        return True

    def _parse_ids(self, field: bytes) -> tuple[int, int, int]:
        mode, uid, gid = tf.number(field[:8], "mode"), tf.number(field[8:16], "uid"), tf.number(field[16:], "gid")
        if mode < 0 or not (0 <= uid <= _MAX_ID and 0 <= gid <= _MAX_ID):
            raise ValueError(f"mode {mode:o}, owner {uid}:{gid}; ids go from 0 to {_MAX_ID}")
        # v7 has the file type in the upper bits.
        ids = mode & 0o7777, uid, gid
        if len(self._ids) < _CACHE_ENTRIES:
            self._ids[field] = ids
        return ids

    def _parse_size(self, field: bytes) -> int:
        size = tf.number(field, "size")
        if not 0 <= size <= _MAX_INT64:
            raise ValueError(f"size {size}; 0 to {_MAX_INT64} are allowed")
        if len(self._sizes) < _CACHE_ENTRIES:
            self._sizes[field] = size
        return size

    def _parse_mtime(self, field: bytes) -> int:
        mtime = _clamp(tf.number(field, "mtime"))
        if len(self._mtimes) < _CACHE_ENTRIES:
            self._mtimes[field] = mtime
        return mtime

    def _fail(self, what: str, offset: int, fields: _Fields | None = None) -> NoReturn:
        where = f"at byte {offset} of the tar"
        if fields is not None:
            extensions = self._extensions or _Extensions()
            name = extensions.name or extensions.records.get(b"path") or tf.text(fields[0])
            where = f"entry '{show_path(name[:PATH_MAX])}' {where}"
        raise BuildError(f"{self._label}: {where}: {what}")


def _clamp(seconds: int) -> int:
    # No kernel and no format has times beyond 64 bits; what is in range is left to the writers.
    return max(-_MAX_INT64, min(seconds, _MAX_INT64))


def _nameless() -> NoReturn:
    raise ValueError("it has no name")


def _device(field: bytes, records: dict[bytes, bytes]) -> int:
    major = tar_pax.decimal(records, b"SCHILY.devmajor", tf.number(field[:8], "major"), _MAX_INT64)
    minor = tar_pax.decimal(records, b"SCHILY.devminor", tf.number(field[8:], "minor"), _MAX_INT64)
    if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
        raise ValueError(f"device {major}:{minor}; Linux allows {_MAX_MAJOR}:{_MAX_MINOR}")
    return major << ix.MINOR_BITS | minor
