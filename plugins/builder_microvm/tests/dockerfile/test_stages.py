"""Stages, variables and the image config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fledge.errors import BuildError
from fledge.testing.dockerfiles import Project
from fledge.testing.images import Blobs, tar
from fledge.values import Platform

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(
    ("rows", "arguments", "env"),
    [
        ("ENV a=1 b=$a", {}, {"a": "1", "b": ""}),
        ("ENV a=1\nENV a=2 b=$a\nENV c=$a", {}, {"a": "2", "b": "1", "c": "2"}),
        ("ENV PATH=/x:$PATH", {}, {"PATH": f"/x:{PATH}"}),
        ("ENV a x  y", {}, {"a": "x  y"}),
        ("ARG a=1\nENV b=$a", {}, {"b": "1"}),
        ("ARG a=1\nENV b=$a", {"a": "given"}, {"b": "given"}),
        ("ARG a\nENV b=${a:-none}", {}, {"b": "none"}),
        ("ENV b=$a\nARG a", {"a": "given"}, {"b": ""}),
        ("ARG a=1\nARG a\nENV b=$a", {}, {"b": "1"}),
        ("ARG a=1 b=$a\nENV c=$b", {}, {"c": "1"}),
        ("ARG a=1\nARG b=$a\nENV c=$b", {}, {"c": "1"}),
        ("ARG a=1\nENV a=2\nENV b=$a", {"a": "given"}, {"a": "2", "b": "2"}),
        ("ENV a=1\nARG a=2\nENV b=$a", {}, {"a": "1", "b": "2"}),
        ("ARG outer\nENV a=$outer", {}, {"a": "from outside"}),
        ("ARG outer=in\nENV a=$outer", {}, {"a": "in"}),
        ("ARG outer\nENV a=$outer", {"outer": "given"}, {"a": "given"}),
        ("ENV a=$outer", {"outer": "given"}, {"a": ""}),
        ("ARG TARGETARCH\nARG TARGETPLATFORM\nENV a=$TARGETARCH b=$TARGETPLATFORM c=$TARGETOS", {}, {"a": "amd64", "b": "linux/amd64", "c": ""}),
        ("ENV a=$HTTP_PROXY", {"HTTP_PROXY": "http://p"}, {"a": ""}),
        ("ARG HTTP_PROXY\nENV a=$HTTP_PROXY", {"HTTP_PROXY": "http://p"}, {"a": "http://p"}),
    ],
)  # fmt: skip
def test_scopes(project: Project, rows: str, arguments: dict[str, str], env: dict[str, str]) -> None:
    built = project.build(f'ARG outer="from outside"\nFROM scratch\n{rows}\n', build_args=arguments)
    assert built.env == {"PATH": PATH, **env}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('CMD ["a", "b"]', {"Cmd": ["a", "b"]}),
        ("CMD a $b", {"Cmd": ["/bin/sh", "-c", "a $b"]}),
        ('SHELL ["/bin/bash", "-ec"]\nCMD a\nENTRYPOINT b', {"Shell": ["/bin/bash", "-ec"], "Cmd": ["/bin/bash", "-ec", "a"], "Entrypoint": ["/bin/bash", "-ec", "b"]}),
        ("EXPOSE 80 81/udp 90-92/TCP", {"ExposedPorts": {"80/tcp": {}, "81/udp": {}, "90/tcp": {}, "91/tcp": {}, "92/tcp": {}}}),
        ('ARG p="1 2/udp"\nEXPOSE $p 3', {"ExposedPorts": {"1/tcp": {}, "2/udp": {}, "3/tcp": {}}}),
        ("VOLUME /a /b\nVOLUME [\"/c d\"]", {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
        ("ARG x=k\nLABEL $x=\"v $x\" a.b='c'\nLABEL a.b=d", {"Labels": {"k": "v k", "a.b": "d"}}),
        ("ARG u=1:2\nUSER $u", {"User": "1:2"}),
        ("STOPSIGNAL SIGRTMIN+3", {"StopSignal": "SIGRTMIN+3"}),
        ("STOPSIGNAL term", {"StopSignal": "term"}),
        ("STOPSIGNAL 64", {"StopSignal": "64"}),
        ("HEALTHCHECK --interval=1m --retries=2 CMD a || b", {"Healthcheck": {"Test": ["CMD-SHELL", "a || b"], "Interval": 60 * 10**9, "Retries": 2}}),
        ('HEALTHCHECK CMD ["a"]', {"Healthcheck": {"Test": ["CMD", "a"]}}),
        ("HEALTHCHECK CMD a\nHEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("ONBUILD RUN a  b", {"OnBuild": ["RUN a  b"]}),
        ("WORKDIR /a\nWORKDIR b/../c\nWORKDIR .././d/", {"WorkingDir": "/a/d"}),
        ("WORKDIR ../../x", {"WorkingDir": "/x"}),
        ('CMD ["a"]\nENTRYPOINT ["b"]', {"Cmd": ["a"], "Entrypoint": ["b"]}),
        ("ENTRYPOINT []", {"Entrypoint": []}),
    ],
)  # fmt: skip
def test_config(project: Project, rows: str, expected: dict[str, object]) -> None:
    config = project.build(f"FROM scratch\n{rows}\n").config
    assert config == {"Env": [f"PATH={PATH}"], "WorkingDir": "/", **expected}


def test_source_date_epoch_is_an_argument(project: Project) -> None:
    text = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV a=$SOURCE_DATE_EPOCH\n"
    assert (project.build(text).env["a"], project.build(text, epoch=77).env["a"]) == ("", "77")


def test_the_author(project: Project) -> None:
    assert project.build("FROM scratch\nMAINTAINER me <me@example.org>\n").document["author"] == "me <me@example.org>"


def test_a_stage_goes_on_from_another(project: Project) -> None:
    built = project.build(
        'FROM scratch AS Base\nARG a=1\nENV e=$a\nCMD ["c"]\nUSER u\nFROM base\nENV f=$a\nENTRYPOINT ["x"]\n'
    )
    assert (built.env["e"], built.env["f"]) == ("1", "1")
    assert built.config["User"] == "u"
    assert "Cmd" not in built.config, "ENTRYPOINT resets the Cmd of what a stage is based on"


def test_only_needed_stages_are_built(project: Project) -> None:
    project.write("a")
    text = "FROM scratch AS one\nCOPY a /one\nFROM scratch AS two\nCOPY nowhere /\nFROM one\nCOPY a /three\n"
    assert project.build(text).paths == ["one", "three"]
    assert project.build(text, target="ONE").paths == ["one"]
    assert project.build(text, target="0").paths == ["one"]
    with pytest.raises(BuildError, match="Dockerfile:4: COPY: 'nowhere' is not in the build context"):
        project.build(text, target="two")
    with pytest.raises(BuildError, match="Dockerfile: there is no stage 'four'; there are: one, two, 2"):
        project.build(text, target="four")


def test_arguments_choose_stages(project: Project) -> None:
    project.write("a")
    text = "ARG which=one\nFROM scratch AS one\nCOPY a /1\nFROM scratch AS two\nCOPY a /2\nFROM ${which}\n"
    assert project.build(text).paths == ["1"]
    assert project.build(text, build_args={"which": "two"}).paths == ["2"]


@pytest.mark.parametrize(
    ("more", "paths", "stage"),
    [
        ({}, ["amd64"], "last"),
        ({"build_args": {"TARGETARCH": "mine"}}, ["mine"], "last"),
        ({"target": "LAST"}, ["amd64"], "LAST"),
        ({"target": "3"}, ["amd64"], "3"),
        ({"build_args": {"TARGETSTAGE": "x"}}, ["amd64"], "x"),
    ],
)
def test_automatic_arguments(project: Project, more: dict[str, Any], paths: list[str], stage: str) -> None:
    project.write("a")
    text = (
        "ARG base=$TARGETARCH\nFROM scratch AS amd64\nCOPY a /amd64\nFROM scratch AS mine\nCOPY a /mine\n"
        "FROM $base AS between\nARG TARGETSTAGE\nENV s=$TARGETSTAGE\nFROM between AS last\n"
    )
    built = project.build(text, **more)
    assert (built.paths, built.env["s"]) == (paths, stage)


def test_the_last_stage_without_a_name_is_the_default(project: Project) -> None:
    assert project.build("FROM scratch\nARG TARGETSTAGE\nENV s=$TARGETSTAGE\n").env["s"] == "default"


def test_copying_from_stages(project: Project) -> None:
    project.write("a")
    text = "FROM scratch AS Early\nCOPY a /x\nFROM scratch\nCOPY --from=eARLY /x /y\n"
    assert project.build(text).paths == ["y"]
    text = "FROM scratch\nCOPY a /x\nFROM scratch\nCOPY --from=0 / /z/\n"
    assert project.build(text).paths == ["z", "z/x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ENV a=1\nFROM scratch", "Dockerfile:1: only ARG can stand before the first FROM"),
        ("# nothing", "Dockerfile: it has no FROM"),
        ("ARG a\nFROM $a", "Dockerfile:2: FROM: \\$a: the name of the image is empty"),
        ("FROM --platform=$unset scratch", "Dockerfile:1: FROM: malformed platform ''"),
        ("FROM --platform=x scratch", "Dockerfile:1: FROM: malformed platform 'x'"),
        ("FROM scratch\nCOPY --from=b / /\nFROM scratch AS b\nFROM 0\nCOPY --from=0 / /", "Dockerfile:2: COPY: --from=b: the stage b has to come before this one"),
        ("FROM scratch AS a\nCOPY --from=a / /", "Dockerfile:2: COPY: --from=a: the stage a has to come before this one"),
        ("FROM scratch AS a\nFROM scratch\nCOPY --from=7 / /", "Dockerfile:3: COPY: --from=7: there is no such stage; there are: a, 1"),
        ("FROM scratch\nCOPY --from=$x / /", "Dockerfile:2: COPY: --from=\\$x: variables are not replaced here"),
        ("FROM scratch\nEXPOSE http", "Dockerfile:2: EXPOSE: 'http' is not a port"),
        ("FROM scratch\nEXPOSE 70000", "Dockerfile:2: EXPOSE: '70000' is not a port"),
        ("FROM scratch\nEXPOSE 9-8", "Dockerfile:2: EXPOSE: '9-8' is not a port"),
        ("FROM scratch\nSTOPSIGNAL SIGNOW", "Dockerfile:2: STOPSIGNAL: 'SIGNOW' is not a signal"),
        ("FROM scratch\nSTOPSIGNAL 65", "Dockerfile:2: STOPSIGNAL: '65' is not a signal"),
        ("FROM scratch\n\n\nENV a=${b", "Dockerfile:4: ENV: .* in '\\${b'"),
        ("FROM oci:nowhere", "Dockerfile:1: FROM: "),
        ("FROM docker://UPPER", "Dockerfile:1: FROM: malformed image reference"),
    ],
)  # fmt: skip
def test_mistakes(project: Project, text: str, message: str) -> None:
    with pytest.raises(BuildError, match=f"^{message}"):
        project.build(text)


def test_a_dockerfile_that_is_not_utf8(project: Project) -> None:
    project.write("Dockerfile", b"FROM scratch\nENV a=\xff\n")
    with pytest.raises(BuildError, match=r"^Dockerfile:2: it is not UTF-8"):
        project.build()


def test_an_error_that_begins_as_its_place_does(project: Project) -> None:
    project.write("a")
    path = project.write("no user/Dockerfile", "FROM scratch\nCOPY --chown=bob a /\n")
    with pytest.raises(BuildError, match=r"^no user/Dockerfile:2: COPY: no user 'bob' in the image's /etc/passwd"):
        project.build(None, dockerfile=path)


def test_scratch_is_empty(project: Project) -> None:
    assert project.build("FROM scratch\nCOPY --from=scratch / /x\n").paths == ["x"]


def test_places_name_the_file(project: Project) -> None:
    path = project.write("docker/My.Dockerfile", "FROM scratch\nFOO\n")
    with pytest.raises(BuildError, match=r"^docker/My.Dockerfile:2: unknown instruction FOO"):
        project.build(None, dockerfile=path)


def test_an_argument_that_nothing_declares_is_told(project: Project) -> None:
    built = project.build("FROM scratch\nARG a\n", build_args={"a": "1", "b": "2", "HTTPS_PROXY": "3"})
    assert built.log.texts("warning") == ["the build argument b is not declared by any ARG"]


class TestBases:
    """FROM an image; each transport has its own tests."""

    @pytest.fixture
    def layout(self, project: Project) -> Path:
        blobs = Blobs()
        config = {
            "Env": ["A=base", "PATH=/only"], "Cmd": ["base"], "User": "7", "WorkingDir": "/srv", "Labels": {"l": "1"},
            "OnBuild": ["COPY trigger /triggered", "ENV T=$A"],
        }  # fmt: skip
        plain = blobs.image(
            tar({"etc/passwd": b"bob:x:5:6::/:/bin/sh\n", "data": b"d"}), created="2024-05-06T07:08:09.5Z"
        )
        other = blobs.image(tar({"arm": b""}), platform="linux/arm64")
        tops = {
            "plain": blobs.index(plain, other),
            "asks": blobs.image(tar({"f": b""}), config={"OnBuild": ["ARG a", "ENV A=$a"]}),
            "full": blobs.image(tar({"f": b""}), config=config, history=[{"created_by": "x"}], author="them"),
        }
        return blobs.layout(project.folder / "layout", tops)

    def test_config_is_inherited(self, project: Project, layout: Path) -> None:
        project.write("trigger", "t")
        built = project.build("FROM oci:./layout:full\nENV B=$A\n")
        assert built.env == {"A": "base", "PATH": "/only", "T": "base", "B": "base"}
        assert {key: built.config[key] for key in ("Cmd", "User", "WorkingDir", "Labels")} == {
            "Cmd": ["base"], "User": "7", "WorkingDir": "/srv", "Labels": {"l": "1"},
        }  # fmt: skip
        assert "OnBuild" not in built.config, "triggers are run once"
        assert built.read("/triggered") == b"t"
        assert built.document["author"] == "them"
        assert [entry["created_by"] for entry in built.document["history"]] == [
            "x", "COPY trigger /triggered", "ENV T=$A", "ENV B=$A",
        ]  # fmt: skip

    def test_a_trigger_declares_an_argument(self, project: Project, layout: Path) -> None:
        built = project.build("FROM oci:layout:asks\n", build_args={"a": "1", "b": "2"})
        assert built.env["A"] == "1"
        assert built.log.texts("warning") == ["the build argument b is not declared by any ARG"]

    def test_triggers_are_steps(self, project: Project, layout: Path) -> None:
        project.write("trigger")
        told = project.build("FROM oci:layout:full\nENV B=1\n").log.texts("info")
        assert [line for line in told if line.startswith("step")] == [
            "step 1/4 FROM oci:layout:full", "step 2/4 COPY trigger /triggered", "step 3/4 ENV T=$A", "step 4/4 ENV B=1",
        ]  # fmt: skip

    def test_a_trigger_that_fails_is_the_froms(self, project: Project, layout: Path) -> None:
        with pytest.raises(BuildError, match=r"^Dockerfile:2: ONBUILD: COPY: 'trigger' is not in the build context"):
            project.build("\nFROM oci:layout:full\n")

    def test_created_is_the_bases_or_that_of_the_environment(self, project: Project, layout: Path) -> None:
        text = "FROM oci:layout:plain\nWORKDIR /new\n"
        built = project.build(text)
        assert built.document["created"] == "2024-05-06T07:08:09.5Z"
        inode = built.get("/new")
        assert inode is not None
        assert inode.mtime == built.source.config.created
        built = project.build(text, epoch=1_000_000_000)
        assert built.document["created"] == "2001-09-09T01:46:40Z"
        assert built.document["history"][-1]["created"] == "2001-09-09T01:46:40Z"

    def test_nothing_is_created_where_nobody_says_when(self, project: Project) -> None:
        assert "created" not in project.build("FROM scratch\nENV a=1").document

    def test_platforms(self, project: Project, layout: Path) -> None:
        assert project.build("FROM --platform=linux/arm64 oci:layout:plain\n").paths == ["arm"]
        built = project.build("FROM --platform=$TARGETPLATFORM oci:layout:plain\n", platform=Platform("linux", "arm64"))
        assert built.paths == ["arm"]
        assert built.document["architecture"] == "arm64"
        assert built.source.config.platform == Platform("linux", "arm64")

    def test_names_are_looked_up_in_the_image(self, project: Project, layout: Path) -> None:
        project.write("a")
        inode = project.build("FROM oci:layout:plain\nCOPY --chown=bob a /a\n").get("/a")
        assert inode is not None
        assert (inode.uid, inode.gid) == (5, 6)

    def test_copying_from_an_image(self, project: Project, layout: Path) -> None:
        built = project.build("FROM scratch\nCOPY --from=oci:layout:plain /data /etc/ /x/\n")
        assert built.paths == ["x", "x/data", "x/passwd"]


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"OnBuild": 5}, {}, "config: OnBuild: a list of strings is expected, not a number"),
        ({"OnBuild": [5]}, {}, "config: OnBuild: a string is expected, not a number"),
        ({"Shell": 5}, {}, "config: Shell: a list of strings is expected, not a number"),
        ({"Labels": ["a"]}, {}, "config: Labels: an object is expected, not a list"),
        ({"Volumes": ["a"]}, {}, "config: Volumes: an object is expected, not a list"),
        ({}, {"history": 5}, "history: a list is expected, not a number"),
        ({}, {"history": [5]}, "history\\[0\\]: an object is expected, not a number"),
    ],
)
def test_a_base_whose_config_is_malformed(
    project: Project, config: dict[str, object], more: dict[str, object], message: str
) -> None:
    blobs = Blobs()
    blobs.layout(project.folder / "layout", {"x": blobs.image(tar({}), config=config, **more)})
    with pytest.raises(BuildError, match=f"^Dockerfile:1: FROM: the image's config: {message}"):
        project.build("FROM oci:layout:x\nLABEL a=b\nVOLUME /b\n")


def test_what_docker_takes_in_a_base_too(project: Project) -> None:
    blobs = Blobs()
    config = {"Shell": "sh", "Env": "A=1", "WorkingDir": "app", "Labels": None, "OnBuild": "LABEL b=$A"}
    blobs.layout(project.folder / "layout", {"x": blobs.image(tar({}), config=config, history=None)})
    built = project.build("FROM oci:layout:x\nCMD a\nWORKDIR b\n")
    assert built.config == {
        "Cmd": ["sh", "a"], "Env": ["A=1", f"PATH={PATH}"], "Labels": {"b": "1"}, "Shell": ["sh"], "WorkingDir": "/app/b",
    }  # fmt: skip
    assert len(built.document["history"]) == 3


def test_the_image_source(project: Project) -> None:
    project.write("a")
    built = project.build("FROM scratch\nCOPY a /\nENV b=1\n")
    source = built.source
    assert str(source.reference) == "dockerfile:./Dockerfile"
    assert [str(layer.diff_id) for layer in source.layers] == built.document["rootfs"]["diff_ids"]
    assert list(source.config.diff_ids) == [layer.diff_id for layer in source.layers]
    assert json.loads(source.config.raw)["history"] == [
        {"created_by": "COPY a /"},
        {"created_by": "ENV b=1", "empty_layer": True},
    ]


def test_steps_are_told(project: Project) -> None:
    project.write("a")
    assert project.build("FROM scratch\nCOPY a /\n").log.texts("info") == ["step 1/2 FROM scratch", "step 2/2 COPY a /"]
    text = "FROM scratch AS one\nCOPY a /\nFROM one\nENV a=1\n"
    assert project.build(text).log.texts("info") == [
        "one: step 1/2 FROM scratch AS one",
        "one: step 2/2 COPY a / (cached)",
        "1: step 1/2 FROM one",
        "1: step 2/2 ENV a=1",
    ]
