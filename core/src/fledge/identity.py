"""Identifiers that are the same for the same content: artifacts are reproducible, so nothing in them is random."""

from __future__ import annotations


def derived_uuid(digest: bytes) -> bytes:
    """A UUID of version 8 (RFC 9562: derived in a way of one's own) from the first 16 bytes of a digest."""
    uuid = bytearray(digest[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid)
