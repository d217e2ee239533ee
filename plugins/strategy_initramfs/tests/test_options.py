"""The tables of the strategy: every problem with its place, in words and in the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fledge.config.check import check
from fledge.config.json_schema import TomlSchema
from fledge.errors import Problem
from fledge.values import Digest
from fledge_strategy_initramfs.options import BUSYBOX_SHA256, BUSYBOX_URL, InitramfsOptions
from jsonschema import Draft202012Validator

SCHEMA = InitramfsOptions.model_json_schema(schema_generator=TomlSchema)
SHA = "0123456789abcdef" * 4


def parsed(table: dict[str, Any]) -> InitramfsOptions:
    problems: list[Problem] = []
    options = check(InitramfsOptions, table, problems, file="fledge.toml")
    assert problems == []
    assert options is not None
    return options


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"source": {}},
        {"source": {"image": "nginx:alpine", "busybox_url": "busybox"}},
        {"source": {"dockerfile": "./Dockerfile", "context": "."}},
        {"source": {"busybox_url": "https://example.org/bb", "busybox_sha256": SHA}},
        {"source": {"busybox_sha256": f"sha256:{SHA}"}},
        {"init": {"path": "/sbin/init"}},
        {"init": {"path": "./my-init"}},
        {"init": {"none": True}},
        {"initramfs": {"busybox": False}},
        {"initramfs": {"modules": ["virtio_blk"], "kernel_modules": "modules"}, "init": {"path": "/sbin/init"}},
    ],
)
def test_good(table: dict[str, Any]) -> None:
    assert parsed(table).model_dump(mode="json", exclude_unset=True) == table
    assert Draft202012Validator(SCHEMA).is_valid(table)


@pytest.mark.parametrize(
    ("table", "problem", "schema_knows"),
    [
        ({"source": {"image": "a", "dockerfile": "b"}}, "source: image and dockerfile exclude each other; give one of them", True),
        ({"source": {"target": "x"}}, "source: target goes with dockerfile", True),
        ({"source": {"busybox_sha256": "abc"}}, "source.busybox_sha256: 'abc' is not a sha256: 64 hex digits", True),
        ({"source": {"busybox": "x"}}, "source.busybox: unknown key 'busybox'; did you mean 'busybox_url'?", True),
        ({"init": {}}, "init: has neither path nor none = true; give one of them, or remove [init]", True),
        ({"init": {"none": False}}, "init: has neither path nor none = true; give one of them, or remove [init]", True),
        ({"init": {"path": "/a", "none": True}}, "init: path and none exclude each other; give one of them", True),
        ({"init": {"path": ""}}, "init.path: must not be empty", True),
        ({"init": {"path": "/a/../b"}}, "init.path: '/a/../b' has '..' as a path component", False),
        ({"initramfs": {"modules": ["a"]}}, "initramfs: modules needs kernel_modules, the folder that they are taken from", True),
        ({"initramfs": {"kernel_modules": "a"}}, "initramfs: kernel_modules needs modules, the names of those to take", True),
        ({"initramfs": {"modules": ["a b"], "kernel_modules": "a"}}, "initramfs.modules[0]: 'a b' is not the name of a kernel module, such as virtio_blk", True),
    ],
)  # fmt: skip
def test_bad(table: dict[str, Any], problem: str, schema_knows: bool) -> None:
    problems: list[Problem] = []
    assert check(InitramfsOptions, table, problems, file="fledge.toml") is None
    assert f"fledge.toml: {problem}" in [str(one) for one in problems]
    assert Draft202012Validator(SCHEMA).is_valid(table) is not schema_knows


@pytest.mark.parametrize("init", [{"none": True}, {"path": "my-init"}])
def test_modules_need_an_init_that_loads_them(init: dict[str, Any]) -> None:
    problems: list[Problem] = []
    table = {"init": init, "initramfs": {"modules": ["a"], "kernel_modules": "m"}}
    assert check(InitramfsOptions, table, problems, file="fledge.toml") is None
    assert "which this [init] replaces" in str(problems[0])


def test_busybox() -> None:
    assert parsed({}).busybox == (BUSYBOX_URL, Digest("sha256", BUSYBOX_SHA256))
    assert parsed({"source": {"busybox_url": "bb"}}).busybox == ("bb", None)
    assert parsed({"source": {"busybox_url": "bb", "busybox_sha256": SHA}}).busybox == ("bb", Digest("sha256", SHA))
    assert parsed({"source": {"busybox_sha256": SHA}}).busybox == (BUSYBOX_URL, Digest("sha256", SHA))


@pytest.mark.parametrize(
    ("init", "word"), [({"none": True}, "none = true"), ({"path": "/sbin/init"}, "path"), ({"path": "x"}, "path")]
)
def test_agent_and_init_exclude_each_other(init: dict[str, Any], word: str) -> None:
    assert f"[init] {word}" in str(parsed({"init": init}).without_agent())
    assert parsed({}).without_agent() is None


def test_names() -> None:
    assert parsed({"source": {"image": "docker://ghcr.io/acme/Web:1"}}).default_name(Path("/x")) == "Web"
    assert parsed({}).default_name(Path("/x")) is None
