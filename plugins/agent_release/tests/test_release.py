from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fledge import retry
from fledge.errors import BuildError
from fledge.sources import AgentRequest, FileSource
from fledge.testing.builds import Log, context
from fledge.testing.http import Answer, Asked, Server, serving
from fledge.values import Digest, Platform
from fledge_agent_release.driver import ReleaseAgent
from fledge_agent_release.options import ReleaseOptions
from pydantic import ValidationError

AMD64 = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62) + b"amd64" * 9000
ARM64 = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 183) + b"arm64" * 9000
RELEASES = "/repos/volantvm/volant/releases"


class Hub:
    """GitHub's API on one server, and the storage that it redirects to on another."""

    def __init__(self, api: Server, storage: Server) -> None:
        self.api = api
        self.storage = storage
        self.files: dict[str, bytes] = {"kestrel": AMD64, "volantd": b"x", "bzImage": b"y"}
        self.digests: dict[str, str | None] = {}
        self.tag = "v0.6.5"
        self.override: Answer | None = None
        api.behaviour = self.answer
        storage.behaviour = lambda asked: Answer(body=self.files[asked.path.partition("?")[0].lstrip("/")])

    def answer(self, asked: Asked) -> Answer:
        if self.override is not None:
            return self.override
        if asked.path in (f"{RELEASES}/latest", f"{RELEASES}/tags/{self.tag}"):
            assert asked.headers["accept"] == "application/vnd.github+json"
            return Answer(body=json.dumps(self.description()).encode())
        if asked.path.startswith(f"{RELEASES}/assets/"):
            assert asked.headers["accept"] == "application/octet-stream"
            name = list(self.files)[int(asked.path.rpartition("/")[2])]
            return Answer(302, headers={"Location": f"{self.storage.url}/{name}?signature=secret"})
        return Answer(404, body=b'{"message": "Not Found"}')

    def description(self) -> dict[str, Any]:
        assets: list[dict[str, Any]] = []
        for number, name in enumerate(self.files):
            asset: dict[str, Any] = {"id": number, "name": name, "url": "https://api.github.com/elsewhere"}
            if name in self.digests:
                asset["digest"] = self.digests[name]
            assets.append(asset)
        return {"tag_name": self.tag, "assets": assets, "more": True}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(lambda asked: Answer(500)) as api, serving(lambda asked: Answer(500)) as storage:
        yield Hub(api, storage)


@pytest.fixture
def fetch(tmp_path: Path, hub: Hub, fledge_log: Log) -> Any:
    def fetch(architecture: str = "amd64", token: str | None = None, **options: Any) -> FileSource:
        environ = {"FLEDGE_GITHUB_API": hub.api.url + "/"} | ({"GITHUB_TOKEN": token} if token else {})
        parsed = ReleaseOptions.model_validate_json(json.dumps(options), strict=True)
        driver = ReleaseAgent("release", parsed, context(tmp_path / "cache", fledge_log, environ))
        request = AgentRequest("release", Platform("linux", architecture))
        source = driver.fetch_source(None, request)  # type: ignore[arg-type]
        assert isinstance(source, FileSource)
        return source

    return fetch


def test_the_latest_release_as_volant_publishes_it(fetch: Any, hub: Hub, fledge_log: Log) -> None:
    digest = Digest.of(AMD64)
    hub.files["checksums.txt"] = f"{Digest.of(b'x').hex}  volantd\n{digest.hex}  kestrel\n".encode()
    source = fetch()
    assert source.content.read() == AMD64
    assert source.digest == digest
    assert source.labels == {"repository": "volantvm/volant", "version": "v0.6.5", "asset": "kestrel"}
    assert source.origin == "volantvm/volant v0.6.5 kestrel"
    assert hub.api.paths() == [f"{RELEASES}/latest", f"{RELEASES}/assets/3", f"{RELEASES}/assets/0"]
    assert fledge_log.texts("warning") == []
    assert fledge_log.texts("info") == [
        f'agent: kestrel of volantvm/volant v0.6.5, {digest}; pin it with version = "v0.6.5", checksum = "{digest}"'
    ]


def test_a_tag(fetch: Any, hub: Hub) -> None:
    hub.tag = "nightly/2024 01"
    with pytest.raises(ValidationError, match="is no tag"):
        fetch(version=hub.tag)
    hub.tag = "v1.0.0-rc.1+x"
    hub.api.behaviour = lambda asked: hub.answer(Asked(asked.path.replace("%2B", "+"), asked.headers))
    assert fetch(version="v1.0.0-rc.1+x").content.read() == AMD64
    assert hub.api.paths()[0] == f"{RELEASES}/tags/v1.0.0-rc.1%2Bx"


def test_case_058_the_token_stays_with_the_api(fetch: Any, hub: Hub) -> None:
    fetch(token="hidden")
    assert {asked.headers.get("authorization") for asked in hub.api.asked} == {"Bearer hidden"}
    assert len(hub.storage.asked) == 1
    assert "authorization" not in hub.storage.asked[0].headers


def test_without_a_token_none_is_sent(fetch: Any, hub: Hub) -> None:
    fetch()
    assert all("authorization" not in asked.headers for asked in hub.api.asked)


def test_the_digest_that_github_computed_is_verified(fetch: Any, hub: Hub) -> None:
    hub.digests["kestrel"] = str(Digest.of(AMD64))
    assert fetch().digest == Digest.of(AMD64)
    fetch()
    assert len(hub.storage.asked) == 1, "the second build has it in the store"
    hub.digests["kestrel"] = str(Digest.of(b"other"))
    with pytest.raises(BuildError, match=r"has the digest .* was expected"):
        fetch()


def test_a_checksum_of_the_release_is_verified(fetch: Any, hub: Hub) -> None:
    hub.files["SHA256SUMS"] = f"# made by hand\n\n{Digest.of(b'other').hex} *./kestrel\n".encode()
    with pytest.raises(BuildError, match=f"the digest {Digest.of(AMD64)}; {Digest.of(b'other')} was expected"):
        fetch()


@pytest.mark.parametrize("line", ["{}\n", "{}  kestrel\n", "{}"])
def test_a_checksum_file_of_the_asset_alone(fetch: Any, hub: Hub, fledge_log: Log, line: str) -> None:
    hub.files["kestrel.sha256"] = line.format(Digest.of(AMD64).hex.upper()).encode()
    fetch()
    assert fledge_log.texts("warning") == []


def test_a_malformed_checksum_is_not_skipped(fetch: Any, hub: Hub) -> None:
    hub.files["checksums.txt"] = b"deadbeef  kestrel\n"
    with pytest.raises(BuildError, match=r"checksums.txt of release v0.6.5 has no sha256: 'deadbeef'"):
        fetch()
    hub.digests["kestrel"] = "sha256:deadbeef"
    with pytest.raises(BuildError, match="is not described as GitHub's API does"):
        fetch()


def test_without_any_digest_the_log_warns(fetch: Any, fledge_log: Log) -> None:
    fetch()
    assert fledge_log.texts("warning") == [
        f"agent: kestrel of volantvm/volant v0.6.5, {Digest.of(AMD64)}, unverified: the release has no digest; "
        f'pin it with checksum = "{Digest.of(AMD64)}"'
    ]


@pytest.mark.parametrize("version", ["v0.6.5", "latest"])
def test_what_is_pinned_and_in_the_store_needs_no_network(fetch: Any, hub: Hub, version: str) -> None:
    pinned = {"version": version, "checksum": str(Digest.of(AMD64))}
    fetch(**pinned)
    asked = len(hub.api.asked)
    assert asked
    assert fetch(**pinned).content.read() == AMD64
    assert len(hub.api.asked) == asked


def test_a_pin_that_does_not_fit(fetch: Any) -> None:
    with pytest.raises(BuildError, match=f"{Digest.of(b'other')} was expected"):
        fetch(checksum=Digest.of(b"other").hex)


@pytest.mark.parametrize(
    ("architecture", "names", "chosen"),
    [
        ("amd64", ["kestrel", "kestrel-linux-amd64", "kestrel-linux-arm64"], "kestrel-linux-amd64"),
        ("amd64", ["kestrel", "kestrel_Linux_x86_64"], "kestrel_Linux_x86_64"),
        ("amd64", ["kestrel-amd64", "kestrel"], "kestrel-amd64"),
        ("amd64", ["kestrel-linux-amd64.tar.gz", "kestrel"], "kestrel"),
        ("arm64", ["kestrel", "kestrel-linux-arm64"], "kestrel-linux-arm64"),
        ("arm64", ["kestrel-aarch64"], "kestrel-aarch64"),
        ("arm64", ["kestrel", "kestrel-linux-amd64"], None),
        ("amd64", ["kestrel-linux-arm64", "kestrel-darwin-amd64", "kestrel.exe"], None),
        ("riscv64", ["kestrel-linux-riscv64"], None),
        ("amd64", [], None),
    ],
)
def test_which_asset(fetch: Any, hub: Hub, architecture: str, names: list[str], chosen: str | None) -> None:
    hub.files = dict.fromkeys(names, ARM64 if architecture == "arm64" else AMD64)
    if chosen is not None:
        assert fetch(architecture).labels["asset"] == chosen
        return
    with pytest.raises(BuildError) as caught:
        fetch(architecture)
    if architecture == "riscv64":
        assert "is built for amd64, and the image for riscv64" in caught.value.message
        return
    there = ", ".join(sorted(names)) or "none"
    assert caught.value.message == (
        f"release v0.6.5 of volantvm/volant has no kestrel for linux/{architecture}; its assets: {there}"
    )


def test_a_binary_of_another_machine_is_refused(fetch: Any, hub: Hub) -> None:
    hub.files["kestrel"] = ARM64
    with pytest.raises(BuildError, match="is built for arm64, and the image for amd64"):
        fetch()


@pytest.mark.parametrize(
    ("status", "token", "hint"),
    [
        (403, None, "set GITHUB_TOKEN"),
        (403, "hidden", "the rate limit of GITHUB_TOKEN"),
        (429, None, "set GITHUB_TOKEN"),
        (401, "hidden", "GITHUB_TOKEN is not valid"),
    ],
)
def test_case_061_the_rate_limit(fetch: Any, hub: Hub, status: int, token: str | None, hint: str) -> None:
    hub.override = Answer(status, headers={"X-RateLimit-Remaining": "0"})
    with pytest.raises(BuildError) as caught:
        fetch(token=token)
    assert f"can't fetch the latest release of volantvm/volant from {hub.api.url}{RELEASES}/latest: {status}" in str(
        caught.value
    )
    assert hint in str(caught.value.hint)


def test_a_release_that_is_not_there(fetch: Any) -> None:
    with pytest.raises(BuildError, match=r"can't fetch release 0.6.5 of volantvm/volant from .*: 404") as caught:
        fetch(version="0.6.5")
    assert caught.value.hint == "tags often begin with v: is there a v0.6.5?"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"assets": 5}', b'{"tag_name": "x", "assets": [{}]}', b"[" * 100_000],
)
def test_case_067_an_api_that_answers_something_else(fetch: Any, hub: Hub, body: bytes) -> None:
    hub.override = Answer(body=body)
    with pytest.raises(BuildError, match="is not described as GitHub's API does"):
        fetch()


@pytest.mark.parametrize(
    "options",
    [
        {"version": ""},
        {"version": 5},
        {"repository": "volant"},
        {"repository": "a/b/c"},
        {"repository": "../x"},
        {"repository": "a/.."},
        {"checksum": "sha256:12"},
        {"url": "http://x"},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReleaseOptions.model_validate_json(json.dumps(options), strict=True)


def test_the_defaults() -> None:
    options = ReleaseOptions()
    assert (options.version, options.repository, options.checksum) == ("latest", "volantvm/volant", None)
