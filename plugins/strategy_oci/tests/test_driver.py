from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fledge import drivers
from fledge.errors import BuildError, UsageError
from fledge.options import NoOptions, Options
from fledge.plan import BuildPlan, Choice
from fledge.sources import AgentRequest, DockerfileRequest, FileSource, ImageReference, ImageRequest, ImageSource
from fledge.testing.builds import Log, context
from fledge.testing.images import Blobs
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File, Inode, Symlink
from fledge.tree.tree import Tree
from fledge.values import Digest, GuestPath, Platform
from fledge_fs_squashfs.options import SquashfsOptions
from fledge_guest import Workload, init_binary
from fledge_strategy_oci.driver import AGENT, IMAGE_CONFIG, OciRootfs, add_file
from fledge_strategy_oci.options import OciRootfsOptions

AMD64 = Platform("linux", "amd64")
CREATED = "2024-02-03T04:05:06.789Z"
CREATED_NS = 1_706_933_106_789_000_000
SCRIPT = b"#!/bin/sh\n"


def options(image: str) -> OciRootfsOptions:
    return OciRootfsOptions.model_validate({"source": {"image": image}})


def plan(tmp_path: Path, image: str = "nginx:alpine", **more: Any) -> BuildPlan:
    return BuildPlan(
        **{
            "base_dir": tmp_path,
            "strategy": Choice("oci_rootfs", options(image)),
            "filesystem": Choice("squashfs", NoOptions()),
            "agent": Choice("local", NoOptions()),
            "mappings": (),
            "manifest": {},
            "platform": AMD64,
            **more,
        }
    )


def driver(tmp_path: Path, image: str = "nginx:alpine", log: Log | None = None, **environ: str) -> OciRootfs:
    return OciRootfs("oci_rootfs", options(image), context(tmp_path / "cache", log, environ))


def layer(*members: tuple[str, bytes | str | None]) -> bytes:
    """A tar of files (bytes), symlinks (str) and directories (None)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = 77, 0o755 if what is None else 0o644
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            else:
                info.size = len(what)
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return buffer.getvalue()


def layout(folder: Path, *layers: bytes, **config: Any) -> bytes:
    """Writes an OCI layout, and returns its config document."""
    blobs = Blobs()
    top = blobs.image(*layers, **{"config": {"Entrypoint": ["/bin/sh"]}, **config})
    blobs.layout(folder, {"latest": top})
    manifest = json.loads(blobs.by_digest[top["digest"]])
    return blobs.by_digest[manifest["config"]["digest"]]


def fetch(tmp_path: Path, strategy: OciRootfs) -> ImageSource:
    """The image, through the real transport."""
    request = ImageRequest(ImageReference("oci", str(tmp_path / "image")), AMD64)
    transport = drivers.load("transport", "oci")("oci", NoOptions(), strategy.context)
    source = transport.fetch_image(request)  # type: ignore[attr-defined]
    assert isinstance(source, ImageSource)
    return source


def agent() -> FileSource:
    return FileSource(Content.of(SCRIPT), Digest.of(SCRIPT), "test")


def entry(tree: Tree, path: str) -> Inode:
    """By the entries alone, without following symlinks."""
    inode: Inode = tree.root
    for part in GuestPath.parse(path).parts:
        assert isinstance(inode, Directory)
        inode = inode.entries[part]
    return inode


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("docker://nginx:alpine", ImageReference("docker", "//nginx:alpine")),
        ("nginx:alpine", ImageReference("docker", "//nginx:alpine")),
        ("oci:./layout:tag", ImageReference("oci", "./layout:tag")),
    ],
)
def test_the_image_comes_first_and_then_the_agent(tmp_path: Path, image: str, reference: ImageReference) -> None:
    base = str(tmp_path)
    requests = driver(tmp_path, image).requests(plan(tmp_path, image))
    assert requests == [ImageRequest(reference, AMD64, base), AgentRequest("local", AMD64, base)]
    assert driver(tmp_path, image).requests(plan(tmp_path, image, agent=None)) == requests[:1]


def test_a_bare_reference_is_looked_for_in_the_daemon_first(tmp_path: Path) -> None:
    strategy = driver(tmp_path, DOCKER_HOST="tcp://127.0.0.1:1")
    request = strategy.requests(plan(tmp_path, agent=None))[0]
    assert isinstance(request, ImageRequest)
    assert (str(request.reference), [str(other) for other in request.others]) == (
        "docker-daemon:nginx:alpine",
        ["docker://nginx:alpine"],
    )


def requested(folder: Path, **source: object) -> DockerfileRequest:
    strategy = driver(folder)
    strategy.options = OciRootfsOptions.model_validate({"source": source})
    request = strategy.requests(plan(folder, agent=None))[0]
    assert isinstance(request, DockerfileRequest)
    return request


def test_a_dockerfile_is_requested_with_all_that_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").touch()
    (tmp_path / "token").touch()
    request = requested(
        tmp_path,
        dockerfile="./web/Dockerfile",
        context=".",
        target="app",
        build_args={"A": "1"},
        builder="docker",
        secrets={"token": "./token"},
        no_cache=True,
    )
    assert request == DockerfileRequest(
        tmp_path / "web" / "Dockerfile",
        tmp_path,
        AMD64,
        driver="docker",
        target="app",
        build_args={"A": "1"},
        secrets={"token": tmp_path / "token"},
        no_cache=True,
        base_dir=str(tmp_path),
    )
    assert str(request.reference) == "dockerfile:./web/Dockerfile"


def test_a_dockerfile_alone_may_copy_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").touch()
    request = requested(tmp_path, dockerfile="web/Dockerfile", target="")
    assert (request.build_context, request.target, request.driver) == (tmp_path / "web", None, None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"dockerfile": "absent"}, "source.dockerfile: .*/absent is not there; expected a file"),
        ({"dockerfile": "."}, "source.dockerfile: .* is no file; expected a file"),
        ({"dockerfile": "D", "context": "absent"}, "source.context: .*/absent is not there; expected a folder"),
        ({"dockerfile": "D", "context": "D"}, "source.context: .*/D is no folder; expected a folder"),
        ({"dockerfile": "D", "secrets": {"x": "absent"}}, "source.secrets.x: .*/absent is not there; expected a file"),
    ],
)
def test_what_a_dockerfile_needs_must_be_there(tmp_path: Path, source: dict[str, object], message: str) -> None:
    (tmp_path / "D").touch()
    with pytest.raises(UsageError, match=message):
        requested(tmp_path, **source)


@pytest.mark.parametrize(
    ("name", "file"), [("nginx", "nginx-rootfs.img"), ("My App", "my-app-rootfs.img"), ("a/b", "a-b-rootfs.img")]
)
def test_the_artifacts_name(tmp_path: Path, name: str, file: str) -> None:
    assert driver(tmp_path).artifact_name(plan(tmp_path, name=name)) == file


def test_a_tree_of_layers_config_and_agent(tmp_path: Path) -> None:
    document = layout(
        tmp_path / "image",
        layer(("etc", None), ("etc/passwd", b"root"), ("usr/bin", None), ("bin", "usr/bin"), ("gone", b"")),
        layer(("etc/passwd", b"changed"), (".wh.gone", b"")),
        created=CREATED,
    )
    log = Log()
    strategy = driver(tmp_path, log=log)
    image = fetch(tmp_path, strategy)
    tree = strategy.assemble_tree(plan(tmp_path), [image, agent()])
    assert sorted(path for path, _ in tree.walk()) == [
        b"",
        b".fledge",
        b".fledge/init",
        b".fledge/workload",
        b"bin",
        b"etc",
        b"etc/fsify-entrypoint",
        b"etc/passwd",
        b"usr",
        b"usr/bin",
        b"usr/bin/kestrel",
    ]
    saved = entry(tree, "/etc/fsify-entrypoint")
    assert isinstance(saved, File)
    assert saved.content.read() == document
    kestrel = entry(tree, "/usr/bin/kestrel")
    assert isinstance(kestrel, File)
    assert kestrel.content.read() == SCRIPT
    for inode, mode in ((saved, 0o644), (kestrel, 0o755)):
        assert (inode.mode, inode.uid, inode.gid, inode.mtime) == (mode, 0, 0, CREATED_NS)
    assert entry(tree, "/usr").mtime == CREATED_NS, "a parent that no layer lists"
    assert entry(tree, "/etc").mtime == 77 * 10**9
    assert tree.image is not None
    assert tree.image.entrypoint == ("/bin/sh",)
    assert tree.origin == f"oci:{tmp_path}/image"
    assert log.texts("info")[-1] == f"image: oci:{tmp_path}/image for linux/amd64, {image.digest}"


@pytest.mark.parametrize(
    ("config", "epoch", "expected"),
    [
        ({"created": CREATED}, None, CREATED_NS),
        ({"created": CREATED}, 5, 5 * 10**9),
        ({"created": CREATED}, 0, 0),
        ({}, None, 0),
        ({}, 5, 5 * 10**9),
    ],
)
def test_the_epoch(tmp_path: Path, config: Mapping[str, Any], epoch: int | None, expected: int) -> None:
    layout(tmp_path / "image", layer(("usr/bin/sh", SCRIPT)), **config)
    strategy = driver(tmp_path)
    tree = strategy.assemble_tree(plan(tmp_path, epoch=epoch), [fetch(tmp_path, strategy)])
    assert tree.epoch == expected
    assert entry(tree, "/usr").mtime == expected
    assert entry(tree, "/etc/fsify-entrypoint").mtime == expected


def test_no_layers_and_no_agent(tmp_path: Path) -> None:
    layout(tmp_path / "image")
    strategy = driver(tmp_path)
    tree = strategy.assemble_tree(plan(tmp_path, agent=None), [fetch(tmp_path, strategy)])
    assert [path for path, _ in tree.walk() if not path.startswith(b".fledge")] == [
        b"",
        b"etc",
        b"etc/fsify-entrypoint",
    ]
    assert (tree.root.mode, entry(tree, "/etc").mode) == (0o755, 0o755)


CONFIG = {
    "Entrypoint": ["/app"],
    "Cmd": ["--port", "80"],
    "Env": ["PATH=/bin", "A=1"],
    "WorkingDir": "srv",
    "User": "app",
    "StopSignal": "SIGQUIT",
}


def described(tree: Tree) -> bytes:
    inode = entry(tree, "/.fledge/workload")
    assert isinstance(inode, File)
    assert (inode.mode, inode.uid, inode.gid, inode.mtime) == (0o644, 0, 0, tree.epoch)
    return inode.content.read()


@pytest.mark.parametrize(
    ("manifest", "filesystem", "with_agent", "expected"),
    [
        (
            {},
            NoOptions(),
            False,
            Workload(("/app", "--port", "80"), {"A": "1", "PATH": "/bin"}, "/srv", "app", stop_signal=3),
        ),
        (
            {"workload": {"type": "exec", "entrypoint": ["/other"], "env": {"A": "2"}, "workdir": "/", "user": "0:0"}},
            SquashfsOptions(overlay_size="50%"),
            False,
            Workload(("/other",), {"A": "2", "PATH": "/bin"}, "/", "0:0", overlay_size="50%", stop_signal=3),
        ),
        (
            {},
            SquashfsOptions(),
            True,
            Workload(
                ("/app", "--port", "80"),
                {"A": "1", "PATH": "/bin"},
                "/srv",
                "app",
                handover="/bin/kestrel",
                overlay_size="1G",
                stop_signal=3,
            ),
        ),
    ],
    ids=["image", "manifest", "agent"],
)
def test_the_guest_init_and_what_it_is_told(
    tmp_path: Path, manifest: Mapping[str, Any], filesystem: Options, with_agent: bool, expected: Workload
) -> None:
    layout(tmp_path / "image", config=CONFIG)
    strategy = driver(tmp_path)
    chosen = plan(tmp_path, manifest=manifest, filesystem=Choice("any", filesystem))
    tree = strategy.assemble_tree(chosen, [fetch(tmp_path, strategy), *([agent()] if with_agent else [])])
    init = entry(tree, "/.fledge/init")
    assert isinstance(init, File)
    assert (init.mode, init.uid, init.gid, init.mtime) == (0o755, 0, 0, tree.epoch)
    assert init.content.read() == init_binary("amd64")
    assert described(tree) == expected.render()


def test_the_init_is_for_the_images_machine(tmp_path: Path) -> None:
    layout(tmp_path / "image")
    strategy = driver(tmp_path)
    image = fetch(tmp_path, strategy)
    tree = strategy.assemble_tree(plan(tmp_path, agent=None, platform=Platform("linux", "arm64")), [image])
    init = entry(tree, "/.fledge/init")
    assert isinstance(init, File)
    assert init.content.read() == init_binary("arm64")


def test_an_architecture_without_a_guest_init_is_told(tmp_path: Path) -> None:
    layout(tmp_path / "image")
    log = Log()
    strategy = driver(tmp_path, log=log)
    image = fetch(tmp_path, strategy)
    tree = strategy.assemble_tree(plan(tmp_path, agent=None, platform=Platform("linux", "riscv64")), [image])
    assert tree.get(GuestPath.parse("/.fledge/init")) is None
    assert log.texts("warning") == [
        "no guest init for architecture 'riscv64'; there are: amd64, arm64: the image boots with an init of its own only"
    ]


def test_an_image_with_nothing_to_run_has_an_init_and_no_workload(tmp_path: Path) -> None:
    layout(tmp_path / "image", config={})
    strategy = driver(tmp_path)
    tree = strategy.assemble_tree(plan(tmp_path, agent=None), [fetch(tmp_path, strategy)])
    assert [path for path, _ in tree.walk() if path.startswith(b".fledge")] == [b".fledge", b".fledge/init"]


def test_an_unknown_stop_signal_is_told(tmp_path: Path) -> None:
    layout(tmp_path / "image", config={**CONFIG, "StopSignal": "SIGFOO"})
    log = Log()
    strategy = driver(tmp_path, log=log)
    tree = strategy.assemble_tree(plan(tmp_path, agent=None), [fetch(tmp_path, strategy)])
    assert b"stop_signal" not in described(tree)
    assert log.texts("warning") == [
        "the image's StopSignal: unknown signal 'SIGFOO'; expected a name such as SIGTERM or SIGRTMIN+3, or 1 to 64; "
        "SIGTERM stops the workload"
    ]


def test_a_workload_that_the_init_would_refuse_is_an_error(tmp_path: Path) -> None:
    layout(tmp_path / "image", config={**CONFIG, "User": "a:b:c"})
    strategy = driver(tmp_path)
    image = fetch(tmp_path, strategy)
    with pytest.raises(BuildError, match="can't run the workload: malformed user 'a:b:c'"):
        strategy.assemble_tree(plan(tmp_path, agent=None), [image])


def test_case_050_a_file_in_the_inits_way_is_named(tmp_path: Path) -> None:
    layout(tmp_path / "image", layer((".fledge", b"")))
    strategy = driver(tmp_path)
    image = fetch(tmp_path, strategy)
    with pytest.raises(BuildError, match=r"bootable: /\.fledge is in the way: it is not a directory"):
        strategy.assemble_tree(plan(tmp_path, agent=None), [image])


def root(*nodes: tuple[str, Inode]) -> Tree:
    tree = Tree(Directory(0o755), 5, origin="docker://x")
    for path, inode in nodes:
        tree.insert(GuestPath.parse(path), inode)
    return tree


def file(data: bytes = b"image") -> File:
    return File(Content.of(data), 0o600, 7, 7)


@pytest.mark.parametrize(
    ("nodes", "lands"),
    [
        ([], "/bin/kestrel"),
        ([("/bin", Symlink(b"usr/bin"))], "/usr/bin/kestrel"),
        ([("/bin", Symlink(b"/usr/bin"))], "/usr/bin/kestrel"),
        ([("/bin", Symlink(b"../../../../usr/bin"))], "/usr/bin/kestrel"),
        ([("/bin", Symlink(b"a")), ("/a", Symlink(b"b")), ("/b", Directory(0o700))], "/b/kestrel"),
        ([("/bin/kestrel", file())], "/bin/kestrel"),
        ([("/bin/kestrel", Symlink(b"/usr/lib/kestrel")), ("/usr/lib/kestrel", file())], "/bin/kestrel"),
        ([("/bin/kestrel", Symlink(b"kestrel"))], "/bin/kestrel"),
    ],
)
def test_case_050_where_the_agent_lands(nodes: list[tuple[str, Inode]], lands: str) -> None:
    tree = root(*nodes)
    add_file(tree, AGENT, Content.of(SCRIPT), 0o755)
    inode = entry(tree, lands)
    assert isinstance(inode, File)
    assert inode.content.read() == SCRIPT
    assert (inode.mode, inode.uid, inode.mtime) == (0o755, 0, 5)


def test_case_050_a_file_that_the_agents_name_pointed_to_is_left_alone() -> None:
    tree = root(("/bin/busybox", file()), ("/bin/kestrel", Symlink(b"busybox")))
    add_file(tree, AGENT, Content.of(SCRIPT), 0o755)
    busybox = entry(tree, "/bin/busybox")
    assert isinstance(busybox, File)
    assert busybox.content.read() == b"image"


@pytest.mark.parametrize("target", [b"/host/etc", b"../../../host/etc"])
def test_case_050_an_etc_that_leads_out_is_resolved_inside(tmp_path: Path, target: bytes) -> None:
    tree = root(("/etc", Symlink(target)))
    add_file(tree, IMAGE_CONFIG, Content.of(b"{}"), 0o644)
    assert isinstance(entry(tree, "/host/etc/fsify-entrypoint"), File)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("/bin", file())], "/bin is in the way: it is not a directory"),
        ([("/bin", Symlink(b"bin"))], "/bin crosses more than 40 symlinks inside the image"),
        (
            [("/bin/kestrel/x", file())],
            "/bin/kestrel is a directory that is not empty; a file can't replace it",
        ),
    ],
)
def test_what_is_in_the_way_is_named(nodes: list[tuple[str, Inode]], message: str) -> None:
    with pytest.raises(BuildError) as caught:
        add_file(root(*nodes), AGENT, Content.of(SCRIPT), 0o755)
    assert caught.value.message == f"can't put /bin/kestrel into docker://x: {message}"


def test_the_layers_are_left_as_they_were(tmp_path: Path) -> None:
    layout(tmp_path / "image", layer(("bin/kestrel", b"theirs")))
    strategy = driver(tmp_path)
    image = fetch(tmp_path, strategy)
    for _ in range(2):
        strategy.assemble_tree(plan(tmp_path), [image, agent()])
    tree = strategy.assemble_tree(replace(plan(tmp_path), agent=None), [image])
    inode = entry(tree, "/bin/kestrel")
    assert isinstance(inode, File)
    assert inode.content.read() == b"theirs"
