"""Checksums as people write them in config files."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from fledge.values import Digest


def parse_checksum(text: object) -> Digest:
    """`sha256:<64 hex digits>`, sha512 likewise, or 64 bare hex digits; in either case. Raises ValueError."""
    if isinstance(text, Digest):
        return text
    lower = text.strip().lower() if isinstance(text, str) else text
    try:
        return Digest.parse(lower if isinstance(lower, str) and ":" in lower else f"sha256:{lower}")
    except ValueError:
        raise ValueError(f"malformed checksum {text!r}; expected sha256:<64 hex digits>") from None


Checksum = Annotated[
    Digest,
    PlainValidator(parse_checksum),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(sha256:)?[0-9A-Fa-f]{64}$|^sha512:[0-9A-Fa-f]{128}$"}),
]
"""For options models."""
