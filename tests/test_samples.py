"""The documented samples with the drivers that are really installed."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from fledge import config, drivers
from jsonschema import Draft202012Validator

SEEDS = Path(__file__).parents[1] / "core" / "tests" / "config" / "seeds"

SAMPLES = [
    path
    for path in sorted(SEEDS.glob("*.fledge.toml"))
    if tomllib.loads(path.read_text()).get("strategy") in drivers.names("strategy")
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_loads_and_matches_the_schema(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(sample, "fledge.toml")
    template = sample.with_name(sample.name.replace(".fledge.", ".manifest."))
    if template.exists():
        shutil.copy(template, "manifest.toml")
    plan = config.load(environ={})
    document = tomllib.loads(sample.read_text())
    assert Draft202012Validator(config.schema("fledge")).is_valid(document)
    filesystem = document.get("filesystem", {})
    filesystem.pop("mappings", None)
    assert filesystem.pop("type", plan.filesystem.name) == plan.filesystem.name
    assert plan.filesystem.options.model_dump().items() >= filesystem.items()


def test_all_of_the_installed_strategies_are_there() -> None:
    assert len(SAMPLES) >= 4
