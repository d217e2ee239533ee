"""Builders with one mistake each, and the checks of the kit that must find it. The one without is `microvm`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.sources import DockerfileRequest, ImageSource
from fledge_builder_microvm.driver import Microvm


class Good(Microvm):
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()


class LeavesATraceWhenAsked(Good):
    caught_by: ClassVar = {"test_its_obstacle_is_quick_and_leaves_no_trace"}

    def obstacle(self, request: DockerfileRequest) -> str | None:
        if not request.dockerfile.exists():
            Path(tempfile.gettempdir(), "asked").touch()
        return super().obstacle(request)


class RaisesWhenAsked(Good):
    caught_by: ClassVar = {"test_its_obstacle_is_quick_and_leaves_no_trace"}

    def obstacle(self, request: DockerfileRequest) -> str | None:
        if not request.dockerfile.exists():
            raise BuildError("there is no Dockerfile")
        return super().obstacle(request)


class LosesTheEntrypoint(Good):
    caught_by: ClassVar = {"test_layers_and_config"}

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        image = super().build_image(request)
        return replace(image, config=replace(image.config, entrypoint=()))


class KnowsNoTarget(Good):
    caught_by: ClassVar = {"test_the_stage_to_stop_at", "test_a_target_that_is_not_there_is_an_error"}

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        return super().build_image(replace(request, target=None))


class WritesIntoTheContext(Good):
    caught_by: ClassVar = {"test_nothing_is_left_behind"}

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        (request.build_context / ".cache").touch()
        return super().build_image(request)


class LetsErrorsOfTheSystemThrough(Good):
    caught_by: ClassVar = {"test_a_dockerfile_that_can_not_be_built_is_an_error[nothing]"}

    def build_image(self, request: DockerfileRequest) -> ImageSource:
        if not request.dockerfile.read_text():
            raise OSError("nothing to read")
        return super().build_image(request)


class AnswersForOthers(Good):
    caught_by: ClassVar = {"test_it_answers_to_its_name_only"}

    @hookimpl
    def fetch_source(self, plan: Any, request: Any) -> Any:
        if getattr(request, "driver", self.name) != self.name:
            return "mine"
        return super().fetch_source(plan, request)
