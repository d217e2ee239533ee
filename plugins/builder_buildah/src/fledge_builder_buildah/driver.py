"""The builder `buildah`: no daemon and no root; what it stores goes with the build."""

from __future__ import annotations

import os
import shutil
from typing import ClassVar, Final

from fledge import tools
from fledge.errors import BuildError, FledgeError
from fledge.image.bases import with_renamed_bases
from fledge.image.layout import write_layout
from fledge.kinds import Builder
from fledge.options import NoOptions, Options
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge_transport_archive.driver import DockerArchive

from fledge_builder_buildah.config import without_container

_ARCHIVE: Final = "image.tar"
_PATIENCE: Final = 10.0
"""Seconds for what ends at once."""

# Root's mounts would stay when buildah is killed, and so would what a step left running.
_CONFINED: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_UNSHARE: Final = ("buildah", "unshare")
_MAPS: Final = ("/proc/self/uid_map", "/proc/self/gid_map")
# The second time for what a process that was dying still wrote.
_REMOVE: Final = ("sh", "-c", 'rm -rf "$@" || { sleep 2; rm -rf "$@"; }', "sh")


class Buildah(Builder):
    """Runs one `buildah build` with a storage of its own below the store's `tmp`."""

    options_model: ClassVar[type[Options]] = NoOptions

    def obstacle(self, request: DockerfileRequest) -> str | None:
        """See Builder.obstacle."""
        if any("," in str(path) for path in request.secrets.values()):
            return "the path of a secret has a comma, which ends it for buildah"
        try:
            self._run("buildah", "--version")
            if os.geteuid() != 0:
                return self._obstacle_to_a_user()
            self._run(*_CONFINED, "true")
        except FledgeError as error:
            return error.message
        return None

    def _obstacle_to_a_user(self) -> str | None:
        if shutil.which("newuidmap", path=self.context.environ.get("PATH")) is None:
            return "newuidmap is not installed (the package uidmap)"
        with self.context.store.part("buildah") as part:
            try:
                # Not in the user's own folder, where it would leave others.
                maps = self._run(*_UNSHARE, "cat", *_MAPS, XDG_RUNTIME_DIR=str(part.folder()))
            except tools.ProgramError as error:
                said = error.message.partition(": ")[2].rpartition("msg=")[2].strip('"')
                return f"buildah unshare fails: {said}"
        if maps.count(b"\n") <= len(_MAPS):
            # It goes on with the user's own ids alone, which can't be the owners of most images.
            return f"uid {os.geteuid()} lacks ranges in /etc/subuid or /etc/subgid, for the users of the image"
        return None

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        """See Builder.build_image."""
        context = self.context
        root = os.geteuid() == 0
        # Files of other users of the image can't be removed but as the root of the same ids.
        remove = _REMOVE if root else (*_UNSHARE, *_REMOVE)
        with (
            context.store.part("buildah") as part,
            tools.afterwards(remove, context.progress, environ=context.environ) as clean_up,
        ):
            folder = part.folder()
            clean_up(str(folder))

            def hand(image: ImageSource) -> str:
                # buildah makes a name of the whole path, and not every path is one.
                name = f"base-{image.digest.hex}"
                if not (folder / name).exists():
                    write_layout(image, folder / name)
                return f"oci:{name}"

            ready = with_renamed_bases(request, self.fetch_base, hand, folder)
            tools.follow(
                [*(_CONFINED if root else ()), *command(ready, str(folder))],
                context.progress,
                context.progress.info,
                what="buildah",
                environ={**context.environ, "TMPDIR": str(folder)},
                cwd=str(folder),
            )
            archive = ImageReference("docker-archive", _ARCHIVE)
            transport = DockerArchive(archive.transport, NoOptions(), context)
            image = transport.fetch_image(ImageRequest(archive, request.platform, str(folder)))
            return without_container(image, request.platform)

    def _run(self, *argv: str, **more: str) -> bytes:
        environ = {**self.context.environ, **more}
        return tools.run(argv, self.context.progress, environ=environ, timeout=_PATIENCE)


def command(request: DockerfileRequest, folder: str) -> list[str]:
    """The command line that builds the request's image into `folder`/image.tar. Raises BuildError."""
    if ":" in folder:
        raise BuildError(
            f"buildah can't write to {folder}: a colon ends the path", hint="set FLEDGE_CACHE_DIR to another folder"
        )
    argv = ["buildah", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "build"]
    # An OCI config has no HEALTHCHECK and no SHELL; runc and crun want more of a machine than some containers give.
    argv += ["--format", "docker", "--identity-label=false", "--isolation", "chroot", "--file", str(request.dockerfile)]
    argv += ["--platform", str(request.platform), "--tag", f"docker-archive:{folder}/{_ARCHIVE}"]
    if request.target is not None:
        argv += ["--target", request.target]
    if request.epoch is not None:
        argv += ["--timestamp", str(request.epoch)]
    for key, value in request.build_args.items():
        argv += ["--build-arg", f"{key}={value}"]
    for key, path in request.secrets.items():
        argv += ["--secret", f"id={key},src={path}"]
    return [*argv, str(request.build_context)]
