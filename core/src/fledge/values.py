"""Values that are parsed once, at the edge; inside, they can't be wrong."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

PATH_MAX: Final = 4096
NAME_MAX: Final = 255

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


@dataclass(frozen=True, slots=True)
class Digest:
    """A content digest, `sha256:<64 hex>` or `sha512:<128 hex>` (image-spec descriptor.md, registered algorithms)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError for anything but the two registered forms, so that a digest is safe as a file name."""
        match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"malformed digest {text!r}; expected sha256:<64 hex digits> or sha512:<128 hex digits>")
        return cls(match[1] or match[3], match[2] or match[4])

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is built for: `os/architecture[/variant]`, in Go's names (linux/amd64, linux/arm64/v8)."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything but two or three non-empty parts."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"malformed platform {text!r}; expected os/architecture, such as linux/amd64")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


_SIZE = re.compile(r"([0-9]+)(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class ByteSize(int):
    """A size in bytes; written with a binary unit: `512M`, `1G`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything but digits and one of K, M, G, T."""
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"malformed size {text!r}; expected a number of bytes with K, M, G or T, such as 512M")
        return cls(int(match[1]) * _UNITS[(match[2] or "").upper()])


def show_path(path: bytes) -> str:
    """A guest path for people: absolute, with undecodable and control bytes escaped."""
    text = path.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if text.startswith("/") else "/" + text


@dataclass(frozen=True, slots=True)
class GuestPath:
    """An absolute path inside the image; `parts` is empty for the root."""

    parts: tuple[bytes, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Raises ValueError when the path is relative, too long, or has `..` or NUL in it."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if not raw.startswith(b"/"):
            raise ValueError(
                f"{raw.decode('utf-8', 'backslashreplace')!r} is not absolute; a path in the guest starts with /"
            )
        parts = tuple(part for part in raw.split(b"/") if part not in (b"", b"."))
        if b".." in parts:
            raise ValueError(f"{show_path(raw)!r} has '..' as a path component")
        if b"\0" in raw or len(raw) >= PATH_MAX or any(len(part) > NAME_MAX for part in parts):
            raise ValueError(
                f"{show_path(raw)!r} is not a path that Linux can hold (NUL, over 4095 bytes, or a name over 255)"
            )
        return cls(parts)

    @property
    def name(self) -> bytes:
        """The last component; empty for the root."""
        return self.parts[-1] if self.parts else b""

    def __truediv__(self, name: bytes) -> GuestPath:
        return GuestPath((*self.parts, name))

    def __bytes__(self) -> bytes:
        return b"/" + b"/".join(self.parts)

    def __str__(self) -> str:
        return show_path(bytes(self))
