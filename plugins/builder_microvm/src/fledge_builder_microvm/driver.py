"""The builder `microvm`: no daemon and no root; steps happen in memory, and each RUN in a machine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fledge.errors import BuildError
from fledge.kinds import Builder
from fledge.options import NoOptions
from fledge.sources import DockerfileRequest, ImageSource

if TYPE_CHECKING:
    from fledge.values import Platform

    from fledge_builder_microvm.steps import Runner


class Microvm(Builder):
    """See Builder."""

    options_model = NoOptions

    def obstacle(self, request: DockerfileRequest) -> str | None:
        """Nothing stands in the way of a Dockerfile without RUN; one with mistakes is for build_image to judge."""
        from fledge_builder_microvm.dockerfile import read_dockerfile

        try:
            found = read_dockerfile(request).first_run()
        except BuildError:
            return None
        if found is None:
            return None
        stage, run = found
        obstacle = self.runner(stage.platform).obstacle()
        return obstacle and f"{run.place}: {obstacle}"

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        """See Builder."""
        from fledge_builder_microvm.build import Build
        from fledge_builder_microvm.dockerfile import read_dockerfile

        dockerfile = read_dockerfile(request)
        return Build(dockerfile, request, self.context, self.fetch_base, self.runner).image()

    def runner(self, platform: Platform) -> Runner:
        """What runs the RUN steps of a platform."""
        from fledge_builder_microvm.runner import MicrovmRunner

        return MicrovmRunner(self.context, platform)
