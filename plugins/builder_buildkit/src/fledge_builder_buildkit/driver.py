"""The builder `buildkit`: an external buildkitd, on this machine or on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from fledge import tools
from fledge.errors import FledgeError
from fledge.image.bases import with_renamed_bases
from fledge.kinds import Builder
from fledge.options import NoOptions, Options
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge_transport_archive.driver import OciArchive

from fledge_builder_buildkit.bases import Layouts

DEFAULT_ADDRESS: Final = "unix:///run/buildkit/buildkitd.sock"
"""Where buildkitd listens when nothing else is said."""

_PATIENCE: Final = 10.0
"""Seconds that a buildkitd has to list its workers."""


class Buildkit(Builder):
    """Calls buildctl, which sends the context and gets the image back as an archive; the daemon keeps only its cache."""

    options_model: ClassVar[type[Options]] = NoOptions

    def obstacle(self, request: DockerfileRequest) -> str | None:
        """See Builder.obstacle."""
        argv = ["buildctl", "--addr", self._address, "--timeout", "5", "debug", "workers"]
        try:
            tools.run(argv, self.context.progress, environ=self.context.environ, timeout=_PATIENCE)
        except tools.ProgramError as error:
            said = error.message.rpartition(": ")[2].strip('"')
            return f"no buildkitd answers at {self._address}: {said}"
        except FledgeError as error:
            return error.message
        return None

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        """See Builder.build_image."""
        context = self.context
        with (
            context.store.part("buildkit") as part,
            tools.afterwards(("rm", "-rf"), context.progress, environ=context.environ) as clean_up,
        ):
            folder = part.folder()
            clean_up(str(folder))
            bases = Layouts(folder)
            ready = with_renamed_bases(request, self.fetch_base, bases.hand, folder)
            tools.follow(
                command(ready, self._address, bases.flags),
                context.progress,
                context.progress.info,
                what="buildctl",
                stdout=part.fd,
                environ=context.environ,
            )
            archive = ImageReference("oci-archive", part.path.name)
            transport = OciArchive(archive.transport, NoOptions(), context)
            return transport.fetch_image(ImageRequest(archive, request.platform, str(part.path.parent)))

    @property
    def _address(self) -> str:
        return self.context.environ.get("FLEDGE_BUILDKIT_ADDR") or DEFAULT_ADDRESS


def command(request: DockerfileRequest, address: str, bases: Sequence[str] = ()) -> list[str]:
    """The command line that builds the request's image and writes it to stdout. `bases`: flags for base images."""
    argv = ["buildctl", "--addr", address, "build", "--progress=plain", "--frontend=dockerfile.v0"]
    argv += ["--local", f"context={request.build_context}", "--local", f"dockerfile={request.dockerfile.parent}"]
    options = {"filename": request.dockerfile.name, "platform": str(request.platform)}
    if request.target is not None:
        options["target"] = request.target
    options |= {f"build-arg:{key}": value for key, value in request.dated_args.items()}
    for key, value in options.items():
        argv += ["--opt", f"{key}={value}"]
    for key, path in request.secrets.items():
        argv += ["--secret", tools.csv_line(f"id={key}", f"src={path}")]
    if request.no_cache:
        argv.append("--no-cache")
    # The layers come over a connection that may be slow, and are compressed for it anyway; what a Dockerfile changed has
    # the time of the epoch, where there is one.
    rewrite = ("rewrite-timestamp=true",) if request.epoch is not None else ()
    return [*argv, *bases, "--output", tools.csv_line("type=oci", "dest=-", *rewrite)]
