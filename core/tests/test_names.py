"""Names of images and files."""

import pytest
from fledge.names import file_stem, name_of_image


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:alpine", "nginx"),
        ("docker://nginx:1.25", "nginx"),
        ("docker://ghcr.io/acme/Web:1.2@sha256:" + "0" * 64, "Web"),
        ("localhost:5000/nginx", "nginx"),
        ("localhost:5000/team/nginx:tag", "nginx"),
        ("docker-daemon:acme/web:1", "web"),
        ("oci:./layout", "layout"),
        ("oci:./layout:v1/x", "layout"),
        ("oci:/srv/images/web/", "web"),
        ("oci-archive:web.tar", "web"),
        ("oci-archive:/srv/web.tar.gz:tag", "web"),
        ("docker-archive:./Web.TGZ:acme/other:1", "Web"),
        ("docker-archive:web", "web"),
        ("oci:.", None),
        ("oci:..:tag", None),
    ],
)
def test_name_of_image(reference: str, name: str | None) -> None:
    assert name_of_image(reference) == name


@pytest.mark.parametrize(("name", "stem"), [("Web", "web"), ("acme/My App", "acme-my-app"), ("a..b", "a..b")])
def test_file_stem(name: str, stem: str) -> None:
    assert file_stem(name) == stem
