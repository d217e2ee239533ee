"""Answers to a registry's 401: Basic, or a bearer token from the realm that it names (distribution-spec, "token").

The realm is named by a stranger, and gets the user's credentials: see `check_realm`.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from fledge.errors import BuildError
from fledge.image.fields import load_object
from fledge.retry import connection_errors, connection_reason

from fledge_transport_registry.http import Http, read_all, shown
from fledge_transport_registry.reference import RegistryReference

if TYPE_CHECKING:
    from fledge_transport_registry.credentials import Credentials

TOKEN_LIMIT: Final = 1 << 20
"""Bytes of a token server's answer."""

_ITEM: Final = re.compile(
    r"""[\s,]*([\w!#$%&'*+.^`|~-]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?""", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a 401 offers; scheme and names of parameters in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header (RFC 9110 section 11.6.1); what can't be understood is left out."""
    found: list[Challenge] = []
    for match in _ITEM.finditer(header):
        name = match[1].lower()
        if match[2] is None and match[3] is None:
            found.append(Challenge(name, {}))
        elif found:
            found[-1].parameters[name] = match[3] or re.sub(r"\\(.)", r"\1", match[2] or "")
    return found


class Authenticator:
    """The Authorization header for one repository. Safe to use from several threads."""

    def __init__(
        self,
        reference: RegistryReference,
        origin: str,
        http: Http,
        find_credentials: Callable[[], Credentials | None],
    ) -> None:
        """`find_credentials`: called at most once, when the registry asks for any: a helper may ask the user."""
        self._reference = reference
        self._origin = origin
        self._http = http
        self._find_credentials = find_credentials
        self._credentials: Credentials | None = None
        self._searched = False
        self._lock = threading.Lock()
        self._header: str | None = None

    @property
    def header(self) -> str | None:
        """What to send now; None before the registry has asked."""
        return self._header

    def renew(self, challenges: str, stale: str | None) -> bool:
        """Finds an answer to a 401 that came although `stale` was sent; whether there is a new one to send.

        Raises BuildError when the token server can't be used.
        """
        with self._lock:
            if self._header != stale:  # Another thread was faster.
                return True
            offers = {challenge.scheme: challenge.parameters for challenge in parse_challenges(challenges)}
            header = None
            if "bearer" in offers:
                header = f"Bearer {self._token(offers['bearer'])}"
            elif "basic" in offers and (credentials := self._find()) is not None:
                header = _basic(credentials)
            changed = header is not None and header != stale
            self._header = header
            return changed

    def _find(self) -> Credentials | None:
        if not self._searched:
            self._credentials = self._find_credentials()
            self._searched = True
        return self._credentials

    def _token(self, parameters: dict[str, str]) -> str:
        realm = parameters.get("realm", "")
        check_realm(realm, self._origin)
        credentials = self._find()
        if credentials is not None and credentials.registry_token:
            return credentials.registry_token
        query = {"scope": parameters.get("scope") or f"repository:{self._reference.repository}:pull"}
        if service := parameters.get("service"):
            query["service"] = service
        try:
            if credentials is not None and credentials.identity_token:
                # OAuth2, Docker's "POST token": the only way to use an identity token.
                form = {
                    **query,
                    "grant_type": "refresh_token",
                    "client_id": "fledge",
                    "refresh_token": credentials.identity_token,
                }
                response = self._http.send("POST", realm, {}, form)
            else:
                headers = {"Authorization": _basic(credentials)} if credentials is not None else {}
                if credentials is not None:
                    query["account"] = credentials.username
                url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
                response = self._http.send("GET", url, headers)
            with response:
                body = read_all(response, TOKEN_LIMIT)
        except connection_errors() as error:
            raise BuildError(f"no answer from the token server {shown(realm)}: {connection_reason(error)}") from error
        if response.status_code != 200:
            raise BuildError(
                f"{self._reference.host}: the token server {shown(realm)} answered {response.status_code} "
                + ("to these credentials" if credentials is not None else "without credentials"),
                hint=f"docker login {self._reference.host}",
            )
        fields = load_object(body, f"the answer of the token server {shown(realm)}", TOKEN_LIMIT)
        token = fields.text("token") or fields.text("access_token")
        if token is None or not (token.isascii() and token.isprintable()):
            fields.fail("token", "missing or malformed")
        return token


def check_realm(realm: str, registry: str) -> None:
    """Refuses a token server that a registry has no business to name.

    A registry could else have the user's credentials sent unencrypted, or have this machine ask servers that only it
    can reach, such as a cloud's metadata service. So http only where the registry is itself that host, or both are on
    this machine; and addresses that are not public only where the registry has one of the same kind.
    Raises BuildError.
    """
    home = urlsplit(registry)
    try:
        there = urlsplit(realm)
        host, _ = there.hostname, there.port
    except ValueError:
        there, host = home, None
    if there.scheme not in ("http", "https") or not host or "@" in there.netloc:
        raise BuildError(f"{registry} names the token server {realm!r}, which is not an http or https URL; refused")
    if there.scheme == home.scheme and host == home.hostname:
        return
    kinds = _kinds(host)
    home_kinds = _kinds(home.hostname or "")
    if there.scheme == "http" and not (home.scheme == "http" and kinds | home_kinds == {"loopback"}):
        raise BuildError(f"{registry} names the token server {shown(realm)}, which is not encrypted; refused")
    for kind in sorted(kinds - home_kinds - {"public"}):
        raise BuildError(
            f"{registry} names the token server {shown(realm)} on a {kind} address, but is not on one itself; refused"
        )


def _kinds(host: str) -> set[str]:
    """What the host's addresses are good for; empty when it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {_kind(str(address[0])) for *_, address in found}


def _kind(text: str) -> str:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global else "private"


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
