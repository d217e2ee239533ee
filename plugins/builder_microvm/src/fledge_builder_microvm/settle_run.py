"""One RUN, settled: its command line, its environment and its mounts (reference, "RUN --mount")."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from fledge.bootable import DEFAULT_PATH
from fledge.download import host_file
from fledge.errors import BuildError
from fledge.sources import DockerfileRequest
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.values import ByteSize

from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.arguments import Scope
from fledge_builder_microvm.copying import guest_path, text_of
from fledge_builder_microvm.fingerprints import fingerprint
from fledge_builder_microvm.image_config import ConfigDraft
from fledge_builder_microvm.lines import with_heredocs
from fledge_builder_microvm.origins import Origin
from fledge_builder_microvm.owners import owner_number
from fledge_builder_microvm.steps import BindMount, CacheMount, Mount, RunStep, SecretMount, TmpfsMount
from fledge_builder_microvm.words import Words

_SCRIPTS: Final = "/dev/pipes"
"""Where BuildKit shows a RUN its heredocs that are scripts."""
_SECRET_LIMIT: Final = 500 << 10
"""Bytes, as in BuildKit."""
_ALIASES: Final = {
    "dst": "target", "destination": "target", "src": "source", "ro": "readonly", "rw": "readwrite",
}  # fmt: skip
_KEYS: Final = {
    "bind": {"target", "source", "from", "readwrite", "readonly"},
    "cache": {"target", "id", "from", "source", "readonly", "readwrite", "sharing", "mode", "uid", "gid"},
    "tmpfs": {"target", "size", "readwrite"},
    "secret": {"target", "id", "source", "required", "mode", "uid", "gid", "env"},
}
_MODE: Final = re.compile("0*[0-7]{1,4}")
_BOOLEANS: Final = ("readonly", "readwrite", "required")
_SHARING: Final = ("shared", "private", "locked")


class RunSettler:
    """Settles the RUNs of one stage."""

    def __init__(self, request: DockerfileRequest, words: Words, find_origin: Callable[[str | None], Origin]) -> None:
        self._request = request
        self._words = words
        self._find_origin = find_origin

    def settle(self, run: ins.Run, config: ConfigDraft, scope: Scope, epoch: int) -> tuple[RunStep, Sequence[Any]]:
        """The step, and what it depends on beside the layers below: not on secrets, caches, proxies.

        Raises BuildError for a mount that can't be.
        """
        variables = scope.variables
        workdir = config.workdir
        argv, scripts = _command(run, self._words, config.shell)
        environ = {"PATH": DEFAULT_PATH, **variables}
        mounts: list[Mount] = list(scripts)
        keys: list[Any] = [["script", mount.target, fingerprint(mount.inode)] for mount in scripts]
        secrets: dict[str, str] = {}
        for written in run.mounts:
            mount = _Mount(written, self._words, variables, workdir)
            keys.append([mount.kind, *mount.values.items()])
            if mount.kind == "bind":
                inode, key = self._source(mount)
                mounts.append(BindMount(mount.target(), inode, mount.read_only(True)))
                keys.append(key)
            elif mount.kind == "cache":
                mounts.append(self._cache(mount))
            elif mount.kind == "tmpfs":
                if mount.read_only(False):
                    raise BuildError("--mount=type=tmpfs: it can't be read-only")
                mounts.append(TmpfsMount(mount.target(), mount.size()))
            else:
                mounts += self._secret(mount, secrets)
        step = RunStep(
            argv,
            {**scope.proxies, **environ, **secrets},
            workdir,
            config.run.get("User") or "",
            tuple(sorted(mounts, key=lambda mount: mount.target.split("/"))),
            run.network == "default",
        )
        return step, ("RUN", argv, sorted(environ.items()), workdir, step.user, keys, run.network, epoch)

    def _source(self, mount: _Mount) -> tuple[Directory | File, Sequence[Any]]:
        """What a bind or cache mount shows, and what identifies it."""
        source = guest_path(mount.values.get("source", "/"))
        origin = self._find_origin(mount.values.get("from"))
        tree = origin.tree()
        inode = tree.get(tree.resolve(source))
        if not isinstance(inode, Directory | File):
            raise BuildError(f"--mount: {source} is not a file or directory of {origin.where}")
        return inode, [fingerprint(inode)] if origin.diff_ids is None else [origin.diff_ids, origin.epoch]

    def _cache(self, mount: _Mount) -> CacheMount:
        seed = self._source(mount)[0] if "from" in mount.values else None
        if seed is not None and not isinstance(seed, Directory):
            raise BuildError("--mount=type=cache: source is not a directory")
        sharing = mount.values.get("sharing", "shared").lower()
        if sharing not in _SHARING:
            raise BuildError(f"--mount: sharing={sharing}; {', '.join(_SHARING)} are allowed")
        target = mount.target()
        return CacheMount(
            target,
            mount.values.get("id") or target,
            seed,
            mount.mode(),
            mount.owner("uid"),
            mount.owner("gid"),
            mount.read_only(False),
            cast(Literal["shared", "private", "locked"], sharing),
        )

    def _secret(self, mount: _Mount, environ: dict[str, str]) -> list[Mount]:
        """The file that shows the secret; one that is wanted in the environment goes into `environ`."""
        target = mount.values.get("target")
        id_ = mount.values.get("id") or mount.values.get("source") or (target and posixpath.basename(target))
        if not id_:
            raise BuildError("--mount=type=secret: neither id nor target is given")
        path = self._request.secrets.get(id_)
        if path is None:
            if mount.flag("required"):
                raise BuildError(f"--mount: the secret {id_!r} is required and not given")
            return []
        data = host_file(path, what=f"the secret {id_!r}", limit=_SECRET_LIMIT).content.read()
        if "env" in mount.values:
            environ[mount.values["env"]] = data.decode("utf-8", "surrogateescape")
            if target is None:
                return []
        place = mount.target() if target is not None else f"/run/secrets/{id_}"
        mode = mount.mode()
        return [
            SecretMount(place, data, 0o400 if mode is None else mode, mount.owner("uid") or 0, mount.owner("gid") or 0)
        ]


class _Mount:
    """The keys of one --mount, checked."""

    def __init__(self, written: Mapping[str, str], words: Words, variables: Mapping[str, str], workdir: str) -> None:
        values = {_ALIASES.get(key, key): value for key, value in written.items()}
        self.kind = values.pop("type", "bind").lower()
        self._workdir = workdir
        if self.kind not in _KEYS:
            raise BuildError(f"--mount=type={self.kind} is not supported; {', '.join(_KEYS)} are")
        for key in values:
            if key not in _KEYS[self.kind]:
                allowed = ", ".join(sorted(_KEYS[self.kind]))
                raise BuildError(f"--mount=type={self.kind}: unknown key {key!r}; allowed: {allowed}")
        self.values = {key: value if key == "from" else words.expand(value, variables) for key, value in values.items()}
        for key in _BOOLEANS:
            if self.values.get(key, "true") not in ("true", "false", "1", "0"):
                raise BuildError(f"--mount: {key}={self.values[key]}; true and false are allowed")

    def flag(self, key: str) -> bool:
        return self.values.get(key, "false") in ("true", "1")

    def read_only(self, default: bool) -> bool:
        """What the last of readonly and readwrite says."""
        for key in self.values:
            if key in ("readonly", "readwrite"):
                default = self.flag(key) == (key == "readonly")
        return default

    def target(self) -> str:
        target = self.values.get("target")
        if not target:
            raise BuildError(f"--mount=type={self.kind}: target is missing")
        path = guest_path(posixpath.join(self._workdir, target))
        if not path.parts:
            raise BuildError(f"--mount=type={self.kind}: the target can't be /")
        return text_of(path)

    def mode(self) -> int | None:
        text = self.values.get("mode")
        if text is not None and not _MODE.fullmatch(text):
            raise BuildError(f"--mount: mode={text} is not a mode; octal digits from 0 to 7777 are allowed")
        return None if text is None else int(text, 8)

    def owner(self, key: str) -> int | None:
        text = self.values.get(key)
        number = None if text is None else owner_number(text)
        if text is not None and number is None:
            raise BuildError(f"--mount: {key}={text} is not a number")
        return number

    def size(self) -> int | None:
        text = self.values.get("size")
        if text is None:
            return None
        try:
            return ByteSize.parse(text)
        except ValueError as error:
            raise BuildError(f"--mount: {error}") from None


def _command(run: ins.Run, words: Words, shell: tuple[str, ...]) -> tuple[tuple[str, ...], list[BindMount]]:
    """What is executed, and the scripts among the heredocs.

    A RUN that is nothing but one heredoc is that document: given to the shell, or executed where it begins with `#!`.
    In all others the shell reads the documents.
    """
    command = run.command
    if command.shell is None:
        return command.argv, []
    if len(run.heredocs) == 1 and len(words.split_raw(command.shell)) == 1:
        document = run.heredocs[0]
        if not document.content.startswith("#!"):
            return (*shell, document.content), []
        path = f"{_SCRIPTS}/{document.name}"
        script = File(Content.of(document.content.encode("utf-8", "surrogateescape")), 0o755)
        return (path,), [BindMount(path, script)]
    return (*shell, with_heredocs(command.shell, run.heredocs)), []
