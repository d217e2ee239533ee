"""The image config that a stage builds up (image-spec config.md, with Docker's Healthcheck, Shell and OnBuild)."""

from __future__ import annotations

import copy
import json
import posixpath
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from fledge.bootable import DEFAULT_PATH
from fledge.image.config import ImageConfig
from fledge.image.fields import Fields, load_object
from fledge.values import Platform

DEFAULT_SHELL: Final = ("/bin/sh", "-c")
_LISTS: Final = ("Cmd", "Entrypoint", "Env", "OnBuild", "Shell")
_OBJECTS: Final = ("ExposedPorts", "Labels", "Volumes")
_SECOND: Final = 10**9


class ConfigDraft:
    """A config while the instructions of a stage change it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.run: dict[str, Any] = document.setdefault("config", {})
        """What Docker calls the container's config."""
        self._cmd_is_own = False

    @classmethod
    def empty(cls, platform: Platform) -> Self:
        """For `FROM scratch`."""
        document: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
        if platform.variant:
            document["variant"] = platform.variant
        draft = cls({**document, "config": {"WorkingDir": "/"}})
        draft.set_env("PATH", DEFAULT_PATH)
        return draft

    @classmethod
    def of(cls, base: ImageConfig) -> Self:
        """For a stage that is based on an image. Raises BuildError where what instructions add to is something else."""
        fields = load_object(base.raw, "the image's config")
        document = json.loads(base.raw)
        document["config"] = _checked(fields.object("config") or Fields({}, fields.where), document.get("config") or {})
        fields.objects("history")
        document["history"] = document.get("history") or []
        document.setdefault("architecture", base.platform.architecture)
        document.setdefault("os", base.platform.os)
        # What is about the container in which another build made its last step.
        for key in ("container", "container_config", "docker_version", "id", "parent"):
            document.pop(key, None)
        draft = cls(document)
        if "PATH" not in draft.environ():
            draft.set_env("PATH", DEFAULT_PATH)
        return draft

    def child(self) -> ConfigDraft:
        """For a stage that is based on this one."""
        return ConfigDraft(copy.deepcopy(self._document))

    def environ(self) -> dict[str, str]:
        """Env by name."""
        pairs = (entry.partition("=") for entry in self.run.get("Env") or ())
        return {name: value for name, _, value in pairs}

    def set_env(self, name: str, value: str) -> None:
        """In the place of what has this name, else last."""
        entries = list(self.run.get("Env") or ())
        entry = f"{name}={value}"
        for at, known in enumerate(entries):
            if known.partition("=")[0] == name:
                entries[at] = entry
                break
        else:
            entries.append(entry)
        self.run["Env"] = entries

    @property
    def workdir(self) -> str:
        """Absolute."""
        return self.run.get("WorkingDir") or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs the shell form."""
        return tuple(self.run.get("Shell") or DEFAULT_SHELL)

    def set_cmd(self, argv: Sequence[str]) -> None:
        """CMD."""
        self.run["Cmd"] = list(argv)
        self._cmd_is_own = True

    def set_entrypoint(self, argv: Sequence[str]) -> None:
        """ENTRYPOINT, which resets a Cmd that this stage did not set itself."""
        self.run["Entrypoint"] = list(argv)
        if not self._cmd_is_own:
            self.run.pop("Cmd", None)

    def add_members(self, key: str, names: Iterable[str]) -> None:
        """To a set, which a JSON object with empty objects in it stands for: ExposedPorts, Volumes."""
        self.run[key] = {**(self.run.get(key) or {}), **{name: {} for name in names}}

    def add_label(self, name: str, value: str) -> None:
        """LABEL."""
        self.run["Labels"] = {**(self.run.get("Labels") or {}), name: value}

    def take_triggers(self) -> list[str]:
        """The triggers of ONBUILD, which are run once."""
        return list(self.run.pop("OnBuild", None) or ())

    def add_trigger(self, trigger: str) -> None:
        """ONBUILD."""
        self.run["OnBuild"] = [*(self.run.get("OnBuild") or ()), trigger]

    def set_author(self, author: str) -> None:
        """MAINTAINER."""
        self._document["author"] = author

    def add_history(self, text: str, created: int | None, *, has_layer: bool) -> None:
        """What an instruction did. `created`: nanoseconds since 1970."""
        entry: dict[str, Any] = {"created_by": text}
        if created is not None:
            entry["created"] = moment(created)
        if not has_layer:
            entry["empty_layer"] = True
        self._document["history"] = [*(self._document.get("history") or ()), entry]

    def render(self, diff_ids: Iterable[str], created: int | None) -> bytes:
        """The document. `created`: nanoseconds since 1970; None: not said."""
        document = dict(self._document)
        document.pop("created", None)
        if created is not None:
            document["created"] = moment(created)
        document["config"] = {key: self.run[key] for key in sorted(self.run)}
        document["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
        text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "surrogateescape")


def _checked(fields: Fields, run: dict[str, Any]) -> dict[str, Any]:
    """`run`, whose `fields` these are, with lists where Docker takes a lone string, too, and an absolute WorkingDir."""
    for key in _OBJECTS:
        fields.object(key)
    workdir = fields.text("WorkingDir")
    lists = {key: list(fields.texts(key)) for key in _LISTS if key in fields}
    return {**run, **lists, **({} if workdir is None else {"WorkingDir": posixpath.join("/", workdir)})}


def moment(nanoseconds: int) -> str:
    """A time as RFC 3339 has it, in UTC."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"
