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
    document = tomllib.loads(sample.read_text())
    plan = config.load(environ={})
    assert plan.filesystem.name == document["filesystem"]["type"]
    assert (
        plan.filesystem.options.model_dump().items()
        >= {key: value for key, value in document["filesystem"].items() if key not in ("type", "mappings")}.items()
    )
    assert Draft202012Validator(config.schema("fledge")).is_valid(document)


def test_all_of_the_installed_strategies_are_there() -> None:
    assert len(SAMPLES) >= 4
