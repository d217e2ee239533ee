"""manifest.json."""

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from fledge.artifact import Artifact, ManifestSection
from fledge.config.check import check
from fledge.config.template import Template
from fledge.errors import BuildError, UsageError
from fledge.image.config import ImageConfig
from fledge.manifest import core_sections, file_name, merge_sections, render, violations_of
from fledge.options import NoOptions
from fledge.plan import BuildPlan, Choice
from fledge.tree.inode import Directory
from fledge.tree.tree import Tree
from fledge.values import Digest, Platform
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from fledge.output import ArtifactFile

AMD64 = Platform("linux", "amd64")
TOP = 'schema_version = "v1"\nname = "Web"\nversion = "1.0.0"\n'
NGINX = ImageConfig(
    raw=b"{}",
    platform=AMD64,
    entrypoint=("/docker-entrypoint.sh",),
    cmd=("nginx", "-g", "daemon off;"),
    env=("PATH=/usr/bin:/bin", "A=1=2", "B="),
    working_dir="/srv",
    user="101:101",
    exposed_ports=("53/udp", "80/tcp", "443"),
)
BARE = ImageConfig(raw=b"{}", platform=AMD64)


def template(text: str) -> dict[str, Any]:
    checked = check(Template, tomllib.loads(text), [], file="manifest.toml")
    assert checked is not None
    return checked.written()


def plan(text: str | None = None, **changes: Any) -> BuildPlan:
    options = NoOptions()
    data = template(text) if text is not None else {}
    return BuildPlan(
        base_dir=Path("/"),
        strategy=Choice("oci_rootfs", options),
        filesystem=Choice("ext4", options),
        agent=None,
        mappings=(),
        manifest=data,
        platform=AMD64,
        name=data.get("name", "nginx"),
        **changes,
    )


def artifact(image: ImageConfig | None = NGINX, path: str = "/out/nginx-rootfs.img") -> Artifact:
    finished = SimpleNamespace(path=Path(path), size=4096, digest=Digest.of(b""))
    return Artifact(cast("ArtifactFile", finished), "ext4", Tree(Directory(0o755), image=image))


def built(text: str | None = None, made: Artifact | None = None, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    """The manifest as a consumer reads it, and the warnings."""
    warnings: list[str] = []
    sections = core_sections(plan(text, **changes), made or artifact(), warn=warnings.append)
    document: dict[str, Any] = json.loads(render(merge_sections(("core", section) for section in sections)))
    return document, warnings


def test_without_a_template_the_image_says_it_all() -> None:
    document, warnings = built()
    assert document == {
        "$schema": "https://raw.githubusercontent.com/volantvm/volant/main/docs/schemas/plugin-manifest-v1.json",
        "schema_version": "v1",
        "name": "nginx",
        "version": "0.1.0",
        "runtime": "nginx",
        "enabled": True,
        "rootfs": {"url": "file:///out/nginx-rootfs.img", "checksum": str(Digest.of(b"")), "format": "ext4"},
        "resources": {"cpu_cores": 2, "memory_mb": 2048},
        "workload": {
            "type": "exec",
            "entrypoint": ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"],
            "env": {"A": "1=2", "B": "", "PATH": "/usr/bin:/bin"},
            "workdir": "/srv",
            "user": "101:101",
        },
        "network": {
            "mode": "bridged",
            "expose": [
                {"port": 53, "protocol": "udp"},
                {"port": 80, "protocol": "tcp"},
                {"port": 443, "protocol": "tcp"},
            ],
        },
    }
    assert warnings == []


def test_the_template_wins() -> None:
    document, _ = built(
        TOP + "runtime = 'r'\nenabled = false\nopenapi = '/api.json'\n[resources]\nmemory_mb = 64\n"
        "[workload]\nentrypoint = ['/x']\nworkdir = '/w'\nuser = 'root'\n[workload.env]\nA = 'workload'\n"
        "[env]\nA = 'env'\nB = 'env'\n"
        "[[network.expose]]\nport = 8080\nhost_port = 80\n[labels]\na = 'b'\n"
    )
    assert (document["name"], document["version"], document["runtime"], document["enabled"]) == (
        "Web",
        "1.0.0",
        "r",
        False,
    )
    assert document["resources"] == {"cpu_cores": 2, "memory_mb": 64}
    assert document["workload"] == {
        "type": "exec",
        "entrypoint": ["/x"],
        "env": {"A": "workload", "B": "env", "PATH": "/usr/bin:/bin"},
        "workdir": "/w",
        "user": "root",
    }
    assert document["network"]["expose"] == [{"port": 8080, "protocol": "tcp", "host_port": 80}]
    assert document["labels"] == {"a": "b"}
    assert document["openapi"] == "/api.json"


@pytest.mark.parametrize(
    ("image", "text", "argv"),
    [
        (("/e",), "", ["/e", "c"]),
        ((), "", ["c"]),
        (("/e",), "[workload]\nentrypoint = ['/x']\n", ["/x"]),
        (("/e",), "[workload]\nentrypoint = '/x'\nargs = ['y']\n", ["/x", "y"]),
    ],
)
def test_entrypoint_and_cmd_combine_as_docker_does_it(image: tuple[str, ...], text: str, argv: list[str]) -> None:
    made = artifact(ImageConfig(raw=b"", platform=AMD64, entrypoint=image, cmd=("c",)))
    assert built(TOP + text, made)[0]["workload"]["entrypoint"] == argv


class TestHttp:
    HTTP = TOP + "[workload]\ntype = 'http'\nentrypoint = ['/x']\n"

    def test_base_url_is_the_first_exposed_tcp_port(self) -> None:
        document, _ = built(self.HTTP)
        assert document["workload"]["base_url"] == "http://127.0.0.1:80"
        assert document["health_check"] == {"endpoint": "/", "timeout_ms": 10000}

    def test_the_templates_ports_win(self) -> None:
        ports = "[network]\nexpose = [{ port = 53, protocol = 'udp' }, { port = 8080 }, { port = 80 }]\n"
        assert built(self.HTTP + ports)[0]["workload"]["base_url"] == "http://127.0.0.1:8080"

    def test_a_given_one_stays(self) -> None:
        text = self.HTTP + "base_url = 'http://localhost:80/health'\n[health_check]\nendpoint = '/up'\n"
        document, _ = built(text, artifact(BARE))
        assert document["workload"]["base_url"] == "http://localhost:80/health"
        assert document["health_check"] == {"endpoint": "/up", "timeout_ms": 10000}

    @pytest.mark.parametrize("network", ["", "[network]\nexpose = [{ port = 53, protocol = 'udp' }]\n"])
    def test_without_a_port_there_is_none(self, network: str) -> None:
        with pytest.raises(UsageError, match=r"workload\.base_url: missing") as caught:
            built(self.HTTP + network, artifact(BARE))
        assert caught.value.hint == "give workload.base_url or network.expose"

    @pytest.mark.parametrize("kind", ["http", "grpc"])
    def test_nothing_to_run_is_an_error(self, kind: str) -> None:
        with pytest.raises(UsageError, match=r"workload\.entrypoint: missing; the image has no Entrypoint"):
            built(f"{TOP}[workload]\ntype = '{kind}'\n", artifact(BARE))


@pytest.mark.parametrize("image", [BARE, None])
def test_nothing_to_run_is_a_warning_for_exec(image: ImageConfig | None) -> None:
    document, warnings = built(None, artifact(image))
    assert document["workload"] == {"type": "exec"}
    assert "network" not in document
    assert warnings == ["the image has no Entrypoint and no Cmd, and manifest.toml no entrypoint: nothing will run"]


def test_what_the_manifest_cannot_hold_is_told() -> None:
    odd = ImageConfig(
        raw=b"", platform=AMD64, cmd=("x",), env=("A", "=b", "C=c"), exposed_ports=("1/sctp", "0/tcp", "70000")
    )
    document, warnings = built(None, artifact(odd))
    assert document["workload"]["env"] == {"C": "c"}
    assert "network" not in document
    assert len(warnings) == 5


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("mode = 'vsock'", {"mode": "vsock"}),
        ("mode = 'dhcp'\nexpose = []", {"mode": "dhcp"}),
        ("auto_assign = true\nexpose = []", {"mode": "bridged", "auto_assign": True}),
    ],
)
def test_ports_that_are_not_exposed(network: str, expected: dict[str, Any]) -> None:
    assert built(f"{TOP}[network]\n{network}\n")[0]["network"] == expected


class TestMedium:
    def test_url_is_percent_encoded(self) -> None:
        document, _ = built(None, artifact(path="/out/a b/ü#%.img"))
        assert document["rootfs"]["url"] == "file:///out/a%20b/%C3%BC%23%25.img"

    def test_artifact_url(self) -> None:
        assert built(artifact_url="https://x.org/a.img")[0]["rootfs"]["url"] == "https://x.org/a.img"

    def test_format_of_the_template(self) -> None:
        assert built(TOP + "[rootfs]\nformat = 'raw'\n")[0]["rootfs"]["format"] == "raw"

    def test_initramfs(self) -> None:
        document, _ = built(artifact_kind="initramfs")
        assert "rootfs" not in document
        assert document["initramfs"]["format"] == "ext4"


class TestMerge:
    def test_conflicts_name_both(self) -> None:
        with pytest.raises(BuildError, match="both core and extension sbom give the manifest's section 'name'"):
            merge_sections([("core", ManifestSection("name", "x")), ("extension sbom", ManifestSection("name", "y"))])

    def test_order_is_that_of_the_proposals(self) -> None:
        sections = [("core", ManifestSection("b", 1)), ("x", ManifestSection("a", 2))]
        assert list(merge_sections(sections)) == ["b", "a"]


class TestRender:
    GOOD = {"name": "ü", "version": "1", "runtime": "x", "rootfs": {"url": "/x"}}  # noqa: RUF012

    def test_form(self) -> None:
        data = render(self.GOOD)
        assert data.startswith('{\n  "name": "ü",\n  "version"'.encode())
        assert data.endswith(b"}\n")

    @pytest.mark.parametrize(
        ("change", "violation"),
        [
            ({"name": ""}, "name: "),
            ({"rootfs": {}}, "rootfs: 'url' is a required property"),
            ({"rootfs": {"url": "x.img"}}, "rootfs.url: "),
            ({"rootfs": {"url": "/x", "checksum": "x"}}, "rootfs.checksum: "),
            ({"initramfs": {"url": "/x"}}, "$: "),
            ({"rootfs": {"url": "/x", "size": 1}}, "rootfs: Additional properties"),
            ({"schema_version": "v2"}, "schema_version: "),
            ({"workload": {"type": "http", "entrypoint": ["x"]}}, "workload: 'base_url' is a required property"),
            ({"workload": {"type": "grpc"}}, "workload: 'entrypoint' is a required property"),
            ({"workload": {"type": "exec", "entrypoint": []}}, "workload.entrypoint: "),
            ({"workload": {"type": "exec", "env": {"A": 1}}}, "workload.env.A: "),
            ({"network": {"expose": []}}, "network: 'mode' is a required property"),
            ({"network": {"mode": "bridged", "expose": [{"port": 0}]}}, "network.expose[0].port: "),
            ({"resources": {"cpu_cores": 1}}, "resources: 'memory_mb' is a required property"),
        ],
    )
    def test_case_073_a_violation_is_an_error_with_its_path(self, change: dict[str, Any], violation: str) -> None:
        with pytest.raises(BuildError) as caught:
            render(self.GOOD | change)
        assert f"the manifest does not match its schema: {violation}" in caught.value.message

    def test_neither_medium_is_a_violation(self) -> None:
        assert violations_of({"name": "x", "version": "1", "runtime": "x"})

    def test_sections_of_extensions_are_allowed(self) -> None:
        assert b'"sbom"' in render({**self.GOOD, "sbom": {"url": "x"}})

    @pytest.mark.parametrize("value", [float("nan"), object(), "\ud800"])
    def test_what_json_cannot_hold(self, value: object) -> None:
        with pytest.raises(BuildError, match="can't be written as JSON"):
            render({**self.GOOD, "x": value})


@pytest.mark.parametrize(
    ("output", "path", "name"),
    [
        (None, "/o/nginx-rootfs.img", "my-web.manifest.json"),
        ("/o/nginx.img", "/o/nginx.img", "nginx.manifest.json"),
        ("/o/a.b.squashfs", "/o/a.b.squashfs", "a.b.manifest.json"),
        ("/o/plugin.cpio.gz", "/o/plugin.cpio.gz", "plugin.manifest.json"),
        ("/o/image", "/o/image", "image.manifest.json"),
        ("/o/.img", "/o/.img", ".img.manifest.json"),
    ],
)
def test_file_name(output: str | None, path: str, name: str) -> None:
    made = plan(TOP.replace("Web", "My Web"), output=Path(output) if output else None)
    assert file_name(made, Path(path)) == name


TEXT = st.text(max_size=8)
IMAGES = st.builds(
    ImageConfig,
    raw=st.just(b""),
    platform=st.just(AMD64),
    entrypoint=st.lists(TEXT, max_size=2).map(tuple),
    cmd=st.lists(TEXT, max_size=2).map(tuple),
    env=st.lists(TEXT | st.tuples(TEXT, TEXT).map("=".join), max_size=3).map(tuple),
    working_dir=st.none() | st.sampled_from(["", "/", "/srv", "srv"]),
    user=st.none() | TEXT,
    exposed_ports=st.lists(st.integers(0, 99999).map(str) | st.sampled_from(["80/tcp", "53/UDP", "x"]), max_size=3).map(
        tuple
    ),
)
TEMPLATES = st.sampled_from(
    [
        None,
        TOP,
        TOP + "[network]\nmode = 'vsock'\n",
        TOP + "[workload]\ntype = 'http'\n",
        TOP + "[workload]\ntype = 'grpc'\n[env]\nA = '1'\n",
        TOP + "[workload]\ntype = 'http'\nentrypoint = '/x'\n[[network.expose]]\nport = 80\n",
        TOP
        + "[cloud_init.user_data]\ncontent = ''\n[actions.a]\nmethod = 'GET'\npath = '/'\n[devices]\n[health_check]\n",
    ]
)


@given(IMAGES, TEMPLATES)
def test_case_073_whatever_the_image_says_the_manifest_matches_its_schema(image: ImageConfig, text: str | None) -> None:
    try:
        built(text, artifact(image))
    except UsageError:
        assert text is not None
        assert "type = " in text
