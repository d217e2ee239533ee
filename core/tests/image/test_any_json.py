"""Whatever JSON comes: a document, or one line that says why not."""

from __future__ import annotations

import json
from typing import Any

from fledge.errors import BuildError
from fledge.image.documents import ACCEPTED, DOCKER_CONFIG, OCI_CONFIG, OCI_LAYER, parse_document
from fledge.image.parse_config import parse_config
from fledge.values import Platform
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = [
    "schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "data", "platform", "os",
    "architecture", "variant", "annotations", "rootfs", "type", "diff_ids", "created", "Env", "Cmd", "ExposedPorts",
    "80/tcp", "1-65535/udp", "2024-01-01T00:00:00Z", "9999-99-99T99:99:99+99:99", f"sha256:{'0' * 64}", OCI_CONFIG,
    DOCKER_CONFIG, f"{OCI_LAYER}+gzip", *ACCEPTED,
]  # fmt: skip
TEXT = st.sampled_from(WORDS) | st.text(max_size=5)
LEAF = st.none() | st.booleans() | st.integers() | st.just(2) | st.floats() | TEXT
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=6), max_leaves=20
)
DOCUMENT = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | LEAF},
    optional=dict.fromkeys(("mediaType", "config", "layers", "manifests", "rootfs", "created", "os"), JSON),
)


@settings(max_examples=150, deadline=None)
@given(DOCUMENT, st.none() | st.sampled_from(ACCEPTED))
def test_any_json(document: dict[str, Any], media_type: str | None) -> None:
    data = json.dumps(document).encode()
    for parse in (
        lambda: parse_document(data, media_type, "x"),
        lambda: parse_config(data, "x", Platform("linux", "amd64")),
    ):
        try:
            parse()
        except BuildError as error:
            assert error.message.startswith("x")  # noqa: PT017
            assert "\n" not in error.message  # noqa: PT017
