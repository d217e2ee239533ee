"""Transports with one mistake each, and the checks of the kit that must find it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.image.access import BlobNotFoundError, ImageNotFoundError
from fledge.image.descriptor import Descriptor
from fledge.image.pull import pull
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource
from fledge.testing.builds import context
from fledge.testing.conformance.sources import image_source
from fledge.values import Digest, Platform


class Folder:
    """An image of a folder: a file for each blob, and `top`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resolve(self) -> Digest | None:
        if not (self.folder / "top").exists():
            raise ImageNotFoundError(f"{self.folder} has no image")
        return Digest.parse((self.folder / "top").read_text())

    def manifest(self, digest: Digest | None) -> tuple[str | None, bytes]:
        data = self._read(str(digest or self.resolve()))
        return json.loads(data or b"{}").get("mediaType") if data[:1] == b"{" and data[-1:] == b"}" else None, data

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        yield self._read(str(descriptor.digest))

    def _read(self, digest: str) -> bytes:
        try:
            return (self.folder / digest).read_bytes()
        except OSError as error:
            raise BlobNotFoundError(f"{self.folder} has no {digest}") from error


class Good(Transport):
    """No mistake."""

    caught_by: ClassVar[frozenset[str]] = frozenset()
    options_model: ClassVar = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        return pull(Folder(Path(request.reference.name)), request, self.context)


class LosesTheUpperLayer(Good):
    caught_by: ClassVar = {"test_an_image_arrives"}

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        found = super().fetch_image(request)
        return replace(found, layers=found.layers[:1])


class NeedsALayer(Good):
    caught_by: ClassVar = {"test_an_image_without_layers_arrives"}

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        found = super().fetch_image(request)
        found.layers[0]
        return found


class TellsNothingOfWhatIsMissing(Good):
    caught_by: ClassVar = {
        "test_an_image_that_is_not_there",
        "test_another_platform_is_not_there",
        "test_the_platform_is_chosen",
    }

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        try:
            return super().fetch_image(request)
        except ImageNotFoundError as error:
            raise BuildError(error.message) from error


class GivesAnotherPlatform(Good):
    caught_by: ClassVar = {"test_another_platform_is_not_there", "test_the_platform_is_chosen"}

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        return super().fetch_image(replace(request, platform=Platform("linux", "amd64")))


class VerifiesNothing(Good):
    caught_by: ClassVar = {"test_a_blob_that_is_not_what_it_should_be", "test_a_layer_that_is_not_the_configs"}

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        try:
            return super().fetch_image(request)
        except ImageNotFoundError:
            raise
        except BuildError:
            other = context(self.context.store.folder.parent / "other")
            return image_source(other, request)


class LeavesSomethingBehind(Good):
    caught_by: ClassVar = {"test_a_layer_that_is_not_the_configs", "test_a_blob_that_is_not_what_it_should_be"}

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        half = self.context.store.folder / "tmp" / "half"
        try:
            return super().fetch_image(request)
        except ImageNotFoundError:
            raise
        except BuildError:
            half.touch()
            raise


class AnswersForOthers(Good):
    caught_by: ClassVar = {"test_it_answers_to_its_name_only"}

    @hookimpl
    def fetch_source(self, plan: Any, request: Any) -> Any:
        if request.__class__ is ImageRequest and request.reference.transport != self.name:
            return "mine"
        return super().fetch_source(plan, request)
