"""docs/config.md, out of the models: `python -m fledge.config.docs > docs/config.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from fledge import drivers
from fledge.config.docstrings import class_doc
from fledge.config.fledge_toml import AgentTable, FilesystemTable, FledgeToml
from fledge.config.json_schema import TomlSchema
from fledge.config.keys import show
from fledge.config.template import Template

INTRODUCTION: Final = """\
# The configuration files

<!-- Generated from the models: python -m fledge.config.docs > docs/config.md -->

| file | says | read by |
|---|---|---|
| `fledge.toml` | how the artifact is built | `fledge build`, `fledge validate` |
| `manifest.toml` | how it runs by default; may be absent | the same; it becomes `manifest.json` |
| `manifest.json` | both, and where the artifact is | the orchestrator |

Both are TOML 1.0 in UTF-8. All problems of both come at once, and exit code 2:

```
fledge.toml: filesystem.compresion_level: unknown key 'compresion_level'; did you mean 'compression_level'?
fledge.toml: mappings."./my.conf": 'etc/my.conf' is not absolute; a path in the guest starts with /
manifest.toml: workload.type: 'htp' is not allowed; allowed: 'exec', 'http', 'grpc' (did you mean 'http'?)
```

Values are checked strictly: `"5"` is not an integer and `1` is not a boolean. `fledge schema fledge` and
`fledge schema manifest-template` print JSON Schemas for editors; with Taplo, begin a file with
`#:schema ./fledge.schema.json`.
"""

FLEDGE: Final = """
## fledge.toml

Relative host paths start at the folder of fledge.toml. Each strategy, filesystem and agent source is a plugin with
keys of its own; what follows are those of the standard plugins.
"""

MANIFEST: Final = """
## manifest.toml

What it leaves out comes from the image's config: Entrypoint and Cmd, Env, WorkingDir, User, ExposedPorts. Where it
gives `entrypoint`, the image's Entrypoint and Cmd both don't count. `[rootfs]` is an error where the strategy makes
an initramfs.
"""

JSON: Final = """
## manifest.json

`fledge schema manifest` prints its schema; nothing is written that does not match it. How its keys come about:

| key | is |
|---|---|
| `$schema` | the consumer's published schema |
| `schema_version` | `v1`, which is what Volant's reference asks for; the schema takes `1.0` too, as its older samples have it |
| `name` | manifest.toml's, else the last component of the image's path, else the name of fledge.toml's folder |
| `version` | manifest.toml's, else `0.1.0` |
| `runtime` | manifest.toml's, else `name` |
| `rootfs` or `initramfs` | `url` (an absolute `file://` URI, or `--artifact-url`), `checksum` of the final bytes, `format` |
| `resources` | manifest.toml's, else 2 cores and 2048 MiB |
| `workload` | `entrypoint` with `args` appended; `env` sorted, with the image's below `[env]` below `[workload.env]`; without manifest.toml its type is `exec` |
| `workload.base_url` | for http where it is not given: `http://127.0.0.1:PORT` with the first exposed tcp port. Not `localhost`, which needs /etc/hosts in the guest and may mean ::1 |
| `workload.user` | manifest.toml's, else the image's User; an addition to Volant's schema, which ignores it |
| `health_check` | for http always, with `/` and 10000 ms for what is not given |
| `network` | with the image's ExposedPorts where `expose` is not given and the mode is not vsock |

An exec workload that has nothing to run is a warning; for http and grpc it is an error. Further top-level keys are
sections of extensions.
"""


def main() -> None:
    """Prints the page."""
    sys.stdout.write(page())


def page() -> str:
    """The whole page, with the drivers that are installed."""
    return "".join([INTRODUCTION, FLEDGE, *_fledge(), MANIFEST, *_model(Template, ""), JSON])


def _fledge() -> Iterator[str]:
    yield from _table(_properties(FledgeToml), ("version", "strategy"))
    for name in drivers.names("strategy"):
        yield from _driver("strategy", name, "", f'`strategy = "{name}"`')
    yield f"\n### `[filesystem]`\n\n{class_doc(FilesystemTable)}\n"
    yield from _table(_properties(FilesystemTable), ())
    for name in drivers.names("filesystem"):
        yield from _driver("filesystem", name, "filesystem", f'`[filesystem]` with `type = "{name}"`')
    yield f"\n### `[agent]`\n\n{class_doc(AgentTable)}\n"
    yield from _table(_properties(AgentTable), ("source_strategy",))
    for name in drivers.names("agent"):
        yield from _driver("agent", name, "agent", f'`[agent]` with `source_strategy = "{name}"`')


def _driver(kind: str, name: str, at: str, heading: str) -> Iterator[str]:
    model = drivers.load(kind, name).options_model
    yield f"\n### {heading}\n"
    if model.model_fields:
        yield from _model(model, at)
    else:
        yield "\nNo further keys.\n"


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=TomlSchema)
    properties: dict[str, Any] = schema["properties"]
    return {name: value for name, value in properties.items() if "$ref" not in value}


def _model(model: type[BaseModel], at: str) -> Iterator[str]:
    schema = model.model_json_schema(schema_generator=TomlSchema)
    yield from _tables(schema, schema.get("$defs", {}), at)


def _tables(schema: Mapping[str, Any], defs: Mapping[str, Any], at: str) -> Iterator[str]:
    """The keys of a table, and below it the tables inside it, each under the header that TOML writes."""
    required = schema.get("required", ())
    plain = {name: value for name, value in schema["properties"].items() if _inner(value, defs) is None}
    if plain:
        yield from _table(plain, required)
    # One section for tables that are alike: user_data, meta_data and network_config of cloud_init.
    alike: dict[str, list[str]] = {}
    for name, value in schema["properties"].items():
        if (inner := _inner(value, defs)) is not None:
            alike.setdefault(json.dumps(inner), []).append(name)
    for names in alike.values():
        inner = _inner(schema["properties"][names[0]], defs)
        assert inner is not None
        headers = [_header(f"{at}.{name}" if at else name, schema["properties"][name]) for name in names]
        need = " Required." if names[0] in required else ""
        yield f"\n#### {', '.join(f'`{header}`' for header in headers)}\n\n{inner['description']}{need}\n"
        yield from _tables(inner, defs, headers[0].strip("[]"))


def _header(path: str, value: Mapping[str, Any]) -> str:
    if value.get("type") == "array":
        return f"[[{path}]]"
    return f"[{path}.NAME]" if "additionalProperties" in value else f"[{path}]"


def _inner(value: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table that a key is or holds."""
    for one in (value, value.get("items"), value.get("additionalProperties")):
        if isinstance(one, dict) and "$ref" in one:
            found: Mapping[str, Any] = defs[one["$ref"].removeprefix("#/$defs/")]
            return found
    return None


def _table(properties: Mapping[str, Any], required: Any) -> Iterator[str]:
    yield "\n| key | value | default | meaning |\n|---|---|---|---|\n"
    for name, value in properties.items():
        default = "required" if name in required else f"`{_toml(value['default'])}`" if "default" in value else ""
        meaning = " ".join(value.get("description", "").split())
        yield f"| `{name}` | {_kind(value)} | {default} | {meaning} |\n"


def _kind(value: Mapping[str, Any]) -> str:
    if "enum" in value or "const" in value:
        return ", ".join(f"`{_toml(one)}`" for one in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(one) for one in value["anyOf"]))
    kind = value.get("type")
    if kind == "integer" and {"minimum", "maximum"} & value.keys():
        low, high = value.get("minimum"), value.get("maximum")
        return f"integer, {low} to {high}" if high is not None and low is not None else f"integer, at least {low}"
    if kind == "array":
        return f"array of {_kind(value['items'])}s"
    if kind == "object":
        return "table of strings"
    return str(kind)


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else show(value)


if __name__ == "__main__":
    main()
