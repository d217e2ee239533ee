"""Every sample of the documentation still works (seeds/README.md says where they differ from it)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fledge import manifest
from fledge.plan import BuildPlan

SEEDS = Path(__file__).parent / "seeds"

Load = Callable[..., BuildPlan]


def text(name: str) -> str | None:
    path = SEEDS / name
    return path.read_text() if path.exists() else None


BUILDS = sorted(path.name.removesuffix(".fledge.toml") for path in SEEDS.glob("*.fledge.toml"))
WHOLE = [name for name in BUILDS if not name.endswith("-customized")]
MANIFESTS = sorted(path.name for path in SEEDS.glob("*.manifest.json"))


def test_they_are_all_there() -> None:
    assert (len(BUILDS), len(list(SEEDS.glob("*.manifest.toml"))), len(MANIFESTS)) == (8, 4, 6)


@pytest.mark.parametrize("name", [name for name in WHOLE if "dockerfile" not in name or "initramfs" in name])
def test_builds_load(load: Load, name: str) -> None:
    fledge = text(f"{name}.fledge.toml")
    plan = load(fledge, text(f"{name}.manifest.toml"))
    assert plan.agent is not None
    assert plan.agent.name == "release"
    assert plan.mappings or "mappings" not in str(fledge)


def test_mappings_inside_filesystem(load: Load, tmp_path: Path) -> None:
    plan = load(text("rootfs-mappings.fledge.toml"))
    assert [(mapping.source, str(mapping.destination)) for mapping in plan.mappings] == [
        (tmp_path / "my.conf", "/etc/my.conf")
    ]


def test_the_customized_example_loads(load: Load) -> None:
    whole, edit = text("example-initramfs.fledge.toml"), text("example-initramfs-customized.fledge.toml")
    assert whole is not None
    assert edit is not None
    plan = load(whole[: whole.index("[mappings]")] + edit)
    assert [str(mapping.destination) for mapping in plan.mappings] == ["/etc/myapp/config.yaml", "/usr/bin/myapp"]


def manifest_of(name: str) -> Any:
    return json.loads((SEEDS / name).read_bytes())


@pytest.mark.parametrize("name", [name for name in MANIFESTS if "customized" not in name])
def test_manifests_match_the_schema(name: str) -> None:
    assert manifest.violations_of(manifest_of(name)) == []


def test_the_customized_manifest_matches_the_schema() -> None:
    whole = manifest_of("example-initramfs.manifest.json")
    edit = manifest_of("example-initramfs-customized.manifest.json")
    whole["workload"] |= edit.pop("workload")
    assert manifest.violations_of(whole | edit) == []
