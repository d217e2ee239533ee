"""What runs in the guest: manifest.toml, and where it is silent the image's config (spec section 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fledge.errors import UsageError
from fledge.image.config import ImageConfig

HOST: Final = "127.0.0.1"
"""Of a generated base_url: a minimal guest has no /etc/hosts, and elsewhere `localhost` may mean ::1."""

HEALTH_CHECK: Final[Mapping[str, Any]] = {"endpoint": "/", "timeout_ms": 10000}

_EXPOSED = re.compile(r"([0-9]{1,5})(?:/(tcp|udp))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The manifest's sections about what runs; None: left out."""

    workload: dict[str, Any]
    network: dict[str, Any] | None
    health_check: dict[str, Any] | None
    warnings: tuple[str, ...]
    """What the manifest can't hold or the guest can't do, for the log."""


def settle_runtime(template: Mapping[str, Any], image: ImageConfig | None, *, own_init: bool = False) -> Runtime:
    """`template`: manifest.toml as Template.written gives it. `own_init`: process 1 is the user's own.

    Raises UsageError when an http or grpc workload has nothing to start, or an http one no address.
    """
    warnings: list[str] = []
    given: Mapping[str, Any] = template.get("workload", {})
    kind = given.get("type", "exec")
    network = _network(template.get("network"), image, warnings)
    workload: dict[str, Any] = {"type": kind}
    argv = given.get("entrypoint") or (list(image.entrypoint + image.cmd) if image is not None else [])
    if argv:
        workload["entrypoint"] = argv
    elif own_init:
        pass  # It knows what to run.
    elif kind == "exec":
        warnings.append("the image has no Entrypoint and no Cmd, and manifest.toml no entrypoint: nothing will run")
    else:
        raise UsageError(
            f"manifest.toml: workload.entrypoint: missing; the image has no Entrypoint and no Cmd for type {kind!r}",
            hint="give the command to run as an array",
        )
    base_url = given.get("base_url") or (_base_url(network) if kind == "http" else None)
    if base_url is not None:
        workload["base_url"] = base_url
    env = _image_env(image, warnings) | given.get("env", {})
    if env:
        workload["env"] = dict(sorted(env.items()))
    if workdir := given.get("workdir") or (image.working_dir if image is not None else None):
        # Docker and runc start a relative one at the root.
        workload["workdir"] = workdir if workdir.startswith("/") else f"/{workdir}"
    if user := given.get("user") or (image.user if image is not None else None):
        workload["user"] = user
    health_check = template.get("health_check")
    if kind == "http" or health_check is not None:
        health_check = {**HEALTH_CHECK, **(health_check or {})}
    return Runtime(workload, network, health_check, tuple(warnings))


def _network(given: Mapping[str, Any] | None, image: ImageConfig | None, warnings: list[str]) -> dict[str, Any] | None:
    network: dict[str, Any] = {"mode": "bridged", **(given or {})}
    # Without Ethernet there is nothing to expose a port on.
    if "expose" not in network and network["mode"] != "vsock":
        network["expose"] = _image_ports(image, warnings)
    if "expose" in network:
        network["expose"] = [{"port": one["port"], "protocol": "tcp", **one} for one in network["expose"]]
        if not network["expose"]:
            del network["expose"]
    return network if given is not None or "expose" in network else None


def _image_ports(image: ImageConfig | None, warnings: list[str]) -> list[dict[str, Any]]:
    ports = []
    for exposed in image.exposed_ports if image is not None else ():
        match = _EXPOSED.fullmatch(exposed)
        if match is None or not 1 <= int(match[1]) <= 65535:
            warnings.append(
                f"the image exposes {exposed!r}, which a manifest can't hold; it takes PORT/tcp and PORT/udp"
            )
            continue
        ports.append({"port": int(match[1]), "protocol": (match[2] or "tcp").lower()})
    return ports


def _base_url(network: Mapping[str, Any] | None) -> str:
    for one in (network or {}).get("expose", ()):
        if one["protocol"] == "tcp":
            return f"http://{HOST}:{one['port']}"
    raise UsageError(
        "manifest.toml: workload.base_url: missing; type 'http' needs it, and no tcp port is exposed to make it from",
        hint="give workload.base_url or network.expose",
    )


def _image_env(image: ImageConfig | None, warnings: list[str]) -> dict[str, str]:
    env = {}
    for entry in image.env if image is not None else ():
        name, equals, value = entry.partition("=")
        if name and equals:
            env[name] = value
        else:
            warnings.append(f"the image's Env has {entry!r}, which is not NAME=value; it is left out")
    return env
