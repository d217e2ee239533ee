from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.image.documents import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Index,
    Manifest,
    is_foreign,
    parse_document,
)
from fledge.image.fields import DOCUMENT_LIMIT, load_object, load_objects
from fledge.values import Digest, Platform

HEX = "0123456789abcdef" * 4
CONFIG = {"mediaType": OCI_CONFIG, "digest": f"sha256:{HEX}", "size": 2}
LAYER = {"mediaType": f"{OCI_LAYER}+gzip", "digest": f"sha256:{HEX}", "size": 5}
MANIFEST = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}
INDEX = {"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": f"sha256:{HEX}", "size": 7}]}


def parse(document: Any, media_type: str | None = OCI_MANIFEST) -> Manifest | Index:
    return parse_document(json.dumps(document).encode(), media_type, "img: manifest")


def with_layer(**changes: Any) -> dict[str, Any]:
    return {**MANIFEST, "layers": [{**LAYER, **changes}]}


def test_manifest() -> None:
    found = parse(MANIFEST)
    assert isinstance(found, Manifest)
    assert found.config.digest == Digest("sha256", HEX)
    assert [(layer.size, layer.media_type) for layer in found.layers] == [(5, f"{OCI_LAYER}+gzip")]


def test_docker_manifest() -> None:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {**CONFIG, "mediaType": DOCKER_CONFIG},
        "layers": [{**LAYER, "mediaType": f"{DOCKER_LAYER}.gzip"}],
    }
    assert isinstance(parse(document, f"{DOCKER_MANIFEST}; charset=utf-8"), Manifest)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_index(media_type: str) -> None:
    entry = {**INDEX["manifests"][0], "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    found = parse({**INDEX, "mediaType": media_type, "manifests": [entry, INDEX["manifests"][0]]}, media_type)
    assert isinstance(found, Index)
    assert [one.platform for one in found.entries] == [Platform("linux", "arm64", "v8"), None]


@pytest.mark.parametrize(("document", "kind"), [(MANIFEST, Manifest), (INDEX, Index)])
def test_without_any_media_type_the_members_decide(document: dict[str, Any], kind: type) -> None:
    assert isinstance(parse(document, None), kind)


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        pytest.param({**MANIFEST, "manifests": []}, OCI_MANIFEST, "two documents in one", id="case_062-both"),
        pytest.param({**INDEX, "layers": []}, OCI_INDEX, "two documents in one", id="case_062-index-with-layers"),
        pytest.param({**INDEX, "config": CONFIG}, OCI_INDEX, "two documents in one", id="case_062-index-with-config"),
        pytest.param({**MANIFEST, "fsLayers": []}, OCI_MANIFEST, "two documents in one", id="case_062-fslayers"),
        pytest.param({**INDEX, "layers": []}, None, "two documents in one", id="case_062-both-untold"),
        pytest.param(
            {**MANIFEST, "mediaType": OCI_INDEX}, OCI_MANIFEST, "not what it was announced as", id="case_062-mismatch"
        ),
        pytest.param(
            {**MANIFEST, "mediaType": OCI_MANIFEST}, "text/html", "not what it was announced as", id="case_062-html"
        ),
        pytest.param(INDEX, OCI_MANIFEST, "two documents in one", id="case_062-index-as-manifest"),
        pytest.param(MANIFEST, "application/x-tar", "'application/x-tar'; supported: ", id="unknown-type"),
        pytest.param(
            {"schemaVersion": 1, "fsLayers": []},
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "schema 1",
            id="schema1",
        ),
        pytest.param({"schemaVersion": 1, "fsLayers": []}, None, "schema 1", id="schema1-untold"),
        pytest.param({**MANIFEST, "schemaVersion": 3}, OCI_MANIFEST, "schemaVersion", id="version"),
        pytest.param({"config": CONFIG}, OCI_MANIFEST, "schemaVersion", id="no-version"),
        pytest.param({"schemaVersion": 2}, OCI_MANIFEST, "config: missing", id="no-config"),
        pytest.param(with_layer(size=-1), OCI_MANIFEST, r"size: -1 is out of range", id="case_055-negative"),
        pytest.param(with_layer(size=1 << 63), OCI_MANIFEST, "out of range", id="case_055-huge"),
        pytest.param(with_layer(size=1.5), OCI_MANIFEST, "whole number", id="case_055-fraction"),
        pytest.param(with_layer(size=True), OCI_MANIFEST, "whole number", id="case_055-bool"),
        pytest.param(with_layer(size=None), OCI_MANIFEST, "size: missing", id="case_055-missing"),
        pytest.param(with_layer(digest="sha256:abc"), OCI_MANIFEST, "malformed digest", id="case_056-short"),
        pytest.param(with_layer(digest=f"sha256:{HEX}".upper()), OCI_MANIFEST, "malformed digest", id="case_056-upper"),
        pytest.param(
            with_layer(digest="sha256:../../../../etc/passwd"),
            OCI_MANIFEST,
            "malformed digest",
            id="case_056-traversal",
        ),
        pytest.param(with_layer(digest=f"md5:{HEX}"), OCI_MANIFEST, "malformed digest", id="case_056-md5"),
        pytest.param(with_layer(digest=f"sha256:{HEX}\n"), OCI_MANIFEST, "malformed digest", id="case_056-newline"),
        pytest.param(with_layer(digest=None), OCI_MANIFEST, "malformed digest", id="case_056-missing"),
        pytest.param(with_layer(digest=7), OCI_MANIFEST, "malformed digest", id="case_056-number"),
        pytest.param(with_layer(mediaType=None), OCI_MANIFEST, "mediaType: missing", id="no-type"),
        pytest.param(
            with_layer(mediaType="application/vnd.in-toto+json"), OCI_MANIFEST, "is not a layer", id="not-a-layer"
        ),
        pytest.param(
            with_layer(mediaType=f"{OCI_LAYER}+gzip+encrypted"), OCI_MANIFEST, "is not a layer", id="encrypted"
        ),
        pytest.param(with_layer(data="!"), OCI_MANIFEST, "data: not base64", id="case_066-data-base64"),
        pytest.param(with_layer(data="aGVsbG8="), OCI_MANIFEST, "has the digest", id="case_066-data-digest"),
        pytest.param(with_layer(data="aGU="), OCI_MANIFEST, "2 bytes; 5 are announced", id="case_066-data-size"),
        pytest.param({**MANIFEST, "layers": {}}, OCI_MANIFEST, "a list is expected, not an object", id="layers-object"),
        pytest.param({**MANIFEST, "layers": [1]}, OCI_MANIFEST, r"layers\[0\]: an object", id="layer-number"),
        pytest.param({**MANIFEST, "mediaType": 1}, OCI_MANIFEST, "a string is expected", id="type-number"),
        pytest.param({**MANIFEST, "mediaType": "\ud800"}, OCI_MANIFEST, "not valid Unicode", id="lone-surrogate"),
        pytest.param(
            {**MANIFEST, "config": {**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}},
            OCI_MANIFEST,
            "not a container image but an artifact of the type 'application/vnd.cncf.helm.config.v1",
            id="artifact",
        ),
        pytest.param(
            {
                **MANIFEST,
                "artifactType": "application/vnd.example+type",
                "config": {**CONFIG, "mediaType": "application/vnd.oci.empty.v1+json"},
            },
            OCI_MANIFEST,
            "artifact of the type 'application/vnd.example",
            id="artifact-type",
        ),
    ],
)
def test_refused(document: dict[str, Any], media_type: str | None, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        parse(document, media_type)
    assert caught.value.message.startswith("img: manifest")
    assert "\n" not in caught.value.message


def test_case_066_embedded_data() -> None:
    digest = f"sha256:{hashlib.sha256(b'hello').hexdigest()}"
    found = parse(with_layer(data=base64.b64encode(b"hello").decode(), digest=digest))
    assert isinstance(found, Manifest)
    assert found.layers[0].data == b"hello"


def test_case_064_foreign_layers_are_known() -> None:
    found = parse(with_layer(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["http://x/"]))
    assert isinstance(found, Manifest)
    assert is_foreign(found.layers[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b" " * (DOCUMENT_LIMIT + 1), "longer than the 4 MiB", id="case_063-too-long"),
        pytest.param(b"[" * 1_000_000, "nested too deeply", id="case_067-deep-list"),
        pytest.param(b'{"a":' * 500_000, "nested too deeply", id="case_067-deep-object"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON", id="case_067-long-number"),
        pytest.param(b'{"a": NaN}', "NaN is not a JSON number", id="nan"),
        pytest.param(b"{", "not valid JSON", id="cut"),
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b'{"a": "\xff"}', "not valid JSON", id="not-utf-8"),
        pytest.param(b"[]", "not a JSON object", id="list"),
    ],
)
def test_bounded_json(data: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        load_object(data, "the document")
    assert "\n" not in caught.value.message


def test_case_063_just_not_too_long() -> None:
    assert "a" in load_object(b'{"a": 1}'.ljust(DOCUMENT_LIMIT), "the document")


def test_a_list_of_objects() -> None:
    assert [one.number("a") for one in load_objects(b'[{"a": 1}, {}]', "the document")] == [1, None]
    with pytest.raises(BuildError, match="a list is expected"):
        load_objects(b"{}", "the document")
