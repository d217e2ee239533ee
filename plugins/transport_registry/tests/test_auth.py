from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.testing.builds import Log
from fledge.testing.http import Answer, Asked, Server, serving
from fledge.testing.images import tar
from fledge_transport_registry import auth
from fledge_transport_registry.auth import Challenge, check_realm, parse_challenges
from fledge_transport_registry.credentials import Credentials, auth_files, find_credentials
from fledge_transport_registry.reference import RegistryReference

Fake = Any


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("basic REALM=x", [Challenge("basic", {"realm": "x"})]),
        (
            'Basic realm="a, b=c", Bearer realm = "d\\"e" , error=f',
            [Challenge("basic", {"realm": "a, b=c"}), Challenge("bearer", {"realm": 'd"e', "error": "f"})],
        ),
        ("Negotiate, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Bearer realm=""', [Challenge("bearer", {"realm": ""})]),
        ("", []),
        ("realm=x", []),
        ('Basic realm="unclosed', [Challenge("basic", {}), Challenge("realm", {}), Challenge("unclosed", {})]),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header) == expected


@pytest.mark.parametrize(
    ("realm", "registry", "refused"),
    [
        ("https://93.184.216.34/token", "https://registry.example", None),
        ("https://registry.example/token", "https://registry.example", None),
        ("https://10.0.0.5/token", "https://10.0.0.5", None),
        ("https://10.0.0.6/token", "https://10.0.0.5", None),
        ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000", None),
        ("http://localhost:5001/token", "http://127.0.0.1:5000", None),
        ("https://93.184.216.34/token", "http://127.0.0.1:5000", None),
        ("http://10.0.0.5/token", "http://10.0.0.5:5000", None),
        ("http://registry.example/token", "https://registry.example", "not encrypted"),
        ("http://93.184.216.34/token", "https://93.184.216.35", "not encrypted"),
        ("http://93.184.216.34/token", "http://127.0.0.1:5000", "not encrypted"),
        ("http://10.0.0.6/token", "http://10.0.0.5:5000", "not encrypted"),
        ("http://127.0.0.1/token", "https://93.184.216.35", "not encrypted"),
        ("http://127.0.0.1/token", "http://10.0.0.5", "not encrypted"),
        ("https://127.0.0.1/token", "https://93.184.216.35", "on a loopback address"),
        ("https://[::1]/token", "https://93.184.216.35", "on a loopback address"),
        ("https://[::ffff:127.0.0.1]/token", "https://93.184.216.35", "on a loopback address"),
        ("https://10.0.0.5/token", "https://93.184.216.35", "on a private address"),
        ("https://192.168.1.1/token", "https://127.0.0.1:5000", "on a private address"),
        ("https://[fd00::1]/token", "https://93.184.216.35", "on a private address"),
        ("https://100.64.0.1/token", "https://93.184.216.35", "on a private address"),
        ("https://169.254.169.254/latest", "https://93.184.216.35", "on a link-local address"),
        ("https://169.254.169.254/latest", "https://10.0.0.5", "on a link-local address"),
        ("http://169.254.169.254/latest", "http://127.0.0.1:5000", "not encrypted"),
        ("https://[fe80::1]/token", "https://93.184.216.35", "on a link-local address"),
        ("https://0.0.0.0/token", "https://93.184.216.35", "on a private address"),
        ("ftp://93.184.216.34/token", "https://registry.example", "not an http or https URL"),
        ("file:///etc/passwd", "https://registry.example", "not an http or https URL"),
        ("https://user@93.184.216.34/token", "https://registry.example", "not an http or https URL"),
        ("/token", "https://registry.example", "not an http or https URL"),
        ("", "https://registry.example", "not an http or https URL"),
        ("https://[::1/token", "https://registry.example", "not an http or https URL"),
        ("https://93.184.216.34:x/token", "https://registry.example", "not an http or https URL"),
    ],
)
def test_case_059_realms(realm: str, registry: str, refused: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # The one name in the table must not be asked for in a test.
    real = auth.socket.getaddrinfo
    monkeypatch.setattr(
        auth.socket,
        "getaddrinfo",
        lambda host, *more, **options: real("93.184.216.99" if host == "registry.example" else host, *more, **options),
    )
    if refused is None:
        check_realm(realm, registry)
    else:
        with pytest.raises(BuildError, match=refused) as caught:
            check_realm(realm, registry)
        assert caught.value.message.endswith("; refused")


class TokenServer:
    """Gives numbered tokens; the registry takes the newest only."""

    def __init__(self) -> None:
        self.server: Server
        self.given = 0
        self.wrong: Callable[[Asked], Answer | None] = lambda asked: None

    def answer(self, asked: Asked) -> Answer:
        if (wrong := self.wrong(asked)) is not None:
            return wrong
        self.given += 1
        return Answer(200, json.dumps({"token": f"t{self.given}"}).encode())

    def guard(self, registry: Fake) -> None:
        """The registry asks for a token from now on."""
        challenge = f'Bearer realm="{self.server.url}/token",service="s",scope="repository:app:pull"'

        def wrong(asked: Asked) -> Answer | None:
            if self.given and asked.headers.get("authorization") == f"Bearer t{self.given}":
                return None
            return Answer(401, headers={"WWW-Authenticate": challenge})

        registry.wrong = wrong

    def query(self, number: int = 0) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.server.asked[number].path).query)


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    tokens = TokenServer()
    with serving(tokens.answer) as tokens.server:
        yield tokens


@pytest.fixture
def image(registry: Fake) -> Fake:
    registry.top = registry.blobs.image(tar({"a": b"1"}), tar({"b": b"2"}))
    return registry


def config(folder: Path, **members: Any) -> None:
    path = folder / ".docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(members))


def basic(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_anonymous_token(image: Fake, tokens: TokenServer, fetch: Any) -> None:
    tokens.guard(image)
    fetch(f"{image.host}/app:1")
    assert tokens.given == 1
    assert tokens.query() == {"scope": ["repository:app:pull"], "service": ["s"]}
    assert "authorization" not in tokens.server.asked[0].headers


def test_a_token_for_credentials(image: Fake, tokens: TokenServer, fetch: Any, tmp_path: Path) -> None:
    tokens.guard(image)
    config(tmp_path, auths={image.host: {"auth": basic("user:pa:ss")}})
    fetch(f"{image.host}/app:1")
    assert tokens.query()["account"] == ["user"]
    assert tokens.server.asked[0].headers["authorization"] == f"Basic {basic('user:pa:ss')}"
    # The password goes to the token server only.
    assert basic("user:pa:ss") not in str([one.headers for one in image.server.asked])


def test_an_identity_token(image: Fake, tokens: TokenServer, fetch: Any, tmp_path: Path) -> None:
    tokens.guard(image)
    tokens.wrong = lambda asked: setattr(tokens, "given", 1) or Answer(200, b'{"access_token": "t1"}')  # type: ignore[func-returns-value]
    config(tmp_path, auths={image.host: {"auth": basic("x:"), "identitytoken": "secret"}})
    fetch(f"{image.host}/app:1")
    (asked,) = tokens.server.asked
    assert asked.method == "POST"
    form = {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}
    assert form.pop("client_id")
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "secret",
        "service": "s",
        "scope": "repository:app:pull",
    }


@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_case_060_a_token_that_expires_in_mid_pull(image: Fake, tokens: TokenServer, fetch: Any, what: str) -> None:
    image.top = image.blobs.image(tar({"a": b"1"}))  # One layer: nothing else must void the token meanwhile.
    tokens.guard(image)
    guarded = image.wrong
    seen: set[str] = set()

    def wrong(asked: Asked) -> Answer | None:
        if what in asked.path and "authorization" in asked.headers and asked.path not in seen:
            seen.add(asked.path)
            tokens.given += 1  # The one that was sent is void from now on.
        return guarded(asked)

    image.wrong = wrong
    assert len(fetch(f"{image.host}/app:1").layers) == 1
    assert len(tokens.server.asked) > 1


def test_case_060_a_token_that_is_never_taken(image: Fake, tokens: TokenServer, fetch: Any) -> None:
    challenge = f'Bearer realm="{tokens.server.url}/token"'
    image.wrong = lambda asked: Answer(401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(BuildError, match="answered 401: there is no such image, or it needs a login") as caught:
        fetch(f"{image.host}/app:1")
    assert caught.value.hint == f"docker login {image.host}"
    assert tokens.given <= 2


def test_case_059_a_realm_elsewhere_is_never_asked(image: Fake, fetch: Any) -> None:
    challenge = 'Bearer realm="http://169.254.169.254/latest/meta-data"'
    image.wrong = lambda asked: Answer(401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(BuildError, match="which is not encrypted; refused"):
        fetch(f"{image.host}/app:1")


def test_case_059_a_token_server_that_redirects_secrets(
    image: Fake, tokens: TokenServer, fetch: Any, tmp_path: Path
) -> None:
    tokens.guard(image)
    with serving(lambda asked: Answer(200, b'{"token": "x"}')) as elsewhere:
        tokens.wrong = lambda asked: Answer(307, headers={"Location": f"{elsewhere.url}/steal"})
        config(tmp_path, auths={image.host: {"auth": basic("x:"), "identitytoken": "secret"}})
        with pytest.raises(BuildError, match="redirects secrets"):
            fetch(f"{image.host}/app:1")
        config(tmp_path, auths={image.host: {"auth": basic("u:p")}})
        with pytest.raises(BuildError, match="answered 401"):
            fetch(f"{image.host}/app:1")
        assert all("authorization" not in one.headers and not one.body for one in elsewhere.asked)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"{}"), "token: missing or malformed"),
        (Answer(200, b'{"token": "a\\r\\nX: y"}'), "token: missing or malformed"),
        (Answer(200, b"hello"), "not valid JSON"),
        (Answer(200, b" " * (2 << 20), {"Content-Length": ""}), "longer than the 1 MiB"),
        (Answer(200, b"[" * 500_000), "nested too deeply"),
        (Answer(403), "answered 403 without credentials"),
        (Answer(503), r"answered 503 \(tried 5 times\)"),
        (Answer(200, b'{"token": "x"}', cut=5), "no answer from the token server"),
    ],
)
def test_case_067_token_servers_that_misbehave(
    image: Fake, tokens: TokenServer, fetch: Any, answer: Answer, message: str
) -> None:
    tokens.guard(image)
    tokens.wrong = lambda asked: answer
    with pytest.raises(BuildError, match=message) as caught:
        fetch(f"{image.host}/app:1")
    assert "\n" not in caught.value.message


def ask_basic(registry: Fake, pair: str) -> None:
    registry.wrong = lambda asked: (
        None
        if asked.headers.get("authorization") == f"Basic {basic(pair)}"
        else Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
    )


def test_basic(image: Fake, fetch: Any, tmp_path: Path) -> None:
    ask_basic(image, "u:p")
    with pytest.raises(BuildError, match="answered 401"):
        fetch(f"{image.host}/app:1")
    config(tmp_path, auths={image.host: {"auth": basic("u:wrong")}})
    with pytest.raises(BuildError, match="answered 401"):
        fetch(f"{image.host}/app:1")
    config(tmp_path, auths={image.host: {"auth": basic("u:p")}})
    fetch(f"{image.host}/app:1")


def test_a_helper(image: Fake, fetch: Any, tmp_path: Path) -> None:
    ask_basic(image, "u:p")
    secret = json.dumps({"Username": "u", "Secret": "p"})
    script = f"""read host; [ "$1 $host" = "get {image.host}" ] && echo '{secret}'"""
    helper(tmp_path, "mine", script)
    config(tmp_path, credHelpers={image.host: "mine"}, credsStore="other")
    fetch(f"{image.host}/app:1")


def test_helpers_that_do_not_help(
    image: Fake, fetch: Any, build: BuildContext, fledge_log: Log, tmp_path: Path
) -> None:
    ask_basic(image, "u:p")
    config(tmp_path, credsStore="mine")
    with pytest.raises(BuildError, match="answered 401"):
        fetch(f"{image.host}/app:1")
    assert "the program 'docker-credential-mine' is not installed" in fledge_log.texts("warning")[-1]
    helper(tmp_path, "mine", "echo no luck >&2; exit 3")
    with pytest.raises(BuildError, match="answered 401"):
        fetch(f"{image.host}/app:1")
    assert fledge_log.texts("warning")[-1].endswith("docker-credential-mine get failed with exit code 3: no luck")
    before = len(fledge_log.texts("warning"))
    helper(tmp_path, "mine", "echo credentials not found in native keychain; exit 1")
    with pytest.raises(BuildError, match="answered 401"):
        fetch(f"{image.host}/app:1")
    assert len(fledge_log.texts("warning")) == before


def find(build: BuildContext, name: str) -> Credentials | None:
    return find_credentials(RegistryReference.parse(name), build.environ, build.progress)


def entry(pair: str) -> dict[str, str]:
    return {"auth": basic(pair)}


@pytest.mark.parametrize(
    ("auths", "name", "user"),
    [
        ({"r.io": entry("host:p"), "r.io/a": entry("ns:p"), "r.io/a/b": entry("repo:p")}, "r.io/a/b", "repo"),
        ({"r.io": entry("host:p"), "r.io/a": entry("ns:p")}, "r.io/a/b", "ns"),
        ({"r.io": entry("host:p"), "r.io/a": entry("ns:p")}, "r.io/ab/c", "host"),
        ({"https://r.io": entry("url:p")}, "r.io/a", "url"),
        ({"r.io:443": entry("port:p")}, "r.io/a", None),
        ({"https://index.docker.io/v1/": entry("hub:p")}, "nginx", "hub"),
        ({"docker.io": entry("hub:p")}, "nginx", "hub"),
        ({"docker.io/library": entry("library:p"), "docker.io": entry("hub:p")}, "nginx", "library"),
        ({"r.io": {}}, "r.io/a", None),
        ({"r.io": {"username": "plain", "password": "p"}}, "r.io/a", "plain"),
        ({}, "r.io/a", None),
    ],
)
def test_keys(build: BuildContext, tmp_path: Path, auths: dict[str, Any], name: str, user: str | None) -> None:
    config(tmp_path, auths=auths)
    found = find(build, name)
    assert (found.username if found else None) == user


def test_order_of_the_files(tmp_path: Path) -> None:
    environ = {"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert [str(path) for path in auth_files(environ)] == [
        "/run/user/1000/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
    ]
    environ |= {"DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/c"}
    assert [str(path) for path in auth_files(environ)][1:] == ["/c/containers/auth.json", "/d/config.json"]
    assert [str(path) for path in auth_files({**environ, "REGISTRY_AUTH_FILE": "/a.json"})] == ["/a.json"]


def test_the_first_file_with_an_answer_counts(build: BuildContext, tmp_path: Path) -> None:
    config(tmp_path, auths={"r.io": entry("docker:p")})
    containers = tmp_path / ".config" / "containers" / "auth.json"
    containers.parent.mkdir(parents=True)
    containers.write_text(json.dumps({"auths": {"other.io": entry("other:p")}}))
    assert find(build, "r.io/a") == Credentials("docker", "p")
    containers.write_text(json.dumps({"auths": {"r.io": entry("containers:p")}}))
    assert find(build, "r.io/a") == Credentials("containers", "p")


def test_a_helper_that_has_an_identity_token(build: BuildContext, tmp_path: Path) -> None:
    helper(tmp_path, "mine", """echo '{"Username": "<token>", "Secret": "s"}'""")
    config(tmp_path, credsStore="mine")
    assert find(build, "r.io/a") == Credentials(identity_token="s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json is not valid JSON"),
        ('{"auths": {"r.io": {"auth": "!"}}}', "auth: not base64 of name:password"),
        ('{"auths": {"r.io": {"auth": "dQ=="}}}', "auth: not base64 of name:password"),
        ('{"auths": []}', "auths: an object is expected"),
    ],
)
def test_malformed_files(build: BuildContext, tmp_path: Path, text: str, message: str) -> None:
    config(tmp_path)
    (tmp_path / ".docker" / "config.json").write_text(text)
    with pytest.raises(BuildError, match=message):
        find(build, "r.io/a")
