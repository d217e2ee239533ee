"""PAX extended headers: the records (POSIX.1-2001 pax, "pax Extended Header") and what they say of a member."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from fledge.values import NAME_MAX

NO_RECORDS: Final[Mapping[bytes, bytes]] = {}
_WITHOUT_NUL: Final = (b"path", b"linkpath", b"GNU.sparse.name", b"uname", b"gname")
_SCHILY_XATTR: Final = b"SCHILY.xattr."
_LIBARCHIVE_XATTR: Final = b"LIBARCHIVE.xattr."
_SELINUX: Final = b"RHT.security.selinux"
_ACL: Final = b"SCHILY.acl."
_ATTRIBUTES: Final = (_SCHILY_XATTR, _LIBARCHIVE_XATTR, _SELINUX, _ACL)
_XATTR_SIZE_MAX: Final = 65536  # include/uapi/linux/limits.h
_TIME = re.compile(rb"(-?)([0-9]{1,30})(?:\.([0-9]*))?")


def parse_records(body: bytes) -> dict[bytes, bytes]:
    """The records of an extended header by keyword; of two with one keyword the later stands.

    GNU's sparse format 0.0 repeats its keywords, so its numbers are gathered into the map of format 0.1.

    Raises ValueError where a record is not its own length, a space, `keyword=value` and a newline.
    """
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    at, end = 0, len(body)
    while at < end:
        space = body.find(b" ", at, at + 20)
        digits = body[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise ValueError("a record of the extended header does not begin with its length")
        stop = at + int(digits)
        if not space < stop - 1 < end or body[stop - 1] != 0x0A:
            raise ValueError(f"a record of the extended header has the wrong length {int(digits)}")
        key, equals, value = body[space + 1 : stop - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise ValueError("a record of the extended header has no keyword")
        if key in _WITHOUT_NUL and b"\0" in value:
            raise ValueError(f"NUL in the extended header's {key.decode()}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (key == b"GNU.sparse.offset") == len(sparse) % 2:
                raise ValueError("GNU.sparse.offset and GNU.sparse.numbytes do not alternate")
            sparse.append(value)
        records[key] = value
        at = stop
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def parse_global(body: bytes) -> dict[bytes, bytes]:
    """The records of a global header that mean something for every member after it. Raises ValueError.

    What belongs to one member, such as its path, can't stand for all of them.
    """
    records = parse_records(body)
    for key in records:
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse."):
            raise ValueError(f"a global header gives every member the same {key.decode('ascii', 'backslashreplace')}")
    return {
        key: value for key, value in records.items() if key in (b"uid", b"gid", b"mtime") or key.startswith(_ATTRIBUTES)
    }


def decimal(records: Mapping[bytes, bytes], key: bytes, default: int, limit: int) -> int:
    """The number of a keyword, `default` where there is none. Raises ValueError where it is not 0 to `limit`."""
    value = records.get(key)
    if not value:
        return default
    if not value.isdigit() or len(value) > 20 or int(value) > limit:
        raise ValueError(f"the extended header's {key.decode()} {value[:40]!r} is not a number from 0 to {limit}")
    return int(value)


def seconds(value: bytes) -> tuple[int, int]:
    """A time as whole seconds, rounded down, and nanoseconds; finer digits are cut off. Raises ValueError."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"the extended header's mtime {value[:40]!r} is not a time")
    sign, whole, fraction = match.groups()
    total = int(whole) * 10**9 + int((fraction or b"")[:9].ljust(9, b"0"))
    return divmod(-total if sign else total, 10**9)


def xattrs(records: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The extended attributes that the records carry. Raises ValueError.

    SCHILY.xattr is what every container tool writes. LIBARCHIVE.xattr (name percent-encoded, value base64) stands
    beside it in what bsdtar writes. RHT.security.selinux is GNU tar's --selinux; libselinux stores the NUL too.
    """
    found: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(_SCHILY_XATTR):
            found[key[len(_SCHILY_XATTR) :]] = value
        elif key.startswith(_LIBARCHIVE_XATTR):
            name = unquote_to_bytes(key[len(_LIBARCHIVE_XATTR) :])
            try:
                # libarchive leaves out the padding.
                found.setdefault(name, base64.b64decode(value + b"=" * (-len(value) % 4), validate=True))
            except binascii.Error:
                raise ValueError(f"the extended header's {key[:80]!r} is not base64") from None
        elif key == _SELINUX:
            found.setdefault(b"security.selinux", value + b"\0")
        elif key.startswith(_ACL):
            raise ValueError(
                f"the ACL in {key.decode('ascii', 'backslashreplace')} is not supported; SCHILY.xattr.system.posix_acl_access is"
            )
    for name, value in found.items():
        if not 0 < len(name) <= NAME_MAX or b"\0" in name:
            raise ValueError(f"{name[:40]!r} is not a name of an extended attribute (1 to 255 bytes without NUL)")
        if len(value) > _XATTR_SIZE_MAX:
            raise ValueError(f"the extended attribute {name!r} has {len(value)} bytes; Linux allows {_XATTR_SIZE_MAX}")
    return found
