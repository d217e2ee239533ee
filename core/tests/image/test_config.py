from __future__ import annotations

import json
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.image.config import ImageConfig
from fledge.image.parse_config import parse_config, parse_moment
from fledge.values import Digest, Platform

HEX = "ab" * 32
AMD64 = Platform("linux", "amd64")


def parse(layers: int | None = None, **document: Any) -> ImageConfig:
    return parse_config(json.dumps(document).encode(), "img: config", AMD64, layers)


def test_all_members() -> None:
    config = parse(
        created="2024-05-06T07:08:09.123456789Z",
        os="linux",
        architecture="arm64",
        variant="v8",
        rootfs={"type": "layers", "diff_ids": [f"sha256:{HEX}"]},
        config={
            "Entrypoint": ["/bin/a", "b c"],
            "Cmd": ["d"],
            "Env": ["PATH=/bin", "X="],
            "WorkingDir": "/srv",
            "User": "1000:0",
            "StopSignal": "SIGQUIT",
            "ExposedPorts": {"8080/tcp": {}, "80/udp": {}, "80": {}, "9000-9002/sctp": {}},
        },
    )
    assert config.created == 1714979289_123456789
    assert config.platform == Platform("linux", "arm64", "v8")
    assert config.diff_ids == (Digest("sha256", HEX),)
    assert config.entrypoint == ("/bin/a", "b c")
    assert config.cmd == ("d",)
    assert config.env == ("PATH=/bin", "X=")
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv", "1000:0", "SIGQUIT")
    assert config.exposed_ports == ("80/tcp", "80/udp", "8080/tcp", "9000/sctp", "9001/sctp", "9002/sctp")


@pytest.mark.parametrize("run", [None, {}, {"Entrypoint": None, "Cmd": None, "Env": None, "ExposedPorts": None}])
def test_null_is_none(run: dict[str, Any] | None) -> None:
    config = parse(config=run, created=None)
    assert (config.entrypoint, config.cmd, config.env, config.exposed_ports) == ((), (), (), ())
    assert (config.created, config.working_dir, config.user) == (None, None, None)


def test_a_config_that_names_no_platform_is_taken_for_the_wanted_one() -> None:
    assert parse(os="", architecture="").platform == AMD64


def test_a_lone_string_is_a_list_of_one() -> None:
    assert parse(config={"Entrypoint": "/bin/sh -c x"}).entrypoint == ("/bin/sh -c x",)


def test_gos_zero_time_is_no_time() -> None:
    assert parse(created="0001-01-01T00:00:00Z").created is None


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01t00:00:01z", 1_000_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("1970-01-01T01:30:00+01:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2016-12-31T23:59:60Z", 1483228800_000_000_000),
        ("2024-02-29T00:00:00.1234567891234Z", 1709164800_123456789),
        ("9999-12-31T23:59:59Z", 253402300799_000_000_000),
    ],
)
def test_moments(text: str, nanoseconds: int) -> None:
    assert parse_moment(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "2024", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2023-02-29T00:00:00Z", "24-1-1T0:0:0Z"],
)
def test_malformed_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"malformed|day|month"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}}, "rootfs: diff_ids: malformed digest"),
        ({"rootfs": {"type": "windows", "diff_ids": []}}, "only 'layers' is allowed"),
        ({"created": "yesterday"}, "created: malformed time 'yesterday'"),
        ({"config": {"Env": {"A": "b"}}}, "Env: a list of strings is expected, not an object"),
        ({"config": {"Cmd": [1]}}, "Cmd: a string is expected"),
        ({"config": {"ExposedPorts": {"http": {}}}}, "malformed port 'http'"),
        ({"config": {"ExposedPorts": {"0/tcp": {}}}}, "out of range; ports are 1 to 65535"),
        ({"config": {"ExposedPorts": {"65536/tcp": {}}}}, "out of range"),
        ({"config": {"ExposedPorts": {"90-80/tcp": {}}}}, "out of range"),
        ({"config": []}, "an object is expected"),
    ],
)
def test_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        parse(**document)
    assert caught.value.message.startswith("img: config")


def test_the_number_of_diff_ids_must_be_that_of_the_layers() -> None:
    with pytest.raises(BuildError, match="1 of them, but the manifest lists 2 layers"):
        parse(2, rootfs={"type": "layers", "diff_ids": [f"sha256:{HEX}"]})
