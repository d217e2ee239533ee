"""Base images with a transport."""

from pathlib import Path

import pytest
from fledge.image.bases import base_with_transport, rename_bases


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("FROM nginx:alpine\nRUN x\n", None),
        ("FROM localhost:5000/x\n", None),
        ("FROM oci:v1\n", "oci:v1"),
        ("# FROM oci:x\nARG A\nFROM scratch AS one\n  from --platform=linux/arm64 oci:./layout:tag AS two\n", "oci:./layout:tag"),
        ("FROM docker://nginx\n", "docker://nginx"),
        ("FROM docker-archive:./x.tar\n", "docker-archive:./x.tar"),
        ("RUN echo FROM oci:x\n", None),
    ],
)  # fmt: skip
def test_the_first_that_names_its_transport(tmp_path: Path, text: str, base: str | None) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    assert base_with_transport(tmp_path / "Dockerfile") == base


def test_no_dockerfile(tmp_path: Path) -> None:
    assert base_with_transport(tmp_path) is None


def test_other_names_for_them() -> None:
    text = "ARG A\nFROM --platform=x oci:a:1 AS one\nRUN FROM oci:a\nfrom docker://b\nFROM c\n"
    renamed = rename_bases(text, lambda base: f"<{base}>")
    assert renamed == "ARG A\nFROM --platform=x <oci:a:1> AS one\nRUN FROM oci:a\nfrom <docker://b>\nFROM c\n"
