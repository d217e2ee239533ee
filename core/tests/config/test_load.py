"""fledge.toml + manifest.toml + flags -> BuildPlan."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fledge import config
from fledge.config.settings import this_platform
from fledge.errors import ConfigError
from fledge.options import Options
from fledge.plan import BuildPlan, Choice
from fledge.values import GuestPath, Platform

Load = Callable[..., BuildPlan]
Problems = Callable[..., list[str]]

OCI = 'version = "1"\nstrategy = "oci_rootfs"\nsource.image = "ghcr.io/acme/Web:1"\n'
INITRAMFS = 'version = "1"\nstrategy = "initramfs"\n'
TEMPLATE = 'schema_version = "v1"\nname = "web"\nversion = "1.0.0"\n'


def options(choice: Choice | None) -> dict[str, Any]:
    assert choice is not None
    assert isinstance(choice.options, Options)
    return choice.options.model_dump()


def test_what_is_left_out(load: Load, tmp_path: Path) -> None:
    plan = load(OCI)
    assert plan.base_dir == tmp_path
    assert plan.strategy.name == "oci_rootfs"
    assert plan.filesystem.name == "squashfs"
    assert options(plan.filesystem) == {"compression_level": 15, "overlay_size": "1G"}
    assert plan.agent is not None
    assert (plan.agent.name, options(plan.agent)) == ("release", {"version": "latest"})
    assert (plan.mappings, plan.manifest, plan.name) == ((), {}, "Web")
    assert (plan.output, plan.artifact_url, plan.epoch) == (None, None, None)
    assert plan.platform == this_platform()


def test_only_the_named_drivers_are_loaded(load: Load, catalog: Any) -> None:
    load(OCI + '[filesystem]\ntype = "ext4"\n[agent]\nsource_strategy = "none"\n')
    assert set(catalog.loaded) == {("strategy", "oci_rootfs"), ("filesystem", "ext4")}


def test_what_is_given(load: Load, tmp_path: Path) -> None:
    plan = load(
        OCI
        + '[filesystem]\ntype = "ext4"\nsize_buffer_mb = 100\n[agent]\nsource_strategy = "local"\npath = "./kestrel"\n',
        TEMPLATE,
        output=Path("dist/x.img"),
        artifact_url="https://example.org/x.img",
        platform="linux/arm64",
        environ={"SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert options(plan.filesystem) == {"size_buffer_mb": 100, "preallocate": False}
    assert options(plan.agent) == {"path": "./kestrel"}
    assert plan.output == tmp_path / "dist/x.img"
    assert plan.artifact_url == "https://example.org/x.img"
    assert plan.platform == Platform("linux", "arm64")
    assert plan.epoch == 1700000000
    assert plan.name == "web"
    assert plan.manifest == {"schema_version": "v1", "name": "web", "version": "1.0.0"}


def test_relative_paths_start_at_the_folder_of_fledge_toml(tmp_path: Path, catalog: Any) -> None:
    (tmp_path / "fledge.toml").write_text(OCI + '[mappings]\n"a/b" = "/b"\n"/etc/c" = "/c"\n')
    plan = config.load(tmp_path / "fledge.toml", environ={}, catalog=catalog)
    assert plan.base_dir == tmp_path
    assert [mapping.source for mapping in plan.mappings] == [tmp_path / "a/b", Path("/etc/c")]


class TestFiles:
    def test_no_fledge_toml(self, tmp_path: Path, catalog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError) as caught:
            config.load(environ={}, catalog=catalog)
        assert str(caught.value).startswith("fledge.toml: no such file (name it with --config, or an image:")

    def test_a_named_manifest_must_be_there(self, problems: Problems) -> None:
        (line,) = problems(OCI, manifest=Path("other.toml"))
        assert line.startswith("other.toml: no such file")

    def test_problems_of_both_files_flags_and_environment_come_together(self, problems: Problems) -> None:
        lines = problems(
            'version = "2"\nstrategy = "oci_rotfs"\nmapings = 1\n'
            '[filesystem]\ntype = "squashfs"\ncompresion_level = 30\n'
            '[agent]\nsource_strategy = "local"\n'
            '[mappings]\n"a" = "b"\n',
            "name = 5\n[workload]\ntype = 'htp'\n",
            platform="windows/amd64",
            artifact_url="ftp://x",
            environ={"SOURCE_DATE_EPOCH": "yesterday"},
        )
        assert sorted(line.split(": ")[0] + ": " + line.split(": ")[1] for line in lines) == [
            "--artifact-url: 'ftp://x' is not a URL with https://, http:// or file://",
            "--platform: 'windows/amd64' is not Linux; allowed",
            "SOURCE_DATE_EPOCH: 'yesterday' is not a number of seconds; allowed",
            "fledge.toml: agent.path",
            "fledge.toml: filesystem.compresion_level",
            "fledge.toml: mapings",
            "fledge.toml: mappings.a",
            "fledge.toml: strategy",
            "fledge.toml: version",
            "manifest.toml: name",
            "manifest.toml: schema_version",
            "manifest.toml: version",
            "manifest.toml: workload.type",
        ]

    def test_validate_gives_what_load_raises(self, load: Load, catalog: Any) -> None:
        load(OCI)
        assert config.validate(environ={}, catalog=catalog) == []
        with pytest.raises(ConfigError) as caught:
            load("version = 1\n")
        assert config.validate(environ={}, catalog=catalog) == list(caught.value.problems)

    def test_a_broken_fledge_toml_does_not_hide_manifest_toml(self, problems: Problems) -> None:
        lines = problems("a", "b")
        assert [line.split(":")[0] for line in lines] == ["fledge.toml", "manifest.toml"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            OCI + "[filesystem]\ncompresion_level = 15\n",
            "filesystem.compresion_level: unknown key 'compresion_level'; did you mean 'compression_level'?",
            id="case_068 a driver's key",
        ),
        pytest.param(
            OCI + "[mapings]\n", "mapings: unknown key 'mapings'; did you mean 'mappings'?", id="case_068 a table"
        ),
        pytest.param(
            OCI + "[filesystem]\ntpye = 'ext4'\n",
            "filesystem.tpye: unknown key 'tpye'; did you mean 'type'?",
            id="case_068 core's key of a driver's table",
        ),
        pytest.param(
            OCI + "[agent]\nsource_stratgy = 'release'\n",
            "agent.source_strategy: missing; allowed: 'http', 'local', 'release', 'none'",
            id="case_068 the key that names the driver",
        ),
        pytest.param(
            OCI + "[agent]\nsource_strategy = 'release'\nvresion = 'x'\n",
            "agent.vresion: unknown key 'vresion'; did you mean 'version'?",
            id="case_068 an agent's key",
        ),
        pytest.param(
            OCI.replace("source.image", "source.iamge"),
            "source.iamge: unknown key 'iamge'; did you mean 'image'?",
            id="case_068 a strategy's key",
        ),
        pytest.param(
            OCI + "xyzzy = 1\n",
            "xyzzy: unknown key 'xyzzy'; allowed: 'agent', 'filesystem', 'mappings', 'source', 'strategy', 'version'",
            id="case_068 nothing like it",
        ),
        pytest.param(
            OCI + "[filesystem]\nsize_buffer_mb = 1\n",
            "filesystem.size_buffer_mb: the filesystem 'squashfs' has no 'size_buffer_mb'; 'ext4' has",
            id="case_068 another driver's key",
        ),
        pytest.param(
            OCI + "[agent]\nsource_strategy = 'none'\nversion = 'latest'\n",
            "agent.version: unknown key 'version'; allowed: 'source_strategy'",
            id="case_068 a key without agent",
        ),
        pytest.param(
            OCI.replace("source.image", "source.busybox_url"),
            "source.busybox_url: busybox_url belongs to the strategy 'initramfs'",
            id="busybox in a rootfs",
        ),
        pytest.param(
            OCI + "[init]\nnone = true\n", "init: [init] belongs to the strategy 'initramfs'", id="init in a rootfs"
        ),
        pytest.param(OCI.replace('"1"', "1", 1), "version: 1 is not allowed; allowed: '1' (write \"1\")", id="version"),
        pytest.param("version = '1'\n", "strategy: missing; allowed: 'initramfs', 'oci_rootfs'", id="no strategy"),
        pytest.param(
            OCI.replace("oci_rootfs", "oci"),
            "strategy: unknown strategy 'oci'; installed: initramfs, oci_rootfs (try: pip install fledge-strategy-oci)",
            id="strategy not installed",
        ),
        pytest.param(
            OCI + "[filesystem]\ntype = 'ext5'\n",
            "filesystem.type: unknown filesystem 'ext5'; installed: cpio, ext4, squashfs (did you mean 'ext4'? otherwise try: pip install fledge-fs-ext5)",
            id="filesystem not installed",
        ),
        pytest.param(
            OCI + "[agent]\nsource_strategy = 's3'\n",
            "agent.source_strategy: unknown agent 's3'; installed: http, local, release (try: pip install fledge-agent-s3)",
            id="agent not installed",
        ),
        pytest.param(
            INITRAMFS + "[filesystem]\ntype = 'ext4'\n",
            "filesystem.type: 'ext4' does not go with the strategy 'initramfs'; allowed: 'cpio'",
            id="filesystem of another strategy",
        ),
        pytest.param(
            INITRAMFS + "[init]\nnone = true\n[agent]\nsource_strategy = 'release'\n",
            "agent: [init] runs without an agent (remove [agent])",
            id="agent with init none",
        ),
        pytest.param(
            INITRAMFS + "[init]\npath = '/i'\n[agent]\nsource_strategy = 'none'\n",
            "agent: [init] runs without an agent (remove [agent])",
            id="agent with init path",
        ),
        pytest.param(
            INITRAMFS + "[init]\npath = '/i'\nnone = true\n", "init: give either path or none = true", id="both inits"
        ),
        pytest.param(OCI + "filesystem = 'ext4'\n", "filesystem: 'ext4' is not a table", id="table as a string"),
        pytest.param(OCI + "agent = []\n", "agent: an array is not a table", id="table as an array"),
        pytest.param(OCI + "mappings = ['a']\n", "mappings: an array is not a table", id="mappings as an array"),
        pytest.param(
            OCI + "[mappings]\na = ['/a', '/b']\n", "mappings.a: an array is not a string", id="mapping to an array"
        ),
        pytest.param(OCI + "[filesystem]\ntype = 4\n", 'filesystem.type: 4 is not a string (write "4")', id="type"),
    ],
)
def test_what_is_wrong(problems: Problems, text: str, line: str) -> None:
    assert f"fledge.toml: {line}" in problems(text)


class TestAgent:
    @pytest.mark.parametrize("text", [OCI, INITRAMFS])
    def test_none(self, load: Load, text: str) -> None:
        assert load(text + "[agent]\nsource_strategy = 'none'\n").agent is None

    @pytest.mark.parametrize("init", ["path = '/sbin/init'", "none = true"])
    def test_an_init_of_its_own_has_none(self, load: Load, init: str) -> None:
        assert load(f"{INITRAMFS}[init]\n{init}\n").agent is None

    def test_initramfs_has_the_release(self, load: Load) -> None:
        agent = load(INITRAMFS).agent
        assert agent is not None
        assert agent.name == "release"


class TestMappings:
    def parsed(self, load: Load, text: str) -> list[tuple[str, str, bool]]:
        plan = load(OCI + text)
        return [(mapping.source.name, str(mapping.destination), mapping.into) for mapping in plan.mappings]

    def test_case_070_sorted_whatever_their_order(self, load: Load) -> None:
        expected = [("y", "/a", False), ("x", "/b/c", False), ("z", "/d", True)]
        assert self.parsed(load, '[mappings]\nz = "/d/"\nx = "/b/c"\ny = "/a"\n') == expected
        assert self.parsed(load, '[mappings]\ny = "/a"\nz = "/d/"\nx = "/b/c"\n') == expected

    def test_both_tables_count(self, load: Load) -> None:
        text = '[mappings]\nx = "/b"\n[filesystem]\nmappings = { y = "/a" }\n'
        assert self.parsed(load, text) == [("y", "/a", False), ("x", "/b", False)]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ('[mappings]\nx = "/a"\ny = "/a"\n', "mappings.y: /a is the destination of mappings.x too"),
            ('[mappings]\nx = "/a"\ny = "//a/."\n', "mappings.y: /a is the destination of mappings.x too"),
            ('[mappings]\nx = "/a/"\n"b/x" = "/a/x"\n', 'mappings."b/x": /a/x is the destination of mappings.x too'),
            (
                '[mappings]\nx = "/a"\n[filesystem.mappings]\nx = "/a"\n',
                "filesystem.mappings.x: /a is the destination of mappings.x too",
            ),
        ],
    )
    def test_case_070_two_to_one_destination(self, problems: Problems, text: str, line: str) -> None:
        assert problems(OCI + text) == [f"fledge.toml: {line}"]

    def test_case_070_two_into_one_folder(self, load: Load) -> None:
        assert len(self.parsed(load, '[mappings]\nx = "/a/"\ny = "/a/"\n')) == 2

    def test_case_072_dots_in_names(self, load: Load) -> None:
        text = '[mappings]\nx = "/a..b"\ny = "/..."\nz = "/c/..d/"\n'
        assert self.parsed(load, text) == [("y", "/...", False), ("x", "/a..b", False), ("z", "/c/..d", True)]

    @pytest.mark.parametrize(
        ("destination", "message"),
        [
            ("etc/x", "'etc/x' is not absolute; a path in the guest starts with /"),
            ("", "'' is not absolute; a path in the guest starts with /"),
            ("/../x", "'/../x' has '..' as a path component"),
            ("/a/..", "'/a/..' has '..' as a path component"),
            ("/a/../b", "'/a/../b' has '..' as a path component"),
        ],
    )
    def test_a_destination_that_is_none(self, problems: Problems, destination: str, message: str) -> None:
        assert problems(f'{OCI}[mappings]\nx = "{destination}"\n') == [f"fledge.toml: mappings.x: {message}"]

    @pytest.mark.parametrize("source", ["", "a\\u0000b"])
    def test_a_source_that_is_none(self, problems: Problems, source: str) -> None:
        (line,) = problems(f'{OCI}[mappings]\n"{source}" = "/a"\n')
        assert line.endswith("is not a path of the host")

    def test_values(self, load: Load, tmp_path: Path) -> None:
        (mapping,) = load(OCI + '[mappings]\n"../x" = "/usr/bin/"\n').mappings
        assert mapping.source == tmp_path / "../x"
        assert mapping.destination == GuestPath((b"usr", b"bin"))
        assert mapping.origin == "fledge.toml"


class TestSettings:
    @pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"])
    def test_platform(self, load: Load, text: str) -> None:
        assert str(load(OCI, platform=text).platform) == text

    @pytest.mark.parametrize("text", ["", "linux", "amd64", "linux/", "linux/a/b/c", "windows/amd64"])
    def test_no_platform(self, problems: Problems, text: str) -> None:
        (line,) = problems(OCI, platform=text)
        assert line.startswith("--platform: ")

    @pytest.mark.parametrize(
        ("machine", "platform"),
        [
            ("x86_64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("armv7l", "linux/arm/v7"),
            ("riscv64", "linux/riscv64"),
        ],
    )
    def test_this_machine(self, monkeypatch: pytest.MonkeyPatch, machine: str, platform: str) -> None:
        import os

        real = os.uname()
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:4], machine)))
        assert str(this_platform()) == platform

    @pytest.mark.parametrize("text", ["0", "1", "1700000000", "9223372036"])
    def test_epoch(self, load: Load, text: str) -> None:
        assert load(OCI, environ={"SOURCE_DATE_EPOCH": text}).epoch == int(text)

    @pytest.mark.parametrize("text", ["", "-1", "1.5", " 1", "1e9", "0x1", "٣", "9223372037", "9" * 400])
    def test_no_epoch(self, problems: Problems, text: str) -> None:
        (line,) = problems(OCI, environ={"SOURCE_DATE_EPOCH": text})
        assert line.startswith("SOURCE_DATE_EPOCH: ")
        assert line.endswith("is not a number of seconds; allowed: 0 to 9223372036")

    @pytest.mark.parametrize("url", ["https://x.org/a.img", "http://x/a", "file:///a", "/srv/a.img"])
    def test_artifact_url(self, load: Load, url: str) -> None:
        assert load(OCI, artifact_url=url).artifact_url == url

    @pytest.mark.parametrize("url", ["", "x.img", "./x", "s3://a/b", "https:", "/", "https://"])
    def test_no_artifact_url(self, problems: Problems, url: str) -> None:
        (line,) = problems(OCI, artifact_url=url)
        assert line.startswith("--artifact-url: ")


class TestName:
    @pytest.mark.parametrize(
        ("text", "template", "name"),
        [(OCI, TEMPLATE, "web"), (OCI, None, "Web"), (INITRAMFS, TEMPLATE, "web"), (INITRAMFS, None, "folder")],
    )
    def test_comes_from(
        self, tmp_path: Path, catalog: Any, monkeypatch: pytest.MonkeyPatch, text: str, template: str | None, name: str
    ) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path("fledge.toml").write_text(text)
        if template:
            Path("manifest.toml").write_text(template)
        assert config.load(environ={}, catalog=catalog).name == name


def test_rootfs_of_the_template_needs_a_rootfs(problems: Problems, load: Load) -> None:
    template = TEMPLATE + "[rootfs]\nformat = 'raw'\n"
    assert load(OCI, template).manifest["rootfs"] == {"format": "raw"}
    assert problems(INITRAMFS, template) == [
        "fledge.toml: strategy: makes an initramfs, but the manifest template has [rootfs]"
    ]


class TestDirect:
    @pytest.fixture
    def direct(self, tmp_path: Path, catalog: Any, monkeypatch: pytest.MonkeyPatch) -> Load:
        monkeypatch.chdir(tmp_path)

        def planned(image: str, environ: Mapping[str, str] = {}, **flags: Any) -> BuildPlan:
            return config.plan_direct({"image": image}, environ=environ, catalog=catalog, **flags)

        return planned

    def test_defaults(self, direct: Load, tmp_path: Path) -> None:
        plan = direct("docker://ghcr.io/acme/Web:1")
        assert plan.strategy.name == "oci_rootfs"
        assert options(plan.strategy) == {"source": {"image": "docker://ghcr.io/acme/Web:1"}}
        assert plan.filesystem.name == "squashfs"
        assert plan.agent is not None
        assert plan.agent.name == "release"
        assert plan.base_dir == tmp_path
        assert plan.output == tmp_path / "web.img"
        assert plan.manifest == {}

    def test_an_initramfs(self, direct: Load, tmp_path: Path) -> None:
        plan = direct("nginx", initramfs=True)
        assert (plan.strategy.name, plan.filesystem.name, plan.artifact_kind) == ("initramfs", "cpio", "initramfs")
        assert direct("nginx", initramfs=True, output=Path("x.gz")).output == tmp_path / "x.gz"
        with pytest.raises(ConfigError, match=r"^--filesystem: 'ext4' does not go with the strategy 'initramfs'"):
            direct("nginx", initramfs=True, filesystem="ext4")

    @pytest.mark.parametrize(
        ("text", "agent"),
        [
            ("none", None),
            ("release", ("release", {"version": "latest"})),
            ("release:v0.6.5", ("release", {"version": "v0.6.5"})),
            ("local:./a:b", ("local", {"path": "./a:b"})),
            ("https://x.org/k", ("http", {"url": "https://x.org/k", "checksum": None})),
            ("http://x.org/k", ("http", {"url": "http://x.org/k", "checksum": None})),
        ],
    )
    def test_agent(self, direct: Load, text: str, agent: tuple[str, dict[str, Any]] | None) -> None:
        plan = direct("nginx", agent=text)
        assert (plan.agent and (plan.agent.name, options(plan.agent))) == agent

    @pytest.mark.parametrize("text", ["", "None", "release:", "local:", "local", "ftp://x", "./kestrel", "http:x"])
    def test_no_agent(self, direct: Load, text: str) -> None:
        with pytest.raises(ConfigError, match=r"^--agent: .* is not an agent; allowed: none, release, "):
            direct("nginx", agent=text)

    def test_problems_name_the_flags(self, direct: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            direct("", filesystem="ext5", agent="x", platform="linux", environ={"SOURCE_DATE_EPOCH": "x"})
        assert {problem.file for problem in caught.value.problems} == {
            "IMAGE", "--filesystem", "--agent", "--platform", "SOURCE_DATE_EPOCH",
        }  # fmt: skip
        assert not any(problem.key for problem in caught.value.problems)

    def test_only_a_named_template_counts(self, direct: Load, tmp_path: Path) -> None:
        (tmp_path / "manifest.toml").write_text(TEMPLATE)
        assert direct("nginx").manifest == {}
        plan = direct("nginx", manifest=Path("manifest.toml"))
        assert plan.manifest["version"] == "1.0.0"
        assert plan.output == tmp_path / "web.img"

    def test_output(self, direct: Load, tmp_path: Path) -> None:
        assert direct("nginx", output=Path("a/b.raw"), filesystem="ext4").output == tmp_path / "a/b.raw"
