"""What the command line and fledge.toml make of a Dockerfile. The builder is a test's own, and knows only FROM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fledge.testing import builders
from fledge.testing.oracles import need_root, need_tool
from fledge.testing.project import Project, site_packages
from fledge.testing.venvs import NOBODY, Venv, need_unprivileged_user

BUILDER = """
from fledge.image.reference import parse_reference
from fledge.kinds import Builder
from fledge.options import NoOptions
from fledge.sources import ImageRequest


class Acme(Builder):
    options_model = NoOptions

    def obstacle(self, request):
        return "ACME is set" if "ACME" in self.context.environ else None

    def build_image(self, request):
        told = {
            "args": dict(request.build_args), "target": request.target, "no_cache": request.no_cache,
            "secrets": {name: path.name for name, path in request.secrets.items()}, "epoch": request.epoch,
        }
        self.context.progress.info(f"{request.dockerfile.name} in {request.build_context.name}: {told}")
        reference, *others = map(parse_reference, request.dockerfile.read_text().split()[1:])
        return self.fetch_base(ImageRequest(reference, request.platform, request.base_dir, tuple(others)))
"""

ACME = ("--builder", "acme", "--agent", "none")


@pytest.fixture(autouse=True)
def dockerfile(project: Project, tmp_path: Path) -> Path:
    site_packages(tmp_path / "site", "acme-builder", {"fledge.builders": {"acme": "acme_builder:Acme"}})
    (tmp_path / "site" / "acme_builder.py").write_text(BUILDER)
    project.environ["PYTHONPATH"] = str(tmp_path / "site")
    path = project.folder / "Dockerfile"
    path.write_text("FROM oci:image:latest\n")
    return path


def test_a_dockerfile_becomes_a_root_filesystem(project: Project) -> None:
    built = project.build("./Dockerfile", *ACME)
    assert Path(built["artifact"]) == project.folder / "project.img"
    assert built["manifest"] == str(project.folder / "project.manifest.json")
    assert (built["source"], built["kind"]) == ("dockerfile:./Dockerfile", "rootfs")
    assert project.cat(built["artifact"], "/etc/motd") == b"welcome\n"
    assert project.manifest("project.manifest.json")["workload"]["entrypoint"] == ["/usr/bin/app", "--serve"]


@pytest.mark.parametrize("strategy", ["oci_rootfs", "initramfs"])
def test_the_config_gives_both_strategies_a_dockerfile(project: Project, strategy: str) -> None:
    (project.folder / "token").touch()
    (project.folder / "fledge.toml").write_text(
        f'version = "1"\nstrategy = "{strategy}"\n[agent]\nsource_strategy = "none"\n'
        '[source]\ndockerfile = "./Dockerfile"\nbuilder = "acme"\ntarget = "app"\nbuild_args = { A = "1" }\n'
        'secrets = { key = "./token" }\nno_cache = true\n'
        + ("[initramfs]\nbusybox = false\n" if strategy == "initramfs" else "")
    )
    project.environ["SOURCE_DATE_EPOCH"] = "7"
    done = project.run("build")
    assert project.cat(done.stdout.splitlines()[0], "/etc/motd") == b"welcome\n"
    assert "builder: acme, as asked for" in done.stderr
    told = {"args": {"A": "1"}, "target": "app", "no_cache": True, "secrets": {"key": "token"}, "epoch": 7}
    assert f"Dockerfile in project: {told}" in done.stderr
    assert "image: dockerfile:./Dockerfile for linux/" in done.stderr


def test_the_command_line_gives_the_same(project: Project) -> None:
    (project.folder / "token").touch()
    (project.folder / "web").mkdir()
    project.environ["FROM_OUTSIDE"] = "2"
    done = project.run(
        *("build", "--dockerfile", "Dockerfile", "--context", "web", "--target", "app", "--build-arg", "A=1=1"),
        *("--build-arg", "FROM_OUTSIDE", "--secret", "id=key,src=token", "--no-cache", "-o", "x.img", *ACME),
    )
    told = {"args": {"A": "1=1", "FROM_OUTSIDE": "2"}, "target": "app", "no_cache": True, "secrets": {"key": "token"}}
    assert f"Dockerfile in web: {told | {'epoch': None}}" in done.stderr
    assert done.stdout.splitlines()[0] == str(project.folder / "x.img")


@pytest.mark.parametrize("name", ["Dockerfile", "Containerfile"])
def test_a_folder_means_its_dockerfile(project: Project, dockerfile: Path, name: str) -> None:
    (project.folder / "web").mkdir()
    dockerfile.rename(project.folder / "web" / name)
    built = project.build("web", *ACME)
    assert (built["source"], Path(built["artifact"]).name) == (f"dockerfile:./web/{name}", "web.img")


def test_a_base_image_is_fetched_from_where_it_is_found(project: Project, dockerfile: Path) -> None:
    dockerfile.write_text("FROM oci:image:absent oci:image:latest\n")
    done = project.run("build", ".", *ACME)
    assert "no image with the tag 'absent'; it has: latest; looking at oci:image:latest" in done.stderr


def test_a_base_image_that_is_nowhere(project: Project, dockerfile: Path) -> None:
    dockerfile.write_text("FROM oci:image:absent\n")
    assert "no image with the tag 'absent'" in project.run("build", ".", *ACME, code=1).stderr
    assert project.leftovers() == []


def test_a_builder_that_is_asked_for_and_can_not(project: Project) -> None:
    project.environ["ACME"] = "1"
    said = project.run("build", ".", *ACME, code=1).stderr
    assert said == "fledge: error: the builder 'acme' can't build dockerfile:./Dockerfile: ACME is set\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent/Dockerfile"], "absent/Dockerfile is not there; expected a Dockerfile, its folder, or an image"),
        (["./absent"], "./absent is not there; expected a Dockerfile, its folder, or an image"),
        (["empty"], "the folder empty has no Dockerfile"),
        (["image"], "the folder image has no Dockerfile\n  hint: it is an image layout: oci:image"),
        (["fledge.toml"], "fledge.toml is not a Dockerfile\n  hint: a fledge.toml is named with --config fledge.toml"),
        (["image.tar"], "image.tar is not a Dockerfile\n  hint: an archive with an image is oci-archive:image.tar"),
        (["--dockerfile", "absent"], "invalid value for '--dockerfile': File 'absent' does not exist"),
        (["--dockerfile", "Dockerfile", "x"], "give either --dockerfile Dockerfile or x, not both"),
        (["Dockerfile", "--context", "Dockerfile"], "invalid value for '--context': Directory 'Dockerfile' is a file"),
        (["Dockerfile", "--config", "fledge.toml"], "give either --config or what to build directly ('Dockerfile')"),
        (
            ["oci:image:latest", "--target", "x"],
            "--target goes with a Dockerfile on the command line; oci:image:latest is",
        ),
        (["--build-arg", "A=1"], "--build-arg goes with a Dockerfile on the command line; with fledge.toml, the keys"),
        (["--no-cache"], "--no-cache goes with a Dockerfile on the command line"),
        (["--output-initramfs", "Dockerfile"], "--output-initramfs goes with a direct build; with fledge.toml"),
        (
            [".", "-o", "a", "--output-initramfs", "b"],
            "--output and --output-initramfs both name the artifact, and a build makes one; give one",
        ),
        ([".", "--output-initramfs", "--filesystem", "ext4"], "--filesystem: 'ext4' does not go with the strategy"),
        ([".", "--build-arg", "NO_SUCH"], "--build-arg: 'NO_SUCH' has no value, and the environment has no NO_SUCH"),
        ([".", "--build-arg", "A-B=1"], "--build-arg: 'A-B' is not the name of an ARG"),
        ([".", "--secret", "token"], "--secret: 'token' is not a secret; expected id=ID,src=PATH"),
        (
            [".", "--secret", "id=a,env=B,src=c"],
            "--secret: 'id=a,env=B,src=c' is not a secret; expected id=ID,src=PATH",
        ),
        ([".", "--secret", "id=a,src=absent"], "--secret: absent is not there; expected a file"),
        ([".", "--builder", "amce"], "--builder: unknown builder 'amce'; installed: acme"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_in_one_line(
    project: Project, arguments: list[str], said: str
) -> None:
    project.config()
    (project.folder / "empty").mkdir()
    (project.folder / "image.tar").write_bytes(bytes(1024))
    told = project.run("build", *arguments, code=2).stderr
    assert told.startswith(f"fledge: error: {said}")
    assert len(told.splitlines()) <= 2
    assert (project.folder / "Dockerfile").read_text() == "FROM oci:image:latest\n"


def test_a_mode_that_is_none(project: Project) -> None:
    project.environ["FLEDGE_BUILDKIT_MODE"] = "embeded"
    said = project.run("build", ".", "--agent", "none", code=2).stderr
    assert "FLEDGE_BUILDKIT_MODE is 'embeded'; allowed: embedded, daemon, docker, buildah\n" in said


@pytest.mark.parametrize("strategy", ["oci_rootfs", "initramfs"])
def test_a_builder_around_another_program_gets_its_base_image_from_us(
    project: Project, dockerfile: Path, strategy: str
) -> None:
    need_root()
    need_tool("buildah")
    dockerfile.write_text("FROM oci:./image:latest\nCOPY fresh /srv/\n")
    (project.folder / "fresh").write_text("fresh\n")
    (project.folder / "fledge.toml").write_text(
        f'version = "1"\nstrategy = "{strategy}"\n[agent]\nsource_strategy = "none"\n'
        '[source]\ndockerfile = "./Dockerfile"\nbuilder = "buildah"\n'
        + ("[initramfs]\nbusybox = false\n" if strategy == "initramfs" else "")
    )
    artifact = project.build()["artifact"]
    assert project.cat(artifact, "/etc/motd") == b"welcome\n"
    assert project.cat(artifact, "/srv/fresh") == b"fresh\n"
    assert project.inside(artifact)["/usr/bin/app"]["mode"] == "4755"
    assert project.leftovers() == []


@pytest.mark.parametrize("builder", ["microvm", "buildah"])
def test_the_artifact_to_be_is_no_part_of_the_context(project: Project, dockerfile: Path, builder: str) -> None:
    need_root()
    need_tool("buildah")
    dockerfile.write_text("FROM scratch\nCOPY . /context/\n")
    (project.folder / ".dockerignore").write_text("image\ncache\n")
    project.run("build", ".", "--builder", builder, "--agent", "none")
    (artifact,) = project.folder.glob("*.img")
    found = {path for path in project.inside(artifact) if path.startswith("/context/")}
    assert found == {"/context/.dockerignore", "/context/Dockerfile"}


def test_buildah_without_root(installed: Venv, public: Path) -> None:
    """As nobody, with ranges of ids that only this test's mount namespace has: newuidmap reads them there."""
    need_unprivileged_user()
    need_tool("buildah")
    need_tool("newuidmap", "uidmap")
    project = Project(public / "project")
    builders.request(project.folder, builders.STAGES)
    (public / "ranges").write_text("nobody:3000000:65536\n")
    home = public / "home"  # Not the context: buildah writes there while it copies.
    home.mkdir()
    for path in (home, project.folder, *project.folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    mounts = " && ".join(f"mount --bind {public / 'ranges'} /etc/{name}" for name in ("subuid", "subgid"))
    project.program = (
        *("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"),
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", str(installed.fledge)),
    )
    project.environ |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    built = project.build(".", "--builder", "buildah", "--agent", "none", "--filesystem", "ext4")

    facts = project.inside(built["artifact"])["/app/file"]
    assert (facts["mode"], facts["uid"], facts["gid"]) == ("4750", 7, 8), facts
    assert project.leftovers() == []
