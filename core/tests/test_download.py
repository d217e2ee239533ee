from __future__ import annotations

import base64
import hashlib
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fledge import retry
from fledge.context import BuildContext
from fledge.download import download, host_file, stored
from fledge.errors import BuildError
from fledge.http import MAX_REDIRECTS, get_bytes
from fledge.sources import FileSource
from fledge.testing.builds import Log, context
from fledge.testing.http import Answer, Asked, Server, serving
from fledge.testing.oracles import need_tool, run
from fledge.values import Digest

DATA = random.Random(1).randbytes(1_500_000)
DIGEST = Digest.of(DATA)
SHA512 = Digest("sha512", hashlib.sha512(DATA).hexdigest())


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


@pytest.fixture
def build(tmp_path: Path, fledge_log: Log) -> BuildContext:
    return context(tmp_path / "cache", fledge_log)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda asked: Answer(body=DATA)) as running:
        yield running


def fetch(build: BuildContext, url: str, checksum: Digest | None = DIGEST, **more: object) -> FileSource:
    return download(build, url, what="the agent", checksum=checksum, **more)  # type: ignore[arg-type]


def fails(build: BuildContext, url: str, checksum: Digest | None = DIGEST, **more: object) -> BuildError:
    with pytest.raises(BuildError) as caught:
        fetch(build, url, checksum, **more)
    assert "\n" not in caught.value.message
    assert kept(build) == []
    return caught.value


def kept(build: BuildContext) -> list[str]:
    """Every file in the store but its lock."""
    folder = build.store.folder
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("checksum", [DIGEST, SHA512, None])
def test_a_file_arrives_verified_and_is_kept_by_digest(build: BuildContext, server: Server, checksum: Digest) -> None:
    source = fetch(build, f"{server.url}/agent", checksum)
    assert source.content.read() == DATA
    assert source.digest == (checksum or DIGEST)
    assert source.origin == f"{server.url}/agent"
    assert build.store.blob_path(source.digest).read_bytes() == DATA
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_with_a_checksum_nobody_is_asked_twice(build: BuildContext, server: Server, fledge_log: Log) -> None:
    fetch(build, f"{server.url}/agent")
    again = fetch(build, "http://127.0.0.1:1/gone")
    assert again.content.read() == DATA
    assert len(server.asked) == 1
    assert fledge_log.texts("warning") == []


def test_a_damaged_copy_in_the_store_is_fetched_anew(build: BuildContext, server: Server) -> None:
    fetch(build, f"{server.url}/agent")
    build.store.blob_path(DIGEST).write_bytes(DATA[:-1] + b"?")
    assert stored(build, DIGEST, "x") is None
    assert fetch(build, f"{server.url}/agent").content.read() == DATA
    assert len(server.asked) == 2


def test_without_a_checksum_the_log_gives_the_one_to_pin(build: BuildContext, server: Server, fledge_log: Log) -> None:
    fetch(build, f"{server.url}/agent", None)
    assert fledge_log.texts("warning") == [
        f'the agent from {server.url}/agent is used unverified; pin it with checksum = "{DIGEST}"'
    ]


def test_without_a_checksum_the_server_is_asked_whether_the_copy_is_current(
    build: BuildContext, server: Server
) -> None:
    def behave(asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == '"one"':
            return Answer(304, headers={"ETag": '"one"'})
        return Answer(body=DATA, headers={"ETag": '"one"'})

    server.behaviour = behave
    for _ in range(2):
        source = fetch(build, f"{server.url}/agent", None)
        assert (source.digest, source.content.read()) == (DIGEST, DATA)
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"one"']
    server.behaviour = lambda asked: Answer(body=b"new", headers={"ETag": '"two"'})
    assert fetch(build, f"{server.url}/agent", None).content.read() == b"new"
    assert fetch(build, f"{server.url}/other", None).content.read() == b"new"
    assert "if-none-match" not in server.asked[-1].headers


def test_304_out_of_the_blue_is_an_error(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(304)
    assert "304 without having asked for it" in fails(build, f"{server.url}/agent").message


@pytest.mark.parametrize("checksum", [Digest.of(b"other"), Digest("sha512", "0" * 128)])
def test_case_054_another_digest_is_an_error_and_nothing_is_kept(
    build: BuildContext, server: Server, checksum: Digest
) -> None:
    error = fails(build, f"{server.url}/agent", checksum)
    found = DIGEST if checksum.algorithm == "sha256" else SHA512
    assert error.message == f"the agent from {server.url}/agent has the digest {found}; {checksum} was expected"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_a_status_that_stays_is_told_at_once(build: BuildContext, server: Server, status: int) -> None:
    server.behaviour = lambda asked: Answer(status)
    message = fails(build, f"{server.url}/agent?x=1").message
    assert message.startswith(f"can't fetch the agent from {server.url}/agent?x=1: {status} ")
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_case_061_a_status_that_may_pass_is_tried_again(build: BuildContext, server: Server, status: int) -> None:
    server.behaviour = lambda asked: Answer(status) if len(server.asked) < 3 else Answer(body=DATA)
    assert fetch(build, f"{server.url}/agent").digest == DIGEST
    assert len(server.asked) == 3


def test_case_061_tries_are_bounded(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(503)
    message = fails(build, f"{server.url}/agent").message
    assert message == (
        f"can't fetch the agent from {server.url}/agent: 503 Service Unavailable (tried {retry.ATTEMPTS} times)"
    )
    assert len(server.asked) == retry.ATTEMPTS


def test_case_061_retry_after_is_honoured(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: (
        Answer(429, headers={"Retry-After": "1"}) if len(server.asked) == 1 else Answer(body=DATA)
    )
    begin = time.monotonic()
    fetch(build, f"{server.url}/agent")
    assert time.monotonic() - begin >= 1


def test_case_061_a_server_that_asks_for_an_hour_is_not_waited_for(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(429, headers={"Retry-After": "3600"})
    assert "the server asks to wait 3600 s" in fails(build, f"{server.url}/agent").message


def test_nobody_listens(build: BuildContext) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/agent"
        assert fails(build, url).message == (
            f"can't fetch the agent from {url}: Failed to establish a new connection: "
            f"[Errno 111] Connection refused (tried {retry.ATTEMPTS} times)"
        )


def test_case_051_a_short_body_is_never_accepted(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(body=DATA, cut=1000)
    assert "IncompleteRead" in fails(build, f"{server.url}/agent", None).message
    assert len(server.asked) == retry.ATTEMPTS


def ranged(asked: Asked, **more: object) -> Answer:
    """The data with an ETag, from where the request wants it."""
    first = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    headers = {"ETag": '"one"'}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(DATA) - 1}/{len(DATA)}"
    return Answer(206 if first else 200, DATA[first:], headers, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("checksum", [DIGEST, None])
def test_case_067_a_broken_transfer_goes_on_where_it_stopped(
    build: BuildContext, server: Server, checksum: Digest | None
) -> None:
    server.behaviour = lambda asked: ranged(asked, cut=600_000 if len(server.asked) < 3 else None)
    assert fetch(build, f"{server.url}/agent", checksum).content.read() == DATA
    asked = [(one.headers.get("range"), one.headers.get("if-range")) for one in server.asked]
    assert asked[0] == (None, None)
    assert [pair[1] for pair in asked[1:]] == ['"one"', '"one"']
    starts = [int(str(pair[0])[6:-1]) for pair in asked[1:]]
    assert 0 < starts[0] < starts[1] < len(DATA)


def test_case_053_a_file_that_changed_meanwhile_is_taken_from_its_start(build: BuildContext, server: Server) -> None:
    old = bytes(len(DATA))

    def behave(asked: Asked) -> Answer:
        if len(server.asked) == 1:
            return Answer(body=old, headers={"ETag": '"old"'}, cut=700_000)
        return Answer(body=DATA, headers={"ETag": '"new"'})

    server.behaviour = behave
    assert fetch(build, f"{server.url}/agent", None).content.read() == DATA
    assert server.asked[1].headers["if-range"] == '"old"'


def test_a_weak_etag_is_not_good_enough_to_resume(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(
        body=DATA, headers={"ETag": 'W/"one"'}, cut=700_000 if len(server.asked) == 1 else None
    )
    assert fetch(build, f"{server.url}/agent").content.read() == DATA
    assert "range" not in server.asked[1].headers


def test_case_052_another_range_than_was_asked_for_is_an_error(build: BuildContext, server: Server) -> None:
    def behave(asked: Asked) -> Answer:
        if len(server.asked) == 1:
            return ranged(asked, cut=700_000)
        return Answer(206, DATA[5:], {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"})

    server.behaviour = behave
    assert "with 'bytes 5-1499999/1500000'" in fails(build, f"{server.url}/agent").message


def test_a_file_over_the_limit_is_an_error(build: BuildContext, server: Server) -> None:
    message = fails(build, f"{server.url}/agent", limit=len(DATA) - 1).message
    assert message == f"the agent from {server.url}/agent has more than the 1499999 bytes that are allowed"
    assert fetch(build, f"{server.url}/agent", limit=len(DATA)).digest == DIGEST


def test_a_file_that_does_not_say_how_long_it_is_is_bounded_too(build: BuildContext, server: Server) -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (100_000, bytes(100_000)) for _ in range(20)) + b"0\r\n\r\n"
    server.behaviour = lambda asked: Answer(body=chunked, headers={"Transfer-Encoding": "chunked"})
    assert "more than the 1000000 bytes" in fails(build, f"{server.url}/agent", None, limit=1_000_000).message
    assert fetch(build, f"{server.url}/agent", None).content.read() == bytes(2_000_000)


def test_a_content_coding_that_was_not_asked_for_is_an_error(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(body=DATA, headers={"Content-Encoding": "gzip"})
    assert "with the content coding gzip" in fails(build, f"{server.url}/agent", None).message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_case_058_authorization_does_not_cross_to_another_host(
    build: BuildContext, server: Server, status: int
) -> None:
    with serving(lambda asked: Answer(body=DATA)) as other:
        server.behaviour = lambda asked: (
            Answer(status, headers={"Location": "/moved"})
            if asked.path == "/agent"
            else Answer(status, headers={"Location": f"{other.url}/blob?secret=1"})
        )
        source = fetch(build, f"{server.url}/agent", headers={"Authorization": "Bearer hidden"})
    assert source.content.read() == DATA
    assert [one.headers.get("authorization") for one in server.asked] == ["Bearer hidden", "Bearer hidden"]
    assert [(one.path, one.headers.get("authorization")) for one in other.asked] == [("/blob?secret=1", None)]


def test_case_058_nor_does_it_come_back(build: BuildContext, server: Server) -> None:
    with serving(lambda asked: Answer(302, headers={"Location": f"{server.url}/back"})) as other:
        server.behaviour = lambda asked: (
            Answer(302, headers={"Location": other.url}) if asked.path == "/agent" else Answer(body=DATA)
        )
        fetch(build, f"{server.url}/agent", headers={"Authorization": "Bearer hidden"})
    assert "authorization" not in server.asked[1].headers


def test_a_login_of_netrc_is_not_used(
    build: BuildContext, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(build, f"{server.url}/agent", headers={"Authorization": "Bearer ours"})
    server.behaviour = lambda asked: Answer(body=b"")
    fetch(build, f"{server.url}/other", Digest.of(b""))
    assert [one.headers.get("authorization") for one in server.asked] == ["Bearer ours", None]


def test_a_login_in_the_url_is_sent_and_never_shown(build: BuildContext, server: Server, fledge_log: Log) -> None:
    url = server.url.replace("//", "//some%20body:se%40cret@") + "/agent"
    source = fetch(build, url, None)
    basic = base64.b64encode(b"some body:se@cret").decode()
    assert server.asked[0].headers["authorization"] == f"Basic {basic}"
    server.behaviour = lambda asked: Answer(404)
    with pytest.raises(BuildError) as caught:
        fetch(build, url, None)
    for text in (source.origin, caught.value.message, *fledge_log.texts("warning")):
        assert "cret" not in text
        assert f"{server.url}/agent" in text


def test_the_body_of_a_redirect_is_not_read(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: (
        Answer(302, b"x", {"Location": "/blob", "Content-Length": str(1 << 40)}, cut=1)
        if asked.path == "/agent"
        else Answer(body=DATA)
    )
    assert fetch(build, f"{server.url}/agent").digest == DIGEST
    assert server.paths() == ["/agent", "/blob"]


def test_redirects_are_bounded(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer(302, headers={"Location": "/agent"})
    assert "redirects more than 10 times" in fails(build, f"{server.url}/agent").message
    assert len(server.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher://host/x"])
def test_redirects_stay_on_http(build: BuildContext, server: Server, target: str) -> None:
    server.behaviour = lambda asked: Answer(302, headers={"Location": target})
    assert "which is refused" in fails(build, f"{server.url}/agent").message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1, and its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ("-subj", "/CN=fledge test", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run(need_tool("openssl"), "req", "-x509", "-days", "2", *key, *subject, "-keyout", path, "-out", f"{path}.crt")
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_a_certificate_is_verified(build: BuildContext, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Answer(body=DATA), certificate) as server:
        error = fails(build, f"{server.url}/agent")
        assert "CERTIFICATE_VERIFY_FAILED" in error.message
        assert "REQUESTS_CA_BUNDLE" in str(error.hint)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert fetch(build, f"{server.url}/agent").digest == DIGEST


def test_case_059_a_redirect_from_https_to_http_is_refused(
    build: BuildContext, server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(lambda asked: Answer(302, headers={"Location": f"{server.url}/agent"}), certificate) as secure:
        message = fails(build, f"{secure.url}/agent").message
    assert message == f"{secure.url}/agent redirects to http://127.0.0.1, which is refused"
    assert server.asked == []


@pytest.mark.parametrize("target", ["http://[bad/", "http://host:99999/"])
def test_redirects_to_nonsense(build: BuildContext, server: Server, target: str) -> None:
    server.behaviour = lambda asked: Answer(302, headers={"Location": target})
    assert "redirects to something that is no URL" in fails(build, f"{server.url}/agent").message


@pytest.mark.parametrize("url", ["{}", "file://{}", "file://localhost{}"])
def test_files_of_this_machine(build: BuildContext, tmp_path: Path, url: str) -> None:
    path = tmp_path / "a file"
    path.write_bytes(DATA)
    place = str(path).replace(" ", "%20") if "file:" in url else str(path)
    source = fetch(build, url.format(place))
    assert (source.content.read(), source.digest) == (DATA, DIGEST)
    assert fetch(build, "a file", base_dir=tmp_path).digest == DIGEST
    assert "has the digest" in fails(build, url.format(place), Digest.of(b"other")).message
    assert "at most 5 are allowed" in fails(build, url.format(place), limit=5).message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "can't fetch the agent from ftp://host/x: http, https, file and plain paths are allowed"),
        ("file://host/x", "can't fetch the agent from file://host/x: a file:// URL has no host; write file:///path"),
        ("http://[bad", "can't fetch the agent from 'http://[bad': Invalid IPv6 URL"),
        ("http://h:99999/", "can't fetch the agent from 'http://h:99999/': Port out of range 0-65535"),
        ("http://", "can't fetch the agent from http://: Invalid URL 'http://': No host supplied"),
        ("/nonexistent/x", "can't read the agent /nonexistent/x: No such file or directory"),
        ("/", "the agent / is not a regular file"),
        ("/dev/null", "the agent /dev/null is not a regular file"),
    ],
)
def test_what_is_no_source(build: BuildContext, url: str, message: str) -> None:
    assert fails(build, url).message == message


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BuildError, match="is not a regular file"):
        host_file(tmp_path / "fifo", what="the agent")


def test_a_host_file_follows_symlinks(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(DATA)
    (tmp_path / "link").symlink_to("real")
    assert host_file(tmp_path / "link", what="the agent").content.read() == DATA


def test_an_empty_file(build: BuildContext, server: Server) -> None:
    server.behaviour = lambda asked: Answer()
    assert fetch(build, f"{server.url}/agent", Digest.of(b"")).content.read() == b""


def test_case_067_documents_are_bounded(server: Server) -> None:
    assert get_bytes(f"{server.url}/x", len(DATA), what="the list", headers={}) == DATA
    with pytest.raises(BuildError, match=r"the list from .* has more than 1499999 bytes"):
        get_bytes(f"{server.url}/x", len(DATA) - 1, what="the list", headers={})
