"""The builder `docker`: the Docker Engine builds the image under a name of ours, and gives it back as an archive."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from fledge import tools
from fledge.errors import BuildError, FledgeError
from fledge.image.bases import with_renamed_bases
from fledge.kinds import Builder
from fledge.options import NoOptions, Options
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge_transport_archive.driver import DockerArchive

from fledge_builder_docker.bases import write_archive
from fledge_builder_docker.client import BUILDX, CLASSIC, Client, command, without_buildx
from fledge_builder_docker.steps import ClassicSteps

_PATIENCE: Final = 10.0
"""Seconds that a daemon has to tell its version."""

# An image that somebody else gave a name meanwhile, or builds on, is not dangling and stays. After an interrupt the engine
# may still be stopping the container of a step, which holds the step's image; the classic builder never stops one that
# was just being started.
_REMOVE: Final = (
    "sh",
    "-c",
    """
    dangling() { docker image ls --quiet --filter dangling=true | grep -F "$(printf '%s\\n' "$@")"; }
    for try in 1 2 3 4 5 6 7 8 9 10; do
        docker container rm --force "$@"
        docker image rm --force $(printf '%s\\n' "$@" | grep ^fledge-)
        docker image rm --force $(dangling "$@")
        dangling "$@" || exit 0
        sleep 1
    done
    exit 1
    """,
    "sh",
)


class Docker(Builder):
    """Calls the docker command, which knows the user's contexts, proxies and credentials."""

    options_model: ClassVar[type[Options]] = NoOptions

    def obstacle(self, request: DockerfileRequest) -> str | None:
        """See Builder.obstacle."""
        try:
            client = self._client()
        except FledgeError as error:
            return error.message
        if request.secrets and client is CLASSIC:
            return "secrets take BuildKit, and there is no docker buildx"
        return None

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        """See Builder.build_image."""
        client = self._client()
        context = self.context
        with (
            tools.afterwards(_REMOVE, context.progress, environ=context.environ) as clean_up,
            tools.afterwards(("rm", "-rf"), context.progress, environ=context.environ) as remove,
            context.store.part("docker-build") as part,
        ):
            folder = part.folder()
            remove(str(folder))

            def load(image: ImageSource) -> str:
                name = _name("base", clean_up)
                write_archive(image, name, folder / name)
                self._follow("image", "load", "--input", str(folder / name))
                return name

            ready = with_renamed_bases(request, self.fetch_base, load, folder)
            name = _name("build", clean_up)
            self._build(client, command(client, ready, name), clean_up)
            with context.progress.stage("image from Docker"):
                self._follow("image", "save", name, stdout=part.fd)
            archive = ImageReference("docker-archive", part.path.name)
            transport = DockerArchive(archive.transport, NoOptions(), context)
            return transport.fetch_image(ImageRequest(archive, request.platform, str(part.path.parent)))

    def _build(self, client: Client, argv: Sequence[str], clean_up: Callable[[str], None]) -> None:
        context = self.context
        tell = context.progress.info
        if client is CLASSIC:
            there = {*self._ids("image", "ls"), *self._ids("container", "ls")}
            tell = ClassicSteps(there, clean_up, tell).line
        environ = {**context.environ, **client.environ}
        tools.follow(argv, context.progress, tell, what="docker build", environ=environ)

    def _follow(self, *words: str, stdout: int | None = None) -> None:
        context = self.context
        tools.follow(
            ["docker", *words],
            context.progress,
            context.progress.info,
            what=f"docker {words[0]} {words[1]}",
            stdout=stdout,
            environ=context.environ,
        )

    def _ids(self, *words: str) -> Sequence[str]:
        argv = ["docker", *words, "--all", "--quiet"]
        return tools.run(argv, self.context.progress, environ=self.context.environ).decode().split()

    def _client(self) -> Client:
        """What the docker command here can do. Raises BuildError when no daemon answers."""
        environ, progress = self.context.environ, self.context.progress
        argv = ["docker", "version", "--format", "{{json .}}"]
        try:
            told = json.loads(tools.run(argv, progress, environ=environ, package="docker.io", timeout=_PATIENCE))
        except tools.ProgramError as error:
            said = error.message.partition(": ")[2].removesuffix(" Is the docker daemon running?").rstrip(".")
            raise BuildError(said[:1].lower() + said[1:]) from error
        try:
            tools.run(["docker", "buildx", "version"], progress, environ=environ, timeout=_PATIENCE)
        except FledgeError:
            return without_buildx(str(told["Client"]["Version"]))
        return BUILDX


def _name(what: str, clean_up: Callable[[str], None]) -> str:
    """A name of our own: what is removed then is it, and never a name that the user gave to the same image."""
    name = f"fledge-{what}-{secrets.token_hex(8)}"
    clean_up(name)
    return name
