"""The JSON Schemas say what the models say."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fledge import config
from fledge.config.docstrings import field_docs
from fledge.config.template import Template
from fledge.errors import ConfigError
from fledge.options import Options
from jsonschema import Draft202012Validator

SEEDS = Path(__file__).parent / "seeds"
OCI = 'version = "1"\nstrategy = "oci_rootfs"\nsource.image = "nginx"\n'
INITRAMFS = 'version = "1"\nstrategy = "initramfs"\n'
TEMPLATE = 'schema_version = "v1"\nname = "web"\nversion = "1.0.0"\n'

Agrees = Callable[..., bool]

WHOLE = [path for path in sorted(SEEDS.glob("*.fledge.toml")) if "customized" not in path.name]


@pytest.mark.parametrize("name", ["fledge", "manifest-template", "manifest"])
def test_is_a_schema(name: str, catalog: Any) -> None:
    schema = config.schema(name, catalog)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert "null" not in str(schema)


@pytest.fixture
def agrees(load: Callable[..., Any], schemas: Mapping[str, Draft202012Validator]) -> Agrees:
    def agreed(fledge: str, template: str | None = None) -> bool:
        """Whether models and schemas both take the texts; they must not differ."""
        documents = {"fledge": fledge} | ({"manifest-template": template} if template else {})
        good = all(schemas[name].is_valid(tomllib.loads(text)) for name, text in documents.items())
        refusal = None
        try:
            load(fledge, template)
        except ConfigError as error:
            refusal = error
        assert refusal is None or not good, f"the schema takes what the models do not: {refusal}"
        assert refusal is not None or good, "the schema does not take what the models do"
        return good

    return agreed


@pytest.mark.parametrize("path", [path for path in WHOLE if path.name != "readme-oci-dockerfile.fledge.toml"], ids=str)
def test_samples(path: Path, agrees: Agrees) -> None:
    template = path.with_name(path.name.replace("fledge", "manifest"))
    assert agrees(path.read_text(), template.read_text() if template.exists() else None)


@pytest.mark.parametrize(
    "text",
    [
        OCI,
        OCI + "[filesystem]\n",
        OCI + "[filesystem]\noverlay_size = '50%'\n",
        OCI + "[filesystem]\ntype = 'ext4'\npreallocate = true\nmappings = { a = '/a' }\n",
        OCI + "[agent]\nsource_strategy = 'none'\n",
        OCI + "[agent]\nsource_strategy = 'http'\nurl = 'https://x'\n",
        OCI + "[mappings]\na = '/a..b'\nb = '/'\nc = '/.../'\nd = '/..x'\n",
        INITRAMFS,
        INITRAMFS + "[init]\nnone = true\n",
        INITRAMFS + "[filesystem]\ntype = 'cpio'\n",
    ],
)
def test_both_take(text: str, agrees: Agrees) -> None:
    assert agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        OCI.replace('"1"', "1", 1),
        OCI.replace("oci_rootfs", "oci"),
        "version = '1'\nstrategy = 'oci_rootfs'\n",
        OCI + "init.none = true\n",
        OCI + "xyzzy = 1\n",
        OCI + "filesystem = 1\n",
        OCI + "[filesystem]\ntype = 'ext5'\n",
        OCI + "[filesystem]\nsize_buffer_mb = 1\n",
        OCI + "[filesystem]\ntype = 'squashfs'\nsize_buffer_mb = 1\n",
        OCI + "[filesystem]\ntype = 'ext4'\nsize_buffer_mb = -1\n",
        OCI + "[filesystem]\ntype = 'ext4'\nsize_buffer_mb = '1'\n",
        OCI + "[filesystem]\ntype = 'ext4'\ncompression_level = 3\n",
        OCI + "[filesystem]\ncompression_level = 23\n",
        OCI + "[filesystem]\noverlay_size = 'big'\n",
        OCI + "[filesystem]\nxyzzy = 1\n",
        OCI + "[agent]\n",
        OCI + "[agent]\nsource_strategy = 's3'\n",
        OCI + "[agent]\nsource_strategy = 'local'\n",
        OCI + "[agent]\nsource_strategy = 'local'\npath = ''\n",
        OCI + "[agent]\nsource_strategy = 'release'\npath = 'x'\n",
        OCI + "[agent]\nsource_strategy = 'none'\nversion = 'x'\n",
        OCI + "[mappings]\na = 'a'\n",
        OCI + "[mappings]\na = '/a/../b'\n",
        OCI + "[mappings]\na = '/..'\n",
        OCI + "[mappings]\na = 1\n",
        OCI + "[mappings]\n'' = '/a'\n",
        OCI + "[filesystem.mappings]\na = 'a'\n",
        INITRAMFS + "[source]\nimage = 1\n",
        INITRAMFS + "[source]\nbusybox_sha256 = 'x'\n",
        INITRAMFS + "[filesystem]\ntype = 'ext4'\n",
        INITRAMFS + "[filesystem]\ncompression_level = 3\n",
    ],
)
def test_both_refuse(text: str, agrees: Agrees) -> None:
    assert not agrees(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (OCI + "[mappings]\na = '/x'\nb = '/x'\n", "two values that must differ"),
        (INITRAMFS + "[init]\nnone = true\n[agent]\nsource_strategy = 'none'\n", "core does not know what init means"),
    ],
)
def test_what_only_the_models_refuse(text: str, why: str, agrees: Agrees) -> None:
    assert why
    with pytest.raises(AssertionError, match="the schema takes what the models do not"):
        agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        TEMPLATE + "[workload]\nentrypoint = '/x'\nargs = ['y']\n",
        TEMPLATE + "[cloud_init.user_data]\ncontent = 'x'\n",
        TEMPLATE + "[devices]\nallowlist = ['10de:*']\n",
        TEMPLATE + "[[network.expose]]\nport = 1\n",
    ],
)
def test_both_take_templates(text: str, agrees: Agrees) -> None:
    assert agrees(OCI, text)


@pytest.mark.parametrize(
    "text",
    [
        "name = 'x'\n",
        TEMPLATE.replace("v1", "v2"),
        TEMPLATE.replace("web", ""),
        TEMPLATE + "xyzzy = 1\n",
        TEMPLATE + "enabled = 1\n",
        TEMPLATE + "[workload]\nargs = ['y']\n",
        TEMPLATE + "[workload]\nentrypoint = []\n",
        TEMPLATE + "[workload]\nentrypoint = ''\n",
        TEMPLATE + "[workload]\nentrypoint = 1\n",
        TEMPLATE + "[workload]\nbase_url = 'x'\n",
        TEMPLATE + "[workload]\nworkdir = 'x'\n",
        TEMPLATE + "[workload]\ntype = 'x'\n",
        TEMPLATE + "[resources]\ncpu_cores = 0\n",
        TEMPLATE + "[[network.expose]]\nport = 0\n",
        TEMPLATE + "[[network.expose]]\nport = 65536\n",
        TEMPLATE + "[env]\nA = 1\n",
        TEMPLATE + "[cloud_init.user_data]\ncontent = 'x'\npath = 'y'\n",
        TEMPLATE + "[cloud_init.user_data]\ncontent = 'x'\ninline = false\n",
        TEMPLATE + "[cloud_init.user_data]\npath = 'x'\ninline = true\n",
        TEMPLATE + "[devices]\npci_passthrough = ['x']\n",
        TEMPLATE + "[[disks]]\nname = 'x'\n",
        TEMPLATE + "[[disks]]\nname = 'x'\nsource = 'y'\nchecksum = 'md5:x'\n",
        TEMPLATE + "[rootfs]\nurl = 'x'\n",
    ],
)
def test_both_refuse_templates(text: str, agrees: Agrees) -> None:
    assert not agrees(OCI, text)


def test_completion_knows_every_key_and_what_it_means(catalog: Any) -> None:
    table = config.schema("fledge", catalog)["properties"]["filesystem"]["properties"]
    assert set(table) == {"type", "mappings", "compression_level", "overlay_size", "size_buffer_mb", "preallocate"}
    assert table["type"]["enum"] == ["cpio", "ext4", "squashfs"]


def test_every_key_of_core_is_described() -> None:
    schema = config.schema("manifest-template")
    for table in [schema, *schema["$defs"].values()]:
        for name, value in table["properties"].items():
            assert "description" in value or "$ref" in value, name


def test_docstrings_of_fields_are_found_through_bases() -> None:
    class Base(Options):
        a: int = 1
        """About a."""

    class Derived(Base):
        b: int = 1
        """About b,
        on two lines."""
        c: int = 1

    assert field_docs(Derived) == {"a": "About a.", "b": "About b,\non two lines."}
    assert field_docs(Template)["runtime"] == "The runtime's name. Default: `name`."
