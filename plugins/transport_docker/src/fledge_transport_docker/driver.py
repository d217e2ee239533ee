"""docker-daemon:NAME[:TAG], from the images of a local Docker daemon."""

from __future__ import annotations

from typing import Final

from fledge.errors import BuildError
from fledge.image.access import ImageNotFoundError
from fledge.image.fields import DOCUMENT_LIMIT, Fields
from fledge.image.parse_config import parse_config
from fledge.image.platforms import same_architecture
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource
from fledge.tree.layer import find_layer
from fledge.values import Digest, Platform
from fledge_transport_archive import docker_archive
from fledge_transport_archive.tar_files import TarFiles

from fledge_transport_docker.engine import Engine

_LINK: Final = "docker-image"


class DockerDaemon(Transport):
    """The transport `docker-daemon`."""

    options_model = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """See Transport.fetch_image. The daemon is always asked which image the name has by now."""
        name = request.reference.name
        engine = Engine.from_environ(self.context.environ)
        image = engine.inspect(name)
        platform = Platform(image.text("Os") or "", image.text("Architecture") or "", image.text("Variant"))
        if not same_architecture(platform, request.platform):
            raise ImageNotFoundError(f"the Docker daemon has {name} for {platform}, not for {request.platform}")
        found = self._from_store(image, request)
        if found is None:
            found = self._export(engine, image, request)
        return found

    def _from_store(self, image: Fields, request: ImageRequest) -> ImageSource | None:
        """The image as an earlier build got it, when the daemon still has the same."""
        store = self.context.store
        try:
            link = store.path("links", _LINK, str(image.digest("Id"))).read_text()
        except FileNotFoundError:
            return None
        digest = Digest.parse(link)
        raw = store.read_blob(digest, DOCUMENT_LIMIT)
        if raw is None:
            return None
        config = parse_config(raw, f"{request.reference}: config {digest}", request.platform)
        layers = [layer for diff_id in config.diff_ids if (layer := find_layer(store, diff_id)) is not None]
        if len(layers) != len(config.diff_ids):
            return None
        return ImageSource(request.reference, digest, config, layers)

    def _export(self, engine: Engine, image: Fields, request: ImageRequest) -> ImageSource:
        store, name = self.context.store, request.reference.name
        with store.part("docker-image") as part:
            try:
                with self.context.progress.stage(f"image {name} from Docker", image.number("Size")) as stage:
                    for chunk in engine.export(name):
                        part.write(chunk)
                        stage.advance(len(chunk))
            except OSError as error:
                raise BuildError(f"can't write to {part.path.parent}: {error.strerror}") from error
            found = docker_archive.fetch(TarFiles(part.fd, str(request.reference)), None, request, self.context)
        store.put_blob(found.digest, found.config.raw)
        # With containerd's image store the Id is not the config's digest but a manifest's.
        store.put(str(found.digest).encode(), "links", _LINK, str(image.digest("Id")))
        return found
