"""What drivers of every kind have in common: they are found, take strict options, and do nothing until they are asked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import pluggy
import pytest
from pydantic import BaseModel, ValidationError

from fledge import drivers, hookspecs
from fledge.config.docstrings import field_docs
from fledge.context import BuildContext
from fledge.errors import FledgeError
from fledge.kinds import Driver
from fledge.options import Options
from fledge.testing.builds import context

Check = TypeVar("Check", bound=Callable[..., object])


def only_if(applies: Callable[[Any], object]) -> Callable[[Check], Check]:
    """Marks a check that not every driver can be asked: where `applies` denies it of the test class, it is deselected."""

    def mark(check: Check) -> Check:
        check.fledge_applies = applies  # type: ignore[attr-defined]
        return check

    return mark


class DriverConformance:
    """The checks of every kind. `name` and `options` are a subclass's facts; `kind` and `hook` are the kind's."""

    name: ClassVar[str]
    """The entry point's: the word that users write."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Keys of fledge.toml to try the driver with, as JSON-like values: those that it needs, and what makes it quick."""

    kind: ClassVar[str]
    base: ClassVar[type[Driver]]
    hook: ClassVar[str | None] = None
    """Which hook a driver of this kind owns."""

    @property
    def driver(self) -> type[Any]:
        """The class behind the entry point."""
        return drivers.load(self.kind, self.name)

    def create(self, build: BuildContext, **more: Any) -> Any:
        """A driver as a build creates it; `more` goes over `options`."""
        return self.driver(self.name, self.parse({**self.options, **more}), build)

    def parse(self, options: Mapping[str, Any]) -> Options:
        """Options as they are checked when they stand in fledge.toml."""
        model: type[Options] = self.driver.options_model
        return model.model_validate_json(json.dumps(options), strict=True)

    def test_it_is_installed_and_of_its_kind(self) -> None:
        """The entry point loads, and its class leaves no method of the kind open."""
        assert issubclass(self.driver, self.base)
        assert not inspect.isabstract(self.driver), f"not implemented: {sorted(self.driver.__abstractmethods__)}"

    def test_it_fits_the_hooks(self, tmp_path: Path) -> None:
        """Methods that are marked as hooks are hooks, and the kind's own is among them (a lost @hookimpl is silent)."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.create(context(tmp_path / "cache")))
        manager.check_pending()
        if self.hook is not None:
            assert getattr(manager.hook, self.hook).get_hookimpls(), f"{self.hook} is not marked with @hookimpl"

    def test_creating_it_does_no_work(self, tmp_path: Path) -> None:
        """Core creates drivers that are never used."""
        build = context(tmp_path / "cache")
        before = sorted(tmp_path.rglob("*"))
        self.create(build)
        assert sorted(tmp_path.rglob("*")) == before

    def test_an_unknown_option_is_refused(self) -> None:
        """A key that is misspelt must never count as left out."""
        with pytest.raises(ValidationError) as caught:
            self.parse({**self.options, "no_such_option": True})
        assert ("extra_forbidden", ("no_such_option",)) in [(one["type"], one["loc"]) for one in caught.value.errors()]

    def test_every_option_is_documented(self) -> None:
        """The docstrings of the fields are the reference and the schema that editors show."""
        undocumented = [
            f"{model.__name__}.{field}"
            for model in _models(self.driver.options_model)
            for field in model.model_fields
            if field not in field_docs(model) and not _tables(model.model_fields[field].annotation)
        ]
        assert undocumented == []

    def test_the_options_have_a_schema(self) -> None:
        """`fledge schema` puts together what every installed driver gives."""
        assert self.driver.options_model.model_json_schema()["additionalProperties"] is False


def refusal(call: Callable[[], object], kind: type[FledgeError] = FledgeError) -> str:
    """The message of the error that a call ends in: one line, and of the kind that users can cause."""
    with pytest.raises(kind) as caught:
        call()
    message: str = caught.value.message
    assert message, "the error says nothing"
    assert "\n" not in message, f"more than one line: {message!r}"
    return message


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model, and those of the tables in it."""
    found = [model]
    for field in model.model_fields.values():
        for table in _tables(field.annotation):
            found += _models(table)
    return found


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a field may hold; their own docstrings describe them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for one in get_args(annotation) for table in _tables(one)]
