"""Names in tars: where the headers have them, and what they mean in an image."""

from __future__ import annotations

from typing import Final

from fledge.tree import tar_format as tf
from fledge.values import NAME_MAX, PATH_MAX

WHITEOUT: Final = b".wh."
"""What stands before a name that the layer hides (image-spec layer.md, "Whiteouts")."""
_LONGEST_WHITEOUT: Final = NAME_MAX + len(WHITEOUT)
"""It is never a file, and the name that it hides may be as long as any."""


def clean(path: bytes) -> bytes:
    """A member's path as container engines take it: relative to the image's root, where `..` stops.

    Lexical, before any symlink is looked at, as Go's filepath.Clean in Docker and umoci. Raises ValueError for a name
    or path that Linux can't hold.
    """
    if path[:2] == b"./":
        path = path[2:]
    if b"//" in path or b"/." in path or path[:1] in b"/." or len(path) > NAME_MAX:
        return _clean_parts(path)
    return path[:-1] if path[-1] == 0x2F else path


def _clean_parts(path: bytes) -> bytes:
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part and part != b".":
            if len(part) > (_LONGEST_WHITEOUT if part.startswith(WHITEOUT) else NAME_MAX):
                raise ValueError(f"a name in the path has {len(part)} bytes; Linux allows {NAME_MAX}")
            parts.append(part)
    cleaned = b"/".join(parts)
    if len(cleaned) >= PATH_MAX:
        raise ValueError(f"the path has {len(cleaned)} bytes; Linux allows {PATH_MAX - 1}")
    return cleaned


def join(prefix: bytes, name: bytes, magic: bytes, trailer: bytes) -> bytes:
    """A header's name with its prefix, where what stands in the prefix's place is one."""
    if magic[:6] != tf.USTAR_MAGIC:
        return name  # GNU has other things there.
    if trailer.endswith(tf.STAR_TRAILER):
        prefix = prefix[: tf.STAR_PREFIX]
    prefix = tf.text(prefix)
    return prefix + b"/" + name if prefix else name


def long_name(body: bytes) -> bytes:
    """What GNU's header for a long name holds. Raises ValueError where it is none."""
    name = body.rstrip(b"\0")
    if not name or b"\0" in name:
        raise ValueError("a long name that is empty or has NUL in it")
    return name


def agreed(gnu: bytes | None, pax: bytes | None) -> bytes | None:
    """The name of the two headers that can give one. Raises ValueError where they differ."""
    # Readers differ in which of the two they take, which hides a file from one of them.
    if gnu and pax and gnu != pax:
        raise ValueError("its GNU and PAX headers give it two names")
    return gnu or pax
