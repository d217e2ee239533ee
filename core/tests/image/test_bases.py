"""Base images with a transport."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fledge.config.settings import this_platform
from fledge.errors import BuildError
from fledge.image.bases import rename_bases, with_renamed_bases
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge.values import Digest, Platform

AMD64 = Platform.parse("linux/amd64")


HERE = this_platform()
REQUEST = DockerfileRequest(Path("/base/D"), Path("/base"), AMD64, base_dir="/base")


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("FROM nginx:alpine\nRUN x\n", None),
        ("FROM localhost:5000/x\n", None),
        ("FROM oci:v1\n", "FROM <oci:v1 linux/amd64>\n"),
        ("# FROM oci:x\nARG A\nFROM scratch AS one\n", None),
        ("  from  oci:./a:tag AS two\nFROM c\n", "  from  <oci:./a:tag linux/amd64> AS two\nFROM c\n"),
        ("FROM docker://nginx\nFROM docker://nginx", 2 * "\nFROM <docker://nginx linux/amd64>"),
        ("FROM docker-archive:./x.tar\r\n", "FROM <docker-archive:./x.tar linux/amd64>\r\n"),
        ("RUN echo FROM oci:x\n", None),
        # Over several rows, with what a parser passes over between them.
        ("FROM oci:\\\nx", "FROM <oci:x linux/amd64>\n"),
        ("FROM \\\n# no\n\n  oci:x AS \\ \n y\nRUN a", "FROM   <oci:x linux/amd64> AS  y\n\n\n\n\nRUN a"),
        ("RUN a \\\nFROM oci:x\nFROM oci:y \\\n", "RUN a \\\nFROM oci:x\nFROM <oci:y linux/amd64> \n"),
        ("RUN a \\\\\nFROM oci:x", "RUN a \\\\\nFROM <oci:x linux/amd64>"),
        ("#syntax=a\n# escape = `\nRUN a \\\nFROM oci:x", "#syntax=a\n# escape = `\nRUN a \\\nFROM <oci:x linux/amd64>"),
        ("# escape=`\nRUN a `\nFROM oci:x", None),
        # Heredocs.
        ("COPY <<EOF /a\nFROM oci:x\nEOF\nFROM oci:y", "COPY <<EOF /a\nFROM oci:x\nEOF\nFROM <oci:y linux/amd64>"),
        ("RUN <<-'A' 3<<\"B\"\nB\nFROM oci:x\n\tA\nFROM oci:y\nB\n", None),
        ("ONBUILD COPY <<A <<B /\r\nA\r\nFROM oci:x\r\nB\r\n", None),
        ("RUN [ -e a ] && cat <<'the end'\nFROM oci:x\nthe end\n", None),
        ("RUN cat <<< A\nFROM oci:x", "RUN cat <<< A\nFROM <oci:x linux/amd64>"),
        ("RUN echo 1 <<A\nFROM oci:x", "RUN echo 1 <<A\nFROM <oci:x linux/amd64>"),
        ('RUN ["<<A", "b"]\nFROM oci:x\nA', 'RUN ["<<A", "b"]\nFROM <oci:x linux/amd64>\nA'),
        ("ENV A <<A\nFROM oci:x\nA", "ENV A <<A\nFROM <oci:x linux/amd64>\nA"),
        # Platforms, which the builder's program then has as we do.
        ("FROM --platform=linux/arm64 oci:x", "FROM --platform=linux/arm64 <oci:x linux/arm64>"),
        ("FROM --platform=$TARGETPLATFORM oci:x", "FROM --platform=linux/amd64 <oci:x linux/amd64>"),
        ("FROM --platform=${BUILDPLATFORM} oci:x", f"FROM --platform={HERE} <oci:x {HERE}>"),
        ("FROM --platform=$A x\nRUN FROM oci:x", None),
    ],
)  # fmt: skip
def test_other_names_for_them(text: str, renamed: str | None) -> None:
    made = rename_bases(text, REQUEST, lambda base, platform: f"<{base} {platform}>")
    assert made == (text if renamed is None else renamed.removeprefix("\n"))
    assert made.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (
            "ARG A=1\nFROM docker://nginx:$A\n",
            "D:2: FROM docker://nginx:$A: Fledge fetches this image before",
            "microvm",
        ),
        ("FROM --platform=$A oci:x", "D:1: FROM oci:x: --platform=$A: of the variables, $BUILDPLATFORM and", "microvm"),
        ("FROM --platform=amd64 oci:x", "D:1: FROM oci:x: --platform=amd64: malformed platform 'amd64'", "write"),
        ("\nFROM \\\n oci:", "D:2: FROM oci:: malformed image reference 'oci:'; nothing follows oci:", None),
    ],
)
def test_what_is_not_known_here(text: str, said: str, hint: str | None) -> None:
    with pytest.raises(BuildError) as caught:
        rename_bases(text, REQUEST, lambda base, platform: "x")
    assert caught.value.message.startswith(said)
    assert hint is None if caught.value.hint is None else str(hint) in caught.value.hint


def test_an_argument_takes_the_place_of_an_automatic_platform() -> None:
    request = replace(REQUEST, build_args={"TARGETPLATFORM": "linux/riscv64"})
    text = "FROM --platform=$TARGETPLATFORM oci:x"
    assert rename_bases(text, request, lambda _, platform: str(platform)).endswith(" linux/riscv64")


def source(request: ImageRequest) -> ImageSource:
    return ImageSource(request.reference, Digest.of(b""), None, ())  # type: ignore[arg-type]


@pytest.fixture
def asked(tmp_path: Path) -> DockerfileRequest:
    (tmp_path / "out").mkdir()
    return DockerfileRequest(tmp_path / "Dockerfile", tmp_path, AMD64, base_dir="/base")


def test_each_is_fetched_once_for_a_platform_and_handed_over(asked: DockerfileRequest, tmp_path: Path) -> None:
    fetched: list[ImageRequest] = []
    arm = b"FROM --platform=linux/arm64 "
    asked.dockerfile.write_bytes(b"FROM oci:a\r\nFROM docker://b\nFROM oci:a\n# \xff\n" + arm + b"oci:a\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("x")

    def fetch(request: ImageRequest) -> ImageSource:
        fetched.append(request)
        return source(request)

    ready = with_renamed_bases(asked, fetch, lambda image: f"{image.reference}".upper(), tmp_path / "out")
    assert ready == replace(asked, dockerfile=tmp_path / "out" / "Dockerfile")
    assert ready.dockerfile.read_bytes() == b"FROM OCI:A\r\nFROM DOCKER://B\nFROM OCI:A\n# \xff\n" + arm + b"OCI:A\n"
    assert (tmp_path / "out" / "Dockerfile.dockerignore").read_text() == "x"
    a, b = ImageReference("oci", "a"), ImageReference("docker", "//b")
    expected = [(a, AMD64), (b, AMD64), (a, Platform.parse("linux/arm64"))]
    assert fetched == [ImageRequest(reference, platform, "/base") for reference, platform in expected]


def test_without_any_the_request_stays_as_it_is(asked: DockerfileRequest, tmp_path: Path) -> None:
    asked.dockerfile.write_text("FROM nginx\n")
    assert with_renamed_bases(asked, source, str, tmp_path / "out") is asked
    assert not list((tmp_path / "out").iterdir())


def test_a_dockerfile_that_can_not_be_read(asked: DockerfileRequest, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"can't read .*/Dockerfile: No such file"):
        with_renamed_bases(asked, source, str, tmp_path / "out")


def test_a_full_disk_is_not_the_dockerfiles_fault(asked: DockerfileRequest, tmp_path: Path) -> None:
    asked.dockerfile.write_text("FROM oci:a\n")

    def hand(_: ImageSource) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BuildError, match=f"^can't write to {tmp_path}/out: No space left on device$"):
        with_renamed_bases(asked, source, hand, tmp_path / "out")
    (tmp_path / "out" / "Dockerfile").mkdir()
    with pytest.raises(BuildError, match=f"^can't write to {tmp_path}/out: Is a directory$"):
        with_renamed_bases(asked, source, lambda _: "x", tmp_path / "out")
