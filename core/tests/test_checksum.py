from __future__ import annotations

import pytest
from fledge.checksum import Checksum, parse_checksum
from fledge.options import Options
from fledge.values import Digest

HEX = "0123456789abcdef" * 4


class Model(Options):
    checksum: Checksum | None = None


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"sha256:{HEX}", f" SHA256:{HEX.upper()}\n"])
def test_sha256(text: str) -> None:
    assert parse_checksum(text) == Digest("sha256", HEX)


def test_sha512() -> None:
    assert parse_checksum(f"sha512:{HEX * 2}") == Digest("sha512", HEX * 2)


@pytest.mark.parametrize(
    "text", ["", HEX[1:], HEX + "0", HEX * 2, f"md5:{HEX[:32]}", f"sha256:{HEX[1:]}g", "../x", 5, None]
)
def test_case_056_malformed(text: object) -> None:
    with pytest.raises(ValueError, match="malformed checksum"):
        parse_checksum(text)


def test_in_a_model() -> None:
    assert Model.model_validate_json(f'{{"checksum": "{HEX}"}}').checksum == Digest("sha256", HEX)
    assert Model().checksum is None
    assert Model.model_json_schema()["properties"]["checksum"]["anyOf"][0]["type"] == "string"
