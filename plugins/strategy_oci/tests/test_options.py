"""The tables of oci_rootfs: every problem with its place, and the names that images give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fledge.config.check import check
from fledge.config.json_schema import TomlSchema
from fledge.errors import Problem
from fledge_strategy_oci.options import OciRootfsOptions
from jsonschema import Draft202012Validator

SCHEMA = OciRootfsOptions.model_json_schema(schema_generator=TomlSchema)


def parsed(table: dict[str, Any]) -> OciRootfsOptions:
    problems: list[Problem] = []
    options = check(OciRootfsOptions, table, problems, file="fledge.toml")
    assert problems == []
    assert options is not None
    return options


@pytest.mark.parametrize(
    "source",
    [
        {"image": "nginx:alpine"},
        {"image": "oci:./layout:tag"},
        {"dockerfile": "./Dockerfile"},
        {"dockerfile": "D", "context": ".", "target": "", "build_args": {"FOO": "bar"}},
        {"dockerfile": "D", "builder": "docker", "secrets": {"token": "./token"}, "no_cache": True},
    ],
)
def test_good(source: dict[str, Any]) -> None:
    assert parsed({"source": source}).source.model_dump(exclude_unset=True) == source
    assert Draft202012Validator(SCHEMA).is_valid({"source": source})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "source: missing"),
        ({"source": "nginx"}, "source: 'nginx' is not a table"),
        ({"source": {}}, "source: has neither image nor dockerfile; give one of them"),
        ({"source": {"image": "a", "dockerfile": "b"}}, "source: image and dockerfile exclude each other; give one of them"),
        ({"source": {"image": ""}}, "source.image: must not be empty"),
        ({"source": {"dockerfile": ""}}, "source.dockerfile: must not be empty"),
        ({"source": {"image": "a", "target": "x"}}, "source: target goes with dockerfile, not with image"),
        (
            {"source": {"image": "a", "context": ".", "build_args": {}}},
            "source: context, build_args go with dockerfile, not with image",
        ),
        ({"source": {"dockerfile": "D", "build_args": {"A": 1}}}, 'source.build_args.A: 1 is not a string (write "1")'),
        (
            {"source": {"dockerfile": "D", "build_args": {"A-B": "1"}}},
            "source.build_args.A-B: 'A-B' is not the name of an ARG",
        ),
        (
            {"source": {"dockerfile": "D", "secrets": {"a,b": "f"}}},
            'source.secrets."a,b": \'a,b\' is not an id of letters, digits, _, . and -',
        ),
        ({"source": {"dockerfile": "D", "secrets": {"a": ""}}}, "source.secrets.a: must not be empty"),
        ({"source": {"image": "a", "builder": "docker"}}, "source: builder goes with dockerfile, not with image"),
        ({"source": {"dockerfile": "D", "no_cache": 1}}, "source.no_cache: 1 is not true or false"),
        ({"source": {"image": "a", "busybox_url": "x"}}, "source.busybox_url: busybox_url belongs to the strategy 'initramfs'"),
        (
            {"source": {"image": "a", "busybox_sha256": "x"}},
            "source.busybox_sha256: busybox_sha256 belongs to the strategy 'initramfs'",
        ),
        ({"source": {"iamge": "a"}}, "source.iamge: unknown key 'iamge'; did you mean 'image'?"),
        ({"source": {"image": "a"}, "init": {}}, "init: [init] belongs to the strategy 'initramfs' (initramfs only)"),
    ],
)  # fmt: skip
def test_bad(table: dict[str, Any], problem: str) -> None:
    problems: list[Problem] = []
    assert check(OciRootfsOptions, table, problems, file="fledge.toml") is None
    assert f"fledge.toml: {problem}" in [str(one) for one in problems]
    assert not Draft202012Validator(SCHEMA).is_valid(table)


def test_a_builder_that_is_not_installed() -> None:
    problems: list[Problem] = []
    assert check(OciRootfsOptions, {"source": {"dockerfile": "D", "builder": "dokcer"}}, problems, file="f") is None
    assert str(problems[0]).startswith("f: source.builder: unknown builder 'dokcer'; installed: ")
    assert "did you mean 'docker'?" in str(problems[0])


def test_a_malformed_reference_is_told_in_its_parsers_words() -> None:
    problems: list[Problem] = []
    assert check(OciRootfsOptions, {"source": {"image": "docker:nginx"}}, problems, file="fledge.toml") is None
    assert (
        str(problems[0])
        == "fledge.toml: source.image: malformed image reference 'docker:nginx'; expected docker://nginx"
    )


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"image": "ghcr.io/acme/Web:1"}, "Web"),
        ({"image": "oci:./layout:tag"}, "layout"),
        ({"dockerfile": "Dockerfile"}, "project"),
        ({"dockerfile": "web/Dockerfile"}, "web"),
        ({"dockerfile": "../Dockerfile"}, "srv"),
    ],
)
def test_default_name(source: dict[str, str], name: str) -> None:
    assert parsed({"source": source}).default_name(Path("/srv/project")) == name
