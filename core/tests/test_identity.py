from __future__ import annotations

import hashlib
import uuid

from fledge.identity import derived_uuid


def test_a_derived_uuid_is_of_version_8_and_of_its_digest() -> None:
    made = uuid.UUID(bytes=derived_uuid(hashlib.sha256(b"one").digest()))
    assert made.version == 8
    assert made.variant == uuid.RFC_4122
    assert made.bytes == derived_uuid(hashlib.sha256(b"one").digest())
    assert made.bytes != derived_uuid(hashlib.sha256(b"two").digest())
