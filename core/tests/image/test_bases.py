"""Base images with a transport."""

from dataclasses import replace
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.image.bases import rename_bases, with_renamed_bases
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge.values import Digest, Platform

AMD64 = Platform.parse("linux/amd64")


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("FROM nginx:alpine\nRUN x\n", None),
        ("FROM localhost:5000/x\n", None),
        ("FROM oci:v1\n", "FROM <oci:v1>\n"),
        ("# FROM oci:x\nARG A\nFROM scratch AS one\n", None),
        ("  from --platform=$A oci:./a:tag AS two\nFROM c\n", "  from --platform=$A <oci:./a:tag> AS two\nFROM c\n"),
        ("FROM docker://nginx\nFROM docker://nginx", "FROM <docker://nginx>\nFROM <docker://nginx>"),
        ("FROM docker-archive:./x.tar\r\n", "FROM <docker-archive:./x.tar>\r\n"),
        ("RUN echo FROM oci:x\n", None),
    ],
)
def test_other_names_for_them(text: str, renamed: str | None) -> None:
    assert rename_bases(text, lambda base: f"<{base}>") == (renamed or text)


def source(request: ImageRequest) -> ImageSource:
    return ImageSource(request.reference, Digest.of(b""), None, ())  # type: ignore[arg-type]


@pytest.fixture
def asked(tmp_path: Path) -> DockerfileRequest:
    (tmp_path / "out").mkdir()
    return DockerfileRequest(tmp_path / "Dockerfile", tmp_path, AMD64, base_dir="/base")


def test_each_is_fetched_once_and_handed_over(asked: DockerfileRequest, tmp_path: Path) -> None:
    fetched: list[ImageRequest] = []
    asked.dockerfile.write_bytes(b"FROM oci:a\nFROM docker://b\nFROM oci:a\n# \xff\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("x")

    def fetch(request: ImageRequest) -> ImageSource:
        fetched.append(request)
        return source(request)

    ready = with_renamed_bases(asked, fetch, lambda image: image.reference.transport.upper(), tmp_path / "out")
    assert ready == replace(asked, dockerfile=tmp_path / "out" / "Dockerfile")
    assert ready.dockerfile.read_bytes() == b"FROM OCI\nFROM DOCKER\nFROM OCI\n# \xff\n"
    assert (tmp_path / "out" / "Dockerfile.dockerignore").read_text() == "x"
    references = [ImageReference("oci", "a"), ImageReference("docker", "//b")]
    assert fetched == [ImageRequest(reference, AMD64, "/base") for reference in references]


def test_without_any_the_request_stays_as_it_is(asked: DockerfileRequest, tmp_path: Path) -> None:
    asked.dockerfile.write_text("FROM nginx\n")
    assert with_renamed_bases(asked, source, str, tmp_path / "out") is asked
    assert not list((tmp_path / "out").iterdir())


def test_a_dockerfile_that_can_not_be_read(asked: DockerfileRequest, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*/Dockerfile: No such file"):
        with_renamed_bases(asked, source, str, tmp_path / "out")
