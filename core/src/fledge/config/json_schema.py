"""JSON Schemas (draft 2020-12) of the three files, for editors and for whoever writes the files with a program.

That of fledge.toml is put together from core's models and the options of every installed driver. Each table lists
the keys of all its drivers, since editors complete from `properties` and few understand `if`; an `if` for each
driver then says which of them go with it, and how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from fledge import drivers
from fledge.config.chosen import NO_AGENT, Catalog
from fledge.config.docstrings import class_doc, field_docs
from fledge.config.fledge_toml import AgentTable, FilesystemTable, FledgeToml
from fledge.errors import FledgeError
from fledge.options import NoOptions

if TYPE_CHECKING:
    from pydantic_core import core_schema

    from fledge.kinds import Driver, Strategy

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def schema(name: str, catalog: Catalog = drivers) -> Schema:
    """The schema of `fledge` (fledge.toml), `manifest-template` (manifest.toml) or `manifest` (manifest.json)."""
    if name == "fledge":
        return _fledge_schema(catalog)
    if name == "manifest-template":
        from fledge.config.template import Template

        return {"$schema": DIALECT, **Template.model_json_schema(schema_generator=TomlSchema), "title": "manifest.toml"}
    from fledge import manifest

    return manifest.schema()


class TomlSchema(GenerateJsonSchema):
    """Descriptions from docstrings, no null (TOML has none) and no titles that only repeat the key."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A model's, with its docstrings."""
        model = cast("type[BaseModel]", schema["cls"])
        result = super().model_schema(schema)
        result.pop("title", None)
        result["description"] = class_doc(model)
        for name, doc in field_docs(model).items():
            result["properties"][model.model_fields[name].alias or name]["description"] = doc
        return result

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """What it is when it is not null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without a default that TOML can't spell, or that says nothing."""
        result = super().default_schema(schema)
        if result.get("default", ...) in (None, {}, []):
            del result["default"]
        return result


def _fledge_schema(catalog: Catalog) -> Schema:
    strategies = cast("dict[str, type[Strategy]]", _drivers(catalog, "strategy"))
    filesystems = _drivers(catalog, "filesystem")
    agents = _drivers(catalog, "agent")
    models: list[type[BaseModel]] = [NoOptions, FledgeToml, FilesystemTable, AgentTable]
    models += [driver.options_model for kind in (strategies, filesystems, agents) for driver in kind.values()]
    places, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], schema_generator=TomlSchema
    )
    defs: dict[str, Schema] = definitions["$defs"]

    def whole(model: type[BaseModel]) -> Schema:
        return defs[places[model, "validation"]["$ref"].removeprefix("#/$defs/")]

    options = {name: whole(driver.options_model) for name, driver in filesystems.items()}
    filesystem = _choice(whole(FilesystemTable), "type", options)
    agent = _choice(
        whole(AgentTable),
        "source_strategy",
        {name: whole(driver.options_model) for name, driver in agents.items()} | {NO_AGENT: whole(NoOptions)},
    )
    agent["required"] = ["source_strategy"]
    core = whole(FledgeToml)
    core["properties"] |= {"filesystem": filesystem, "agent": agent}
    tables = {name: whole(driver.options_model) for name, driver in strategies.items()}
    top = _choice(core, "strategy", tables)
    for branch, driver in zip(top["allOf"], strategies.values(), strict=True):
        branch["then"]["properties"]["filesystem"] = _filesystem_of(driver, options)
    top["required"] = ["version", "strategy"]
    reached = _reached(top, defs)
    return {
        "$schema": DIALECT,
        "title": "fledge.toml",
        **top,
        "$defs": {name: defs[name] for name in sorted(reached)},
    }


def _drivers(catalog: Catalog, kind: str) -> dict[str, type[Driver]]:
    """Every driver of a kind that loads; `fledge plugins` tells of those that don't."""
    found = {}
    for name in catalog.names(kind):
        try:
            found[name] = catalog.load(kind, name)
        except FledgeError:
            continue
    return found


def _choice(table: Schema, key: str, options: Mapping[str, Schema]) -> Schema:
    """A table in which `key` names one of `options`, whose keys then stand beside it."""
    own = table["properties"]
    every: Schema = {}
    for one in options.values():
        for name, value in one.get("properties", {}).items():
            known = every.setdefault(name, value)
            if known != value:
                # What both say; the `if` of each has the rest.
                every[name] = {word: known[word] for word in ("type", "description") if _same(known, value, word)}
    return {
        "type": "object",
        "description": table["description"],
        "properties": {**own, key: {**own[key], "enum": list(options)}, **every},
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {key: {"const": name}}, "required": [key]},
                "then": _closed(one, own),
            }
            for name, one in options.items()
        ],
    }


def _closed(options: Schema, own: Iterable[str]) -> Schema:
    """A driver's options where they stand beside the keys of core."""
    properties = {**dict.fromkeys(own, True), **options.get("properties", {})}
    return {**options, "properties": properties, "additionalProperties": False}


def _same(one: Schema, other: Schema, word: str) -> bool:
    return word in one and one[word] == other.get(word)


def _filesystem_of(strategy: type[Strategy], options: Mapping[str, Schema]) -> Schema:
    """What a strategy says of `[filesystem]`: which ones go with it, and whose keys count without `type`."""
    allowed: Schema = {}
    if strategy.filesystems is not None:
        allowed["properties"] = {"type": {"enum": sorted(strategy.filesystems)}}
    default = options.get(strategy.default_filesystem)
    if default is not None:
        allowed |= {"if": {"not": {"required": ["type"]}}, "then": _closed(default, ("mappings",))}
    return allowed


def _reached(value: Any, defs: Mapping[str, Schema]) -> set[str]:
    """The definitions that a schema refers to, directly or through others."""
    found: set[str] = set()
    todo = [value]
    while todo:
        here = todo.pop()
        if isinstance(here, dict):
            name = str(here.get("$ref", "")).removeprefix("#/$defs/")
            if name in defs and name not in found:
                found.add(name)
                todo.append(defs[name])
            todo.extend(here.values())
        elif isinstance(here, list):
            todo.extend(here)
    return found
