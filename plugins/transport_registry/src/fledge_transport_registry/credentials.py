"""The user's credentials, where docker, podman and skopeo keep them (containers-auth.json(5), Docker's config.json)."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fledge import tools
from fledge.errors import BuildError
from fledge.image.fields import Fields, load_object
from fledge.progress import Progress

from fledge_transport_registry.reference import DOCKER_HUB, RegistryReference

_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
"""How docker login files Docker Hub."""
_TOKEN_USER: Final = "<token>"  # noqa: S105
"""The user name with which a helper says that the secret is an identity token (docker-credential-helpers)."""
_NOT_FOUND: Final = b"credentials not found in native keychain"
_HELPER_TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and password, or one of the two tokens."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """To trade for bearer tokens."""
    registry_token: str = ""
    """A bearer token itself."""


def find_credentials(
    reference: RegistryReference, environ: Mapping[str, str], progress: Progress
) -> Credentials | None:
    """The most specific credentials for the repository, of the first file that has some; None without any.

    A credential helper that does not work is a warning: most images need no credentials, and the registry tells when
    this one does. Raises BuildError when a file can't be read or is malformed.
    """
    for path in auth_files(environ):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise BuildError(f"can't read the credentials in {path}: {error.strerror}") from error
        found = _in_file(load_object(data, str(path)), reference, environ, progress)
        if found is not None:
            progress.debug(f"credentials for {reference.host} from {path}")
            return found
    return None


def auth_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where to look, first to last; REGISTRY_AUTH_FILE stands for all the rest."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    runtime = environ.get("XDG_RUNTIME_DIR")
    yield Path(runtime or f"/run/containers/{os.getuid()}", *(["containers"] if runtime else []), "auth.json")
    home = Path(environ.get("HOME") or "~").expanduser()
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def _in_file(
    file: Fields, reference: RegistryReference, environ: Mapping[str, str], progress: Progress
) -> Credentials | None:
    hosts = (reference.host, *(_HUB_KEYS if reference.host == DOCKER_HUB else ()))
    helpers = file.object("credHelpers")
    for host in hosts:
        if helpers is not None and (helper := helpers.text(host)) is not None:
            return _from_helper(helper, host, environ, progress)
    if (auths := file.object("auths")) is not None:
        for key in (*_specific(reference), *hosts, *(f"{scheme}://{hosts[0]}" for scheme in ("https", "http"))):
            entry = auths.object(key)
            if entry is not None and (found := _entry(entry)) is not None:
                return found
    if (store := file.text("credsStore")) is not None:
        key = _HUB_KEYS[0] if reference.host == DOCKER_HUB else reference.host
        return _from_helper(store, key, environ, progress)
    return None


def _specific(reference: RegistryReference) -> Iterator[str]:
    """`host/a/b`, `host/a`: containers files credentials under namespaces too."""
    parts = reference.repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join((reference.host, *parts[:count]))


def _entry(entry: Fields) -> Credentials | None:
    username, password = entry.text("username"), entry.text("password")
    if (pair := entry.text("auth")) is not None:
        try:
            text = base64.b64decode(pair, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            entry.fail("auth", "not base64 of name:password")
        username, colon, password = text.partition(":")
        password = password.rstrip("\0")  # Docker takes off what old versions padded with.
        if not colon:
            entry.fail("auth", "not base64 of name:password")
    identity, token = entry.text("identitytoken"), entry.text("registrytoken")
    if not (username or identity or token):
        return None  # `docker login` with a credsStore leaves an empty entry behind.
    return Credentials(username or "", password or "", identity or "", token or "")


def _from_helper(name: str, key: str, environ: Mapping[str, str], progress: Progress) -> Credentials | None:
    program = f"docker-credential-{name}"
    try:
        answer = tools.run(
            [program, "get"], progress, stdin=key.encode(), environ=environ, package=program, timeout=_HELPER_TIMEOUT
        )
        fields = load_object(answer, f"the answer of {program}")
        username, secret = fields.text("Username"), fields.text("Secret")
    except BuildError as error:
        if not (isinstance(error, tools.ProgramError) and _NOT_FOUND in error.stdout):
            progress.warning(f"no credentials for {key}: {error.message}")
        return None
    if username is None or secret is None:
        return None
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret)
