"""What every transport of images must do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from fledge.context import BuildContext
from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.kinds import Transport
from fledge.sources import AgentRequest, ImageReference, ImageRequest, ImageSource
from fledge.testing.conformance.driver import DriverConformance, only_if, refusal
from fledge.testing.images import Blobs, Json, tar
from fledge.values import Platform

Publish = Callable[[Blobs, Json | None], str]

LOWER = tar({"etc/one": b"1" * 300_000})
UPPER = tar({"etc/two": b"2"})


class TransportConformance(DriverConformance):
    """Fetches images that the subclass publishes, sound ones and others."""

    indexes: ClassVar[bool] = True
    """Whether a reference can name images for several platforms."""
    serves_blobs: ClassVar[bool] = True
    """Whether what is published is served as it is, also when it is not what its digest promises."""

    kind = "transport"
    base = Transport
    hook = "fetch_source"

    @pytest.fixture
    def publish(self) -> Publish:
        """Overridden: makes an image of `Blobs` available, or none, and gives what a reference says after the transport."""
        pytest.fail(f"{type(self).__name__} has no fixture 'publish'")

    def fetch(self, build: BuildContext, name: str, platform: str = "linux/amd64") -> ImageSource:
        """What the hook gives a strategy."""
        request = ImageRequest(ImageReference(self.name, name), Platform.parse(platform))
        source = self.create(build).fetch_source(None, request)
        assert isinstance(source, ImageSource)
        return source

    def refuses(self, build: BuildContext, name: str, platform: str = "linux/amd64", kind: Any = BuildError) -> str:
        """The message of the error; nothing half done may be left in the store."""
        message = refusal(lambda: self.fetch(build, name, platform), kind)
        assert list(build.store.folder.glob("tmp/*")) == []
        return message

    def test_an_image_arrives(self, publish: Publish, fledge_context: BuildContext) -> None:
        """Its config, and its layers, lowest first."""
        blobs = Blobs()
        name = publish(blobs, blobs.image(LOWER, UPPER, config={"Cmd": ["run"], "User": "7"}))
        first = self.fetch(fledge_context, name)
        assert paths_of(first) == [[b"etc/one"], [b"etc/two"]]
        assert first.config.cmd == ("run",)
        assert first.config.user == "7"
        assert str(first.config.platform) == "linux/amd64"
        assert str(first.reference) == f"{self.name}:{name}"
        again = self.fetch(fledge_context, name)
        assert (again.digest, again.config, paths_of(again)) == (first.digest, first.config, paths_of(first))
        assert list(fledge_context.store.folder.glob("tmp/*")) == []

    def test_an_image_without_layers_arrives(self, publish: Publish, fledge_context: BuildContext) -> None:
        """`FROM scratch` and nothing in it."""
        blobs = Blobs()
        assert self.fetch(fledge_context, publish(blobs, blobs.image())).layers == ()

    def test_an_image_that_is_not_there(self, publish: Publish, fledge_context: BuildContext) -> None:
        """Told from other errors, so that a bare reference goes on to the next transport."""
        self.refuses(fledge_context, publish(Blobs(), None), kind=ImageNotFoundError)

    def test_another_platform_is_not_there(self, publish: Publish, fledge_context: BuildContext) -> None:
        """And is never given instead."""
        blobs = Blobs()
        name = publish(blobs, blobs.image(LOWER, platform="linux/amd64"))
        message = self.refuses(fledge_context, name, "linux/arm64", ImageNotFoundError)
        assert "linux/arm64" in message

    @only_if(lambda cls: cls.indexes)
    def test_the_platform_is_chosen(self, publish: Publish, fledge_context: BuildContext) -> None:
        """Of an index's images."""
        blobs = Blobs()
        arm, amd = blobs.image(UPPER, platform="linux/arm64/v8"), blobs.image(LOWER, platform="linux/amd64")
        name = publish(blobs, blobs.index(arm, amd))
        assert paths_of(self.fetch(fledge_context, name, "linux/amd64")) == [[b"etc/one"]]
        assert paths_of(self.fetch(fledge_context, name, "linux/arm64")) == [[b"etc/two"]]
        self.refuses(fledge_context, name, "linux/riscv64", ImageNotFoundError)

    @only_if(lambda cls: cls.serves_blobs)
    @pytest.mark.parametrize("wrong", ["other bytes", "cut short", "too long", "empty", "missing"])
    @pytest.mark.parametrize("which", ["manifest", "config", "layer"])
    def test_a_blob_that_is_not_what_it_should_be(
        self, publish: Publish, fledge_context: BuildContext, which: str, wrong: str
    ) -> None:
        """Every byte is verified against the digest and the size that led to it."""
        blobs = Blobs()
        top = blobs.image(LOWER)
        # By an index, so that the manifest has a digest and a size as well.
        published = blobs.index(top) if self.indexes else top
        document = json.loads(blobs.by_digest[top["digest"]])
        found = {"manifest": top, "config": document["config"], "layer": document["layers"][0]}[which]["digest"]
        sound = blobs.by_digest[found]
        if wrong == "missing":
            del blobs.by_digest[found]
        else:
            blobs.by_digest[found] = {
                "other bytes": sound[:-1] + bytes([sound[-1] ^ 1]),
                "cut short": sound[:-1],
                "too long": sound + b" ",
                "empty": b"",
            }[wrong]
        self.refuses(fledge_context, publish(blobs, published))
        assert list(fledge_context.store.folder.glob("layers/*/*")) == []

    def test_a_layer_that_is_not_the_configs(self, publish: Publish, fledge_context: BuildContext) -> None:
        """What decompresses to something else than its diff_id."""
        blobs = Blobs()
        config = blobs.config(["sha256:" + "0" * 64])
        layer = blobs.add(LOWER, "application/vnd.oci.image.layer.v1.tar")
        self.refuses(fledge_context, publish(blobs, blobs.manifest(config, [layer])))

    def test_it_answers_to_its_name_only(self, fledge_context: BuildContext) -> None:
        """All drivers of a build are asked, and one has to answer."""
        driver, platform = self.create(fledge_context), Platform("linux", "amd64")
        assert driver.fetch_source(None, ImageRequest(ImageReference("another", "x"), platform)) is None
        assert driver.fetch_source(None, AgentRequest(self.name, platform)) is None


def paths_of(image: ImageSource) -> list[list[bytes]]:
    """The paths in each layer."""
    return [list(layer.index.paths) for layer in image.layers]
