"""Against a registry that misbehaves on purpose."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fledge.http
import pytest
from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.image.documents import OCI_LAYER, OCI_MANIFEST
from fledge.retry import ATTEMPTS
from fledge.testing.http import Answer, Asked, serving
from fledge.testing.images import gzipped, tar
from fledge.values import Digest

# Bytes that don't compress, so that the blob is cut where the test says.
NOISE = random.Random(5).randbytes(3_000_000)
ONE = tar({"noise": NOISE})
BLOB = gzipped(ONE)
CUT = 1_500_000

Fake = Any


@pytest.fixture
def image(registry: Fake) -> Fake:
    """The registry, with an image of one layer of 3 MB."""
    registry.top = registry.blobs.image(ONE, compress=lambda data: BLOB)
    return registry


def layer_of(registry: Fake) -> str:
    document = json.loads(registry.blobs.by_digest[registry.top["digest"]])
    digest: str = document["layers"][0]["digest"]
    return digest


def for_layer(registry: Fake, answer: Callable[[Asked], Answer | None]) -> None:
    """`answer` speaks for the layer only."""
    digest = layer_of(registry)
    registry.wrong = lambda asked: answer(asked) if asked.path.endswith(digest) else None


def kept(build: BuildContext) -> list[Path]:
    """What of a layer, whole or not, is in the store."""
    folder = build.store.folder
    return [*folder.glob("tmp/.*"), *folder.glob("layers/*/*/*")]


def refused(fetch: Any, registry: Fake, message: str) -> BuildError:
    with pytest.raises(BuildError, match=message) as caught:
        fetch(f"{registry.host}/app:1")
    assert "\n" not in caught.value.message
    return caught.value


def test_a_registry_that_behaves(image: Fake, fetch: Any) -> None:
    name = f"{image.host}/app:1"
    first = fetch(name)
    assert [layer.index.paths for layer in first.layers] == [[b"noise"]]
    assert [one.method for one in image.server.asked] == ["HEAD", "GET", "GET", "GET"]
    image.server.asked.clear()
    assert fetch(name).digest == first.digest
    assert [one.method for one in image.server.asked] == ["HEAD"]
    image.server.asked.clear()
    assert fetch(f"{image.host}/app@{first.digest}").digest == first.digest
    assert image.server.asked == []


def test_a_second_build_loads_no_http_client(image: Fake, fetch: Any, build: BuildContext) -> None:
    # Importing requests takes longer than all the rest of what a registry adds to a second build.
    image_of = fetch(f"{image.host}/app:1")
    for name in ("app:1", f"app@{image_of.digest}"):
        code = f"""if True:
            import sys
            from pathlib import Path
            from fledge.options import NoOptions
            from fledge.sources import ImageReference, ImageRequest
            from fledge.testing.builds import context
            from fledge.values import Platform
            from fledge_transport_registry.driver import Registry
            request = ImageRequest(ImageReference("docker", "//{image.host}/{name}"), Platform("linux", "amd64"))
            found = Registry("docker", NoOptions(), context(Path("{build.store.folder}"))).fetch_image(request)
            print(found.digest, *(name for name in ("requests", "urllib3", "ssl") if name in sys.modules))
        """
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(image_of.digest), *(["ssl"] if name == "app:1" else [])]


def test_a_proxy(image: Fake, fetch: Any, build: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    build.environ["FLEDGE_INSECURE_REGISTRIES"] = "registry.invalid"  # type: ignore[index]
    monkeypatch.setenv("http_proxy", image.server.url)
    assert str(fetch("registry.invalid:5000/app:1").digest) == image.top["digest"]
    assert {one.path.partition("/v2/")[0] for one in image.server.asked} == {"http://registry.invalid:5000"}


def test_case_067_an_interrupted_download_goes_on_where_it_stopped(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB, cut=CUT) if "range" not in asked.headers else None)
    fetch(f"{image.host}/app:1")
    assert [one.headers.get("range") for one in image.asked(what=layer_of(image))] == [None, f"bytes={CUT}-"]


def test_case_067_many_interruptions(image: Fake, fetch: Any) -> None:
    step = (1 << 20) + 10

    def cut(asked: Asked) -> Answer:
        answer = image.well(asked)
        return Answer(answer.status, answer.body, answer.headers, cut=step)

    for_layer(image, cut)
    fetch(f"{image.host}/app:1")
    assert len(image.asked(what=layer_of(image))) == 3


def test_case_067_without_progress_attempts_are_bounded(image: Fake, fetch: Any, build: BuildContext) -> None:
    def cut(asked: Asked) -> Answer:
        answer = image.well(asked)
        return Answer(answer.status, answer.body, answer.headers, cut=1000)

    for_layer(image, cut)
    refused(fetch, image, rf"broke off after {ATTEMPTS * 1000} of {len(BLOB)} bytes: .* \(tried {ATTEMPTS} times\)")
    assert kept(build) == []


def test_case_051_a_short_200_is_never_accepted(image: Fake, fetch: Any, build: BuildContext) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB[:-1]))
    refused(fetch, image, f"sends {len(BLOB) - 1} bytes; the manifest says {len(BLOB)}")
    assert kept(build) == []


def test_case_051_a_short_200_without_a_length(image: Fake, fetch: Any, build: BuildContext) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB[:-1], {"Content-Length": ""}))
    refused(fetch, image, f"broke off after {len(BLOB) - 1} of {len(BLOB)} bytes: the connection was closed")
    assert kept(build) == []


@pytest.mark.parametrize("length", [str(len(BLOB) + 1), ""], ids=["told", "untold"])
def test_case_054_a_body_that_is_too_long(image: Fake, fetch: Any, build: BuildContext, length: str) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB + b"x", {"Content-Length": length}))
    refused(fetch, image, r"longer than the|sends \d+ bytes")
    assert kept(build) == []


@pytest.mark.parametrize(
    "told",
    [
        "",
        f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes {CUT + 1}-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes {CUT}-{len(BLOB)}/{len(BLOB)}",
        f"bytes {CUT}-{len(BLOB) - 1}/{len(BLOB) + 1}",
        f"bytes {CUT}-{CUT}/{len(BLOB)}",
        f"bytes={CUT}-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes -{CUT}-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes {'9' * 5000}-1/*",
    ],
)
def test_case_052_wrong_content_range(image: Fake, fetch: Any, build: BuildContext, told: str) -> None:
    def answer(asked: Asked) -> Answer:
        if "range" not in asked.headers:
            return Answer(200, BLOB, cut=CUT)
        return Answer(206, BLOB[CUT:], {"Content-Range": told})

    for_layer(image, answer)
    refused(fetch, image, rf"Content-Range is .*; asked for bytes {CUT}-")
    assert kept(build) == []


def test_case_053_200_to_a_range_request(image: Fake, fetch: Any) -> None:
    cuts = iter([CUT, CUT + 1_200_000, None])
    for_layer(image, lambda asked: Answer(200, BLOB, cut=next(cuts)))
    assert len(fetch(f"{image.host}/app:1").layers) == 1
    assert [one.headers.get("range") for one in image.asked(what=layer_of(image))] == [
        None,
        f"bytes={CUT}-",
        f"bytes={CUT + 1_200_000}-",
    ]


def test_206_to_a_request_without_a_range(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(206, BLOB, {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"}))
    refused(fetch, image, "answered 206")


def test_case_054_a_blob_with_another_digest(image: Fake, fetch: Any, build: BuildContext) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB[:-1] + b"x"))
    refused(fetch, image, "have the digest sha256:|gzip")
    assert kept(build) == []


def test_case_054_a_manifest_with_another_digest(image: Fake, fetch: Any, build: BuildContext) -> None:
    data = image.blobs.by_digest[image.top["digest"]]
    image.wrong = lambda asked: (
        Answer(200, data + b" ", {"Content-Type": OCI_MANIFEST})
        if asked.method == "GET" and "manifests" in asked.path
        else None
    )
    refused(fetch, image, f"has the digest .*; it must be {image.top['digest']}")
    assert not build.store.blob_path(Digest.parse(image.top["digest"])).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"size": -1}, "size: -1 is out of range", id="case_055"),
        pytest.param({"digest": "sha256:../../../etc/passwd"}, "malformed digest", id="case_056-traversal"),
        pytest.param({"digest": "sha256:abc"}, "malformed digest", id="case_056-short"),
    ],
)
def test_malformed_descriptors(registry: Fake, fetch: Any, change: dict[str, Any], message: str) -> None:
    blobs = registry.blobs
    layer = {**blobs.add(BLOB, f"{OCI_LAYER}+gzip"), **change}
    registry.top = blobs.manifest(blobs.config([f"sha256:{'0' * 64}"]), [layer])
    refused(fetch, registry, message)
    assert registry.asked(what="blobs") == []


@pytest.mark.parametrize("told", ["sha256:../../etc/passwd", "x"])
def test_case_056_docker_content_digest(image: Fake, fetch: Any, told: str) -> None:
    image.wrong = lambda asked: Answer(200, b"", {"Docker-Content-Digest": told}) if asked.method == "HEAD" else None
    refused(fetch, image, "Docker-Content-Digest: malformed digest")


@pytest.mark.parametrize("answer", [Answer(405), Answer(200), Answer(501)], ids=["405", "no-digest", "501"])
def test_a_registry_without_a_useful_head(image: Fake, fetch: Any, answer: Answer) -> None:
    image.wrong = lambda asked: answer if asked.method == "HEAD" else None
    assert str(fetch(f"{image.host}/app:1").digest) == image.top["digest"]


def test_case_058_a_redirect_takes_no_authorization_to_another_host(image: Fake, fetch: Any, tmp_path: Path) -> None:
    login(tmp_path, image.host)
    with serving(lambda asked: Answer(200, BLOB)) as elsewhere:

        def answer(asked: Asked) -> Answer | None:
            if asked.headers.get("authorization") != "Basic dTpw":
                return Answer(401, headers={"WWW-Authenticate": "Basic realm=x"})
            if asked.path.endswith(layer_of(image)):
                return Answer(307, headers={"Location": f"{elsewhere.url}/blob?signature=1"})
            return None

        image.wrong = answer
        fetch(f"{image.host}/app:1")
        assert [one.path for one in elsewhere.asked] == ["/blob?signature=1"]
        assert "authorization" not in elsewhere.asked[0].headers


def test_case_058_a_challenge_from_elsewhere_is_not_answered(image: Fake, fetch: Any, tmp_path: Path) -> None:
    login(tmp_path, image.host)
    challenge = Answer(401, headers={"WWW-Authenticate": "Basic realm=x"})
    with serving(lambda asked: challenge) as elsewhere:
        for_layer(image, lambda asked: Answer(307, headers={"Location": f"{elsewhere.url}/blob"}))
        refused(fetch, image, "answered 401")
        assert [one.headers.get("authorization") for one in elsewhere.asked] == [None]


def test_case_058_redirects_end(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(302, headers={"Location": asked.path}))
    refused(fetch, image, "redirects more than 10 times")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_case_061_retries(image: Fake, fetch: Any, status: int) -> None:
    answers = iter([Answer(status, headers={"Retry-After": "0"}), Answer(status)])
    for_layer(image, lambda asked: next(answers, None))
    fetch(f"{image.host}/app:1")
    assert len(image.asked(what=layer_of(image))) == 3


def test_case_061_retries_are_bounded(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(503))
    refused(fetch, image, rf"answered 503 \(tried {ATTEMPTS} times\)")
    assert len(image.asked(what=layer_of(image))) == ATTEMPTS


def test_case_061_retry_after_is_waited_for(image: Fake, fetch: Any) -> None:
    answers = iter([Answer(429, headers={"Retry-After": "1"})])
    for_layer(image, lambda asked: next(answers, None))
    begin = time.monotonic()
    fetch(f"{image.host}/app:1")
    assert time.monotonic() - begin >= 1


def test_case_061_retry_after_is_capped(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(429, headers={"Retry-After": "86400"}))
    refused(fetch, image, "answered 429; the server asks to wait 86400 s")


def test_case_061_silence_is_bounded(image: Fake, fetch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fledge.http, "TIMEOUT", (1.0, 0.05))

    def silent(asked: Asked) -> Answer:
        time.sleep(0.2)
        return Answer(200, BLOB)

    for_layer(image, silent)
    refused(fetch, image, r"no answer from http://.*: .*timed out.* \(tried 5 times\)")


def test_nobody_there(fetch: Any, image: Fake) -> None:
    with pytest.raises(BuildError, match=r"^no answer from http://127.0.0.1:1/v2/app/manifests/1: .*refused"):
        fetch("127.0.0.1:1/app:1")


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.oci.image.index.v1+json"])
def test_case_062_content_type_unlike_media_type(image: Fake, fetch: Any, kind: str) -> None:
    data = image.blobs.by_digest[image.top["digest"]]
    image.wrong = lambda asked: (
        Answer(200, data, {"Content-Type": kind}) if asked.method == "GET" and "manifests" in asked.path else None
    )
    refused(fetch, image, "not what it was announced as")


def test_case_063_a_manifest_over_4_mib(image: Fake, fetch: Any) -> None:
    endless = b" " * (9 << 20)
    image.wrong = lambda asked: Answer(200, endless, {"Content-Type": OCI_MANIFEST, "Content-Length": ""})
    refused(fetch, image, "longer than the 4 MiB that are allowed")


def test_case_064_foreign_urls_are_not_followed(registry: Fake, fetch: Any) -> None:
    blobs = registry.blobs
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layer = blobs.add(BLOB, kind, urls=[f"{registry.server.url}/evil"])
    registry.top = blobs.manifest(blobs.config([f"sha256:{'0' * 64}"]), [layer])
    del blobs.by_digest[layer["digest"]]
    refused(fetch, registry, "is foreign")
    assert "/evil" not in registry.server.paths()


def test_case_066_an_index(registry: Fake, fetch: Any) -> None:
    blobs = registry.blobs
    registry.top = blobs.index(blobs.image(ONE, platform="linux/arm64/v8"), blobs.image(tar({"amd": b""})))
    assert fetch(f"{registry.host}/app:1").layers[0].index.paths == [b"amd"]
    assert fetch(f"{registry.host}/app:1", "linux/arm64").layers[0].index.paths == [b"noise"]
    with pytest.raises(ImageNotFoundError, match="it has: linux/arm64/v8, linux/amd64"):
        fetch(f"{registry.host}/app:1", "linux/386")


def test_case_066_a_reference_by_digest_that_lies(image: Fake, fetch: Any) -> None:
    other = f"sha256:{'0' * 64}"
    data = image.blobs.by_digest[image.top["digest"]]
    image.wrong = lambda asked: (
        Answer(200, data, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": other})
        if asked.path.endswith(other)
        else None
    )
    with pytest.raises(BuildError, match=f"it must be {other}"):
        fetch(f"{image.host}/app@{other}")


def test_content_encoding_is_refused(image: Fake, fetch: Any) -> None:
    for_layer(image, lambda asked: Answer(200, BLOB, {"Content-Encoding": "gzip"}))
    refused(fetch, image, "Content-Encoding 'gzip'")


def test_no_such_tag(image: Fake, fetch: Any) -> None:
    with pytest.raises(ImageNotFoundError, match="has no such image or tag"):
        fetch(f"{image.host}/app:2")
    with pytest.raises(ImageNotFoundError, match=r"has no such image or tag \(it is not here\)"):
        fetch(f"{image.host}/app@sha256:{'0' * 64}")


def test_a_missing_layer(image: Fake, fetch: Any) -> None:
    layer = layer_of(image)
    del image.blobs.by_digest[layer]
    refused(fetch, image, rf"blob {layer}: 127.0.0.1:\d+ answered 404 \(it is not here\)$")


def test_denied(image: Fake, fetch: Any) -> None:
    image.wrong = lambda asked: Answer(403, b'{"errors": [{"code": "DENIED", "message": "denied"}]}')
    error = refused(fetch, image, r"answered 403 \(denied\): there is no such image, or it needs a login")
    assert error.hint == f"docker login {image.host}"


def login(home: Path, host: str) -> None:
    folder = home / ".docker"
    folder.mkdir()
    folder.joinpath("config.json").write_text(json.dumps({"auths": {host: {"auth": "dTpw"}}}))
