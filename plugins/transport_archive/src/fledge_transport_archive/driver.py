"""oci:PATH[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE[:NAME]: images in files of the user's."""

from __future__ import annotations

from pathlib import Path

from fledge.errors import BuildError
from fledge.image.pull import pull
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource

from fledge_transport_archive import docker_archive
from fledge_transport_archive.files import FolderFiles
from fledge_transport_archive.layout import LayoutImage
from fledge_transport_archive.tar_files import open_archive


class OciLayout(Transport):
    """The transport `oci`: a folder."""

    options_model = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """See Transport.fetch_image."""
        path, tag = split_path(request)
        if not path.is_dir():
            raise BuildError(
                f"{request.reference}: {path} is not a folder", hint="for a tar of a layout: oci-archive:FILE"
            )
        return pull(LayoutImage(FolderFiles(path), tag), request, self.context)


class OciArchive(Transport):
    """The transport `oci-archive`: a layout in a tar."""

    options_model = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """See Transport.fetch_image."""
        path, tag = split_path(request)
        with open_archive(path, self.context.store) as files:
            return pull(LayoutImage(files, tag), request, self.context)


class DockerArchive(Transport):
    """The transport `docker-archive`: what `docker save` writes."""

    options_model = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """See Transport.fetch_image."""
        path, name = split_path(request)
        with open_archive(path, self.context.store) as files:
            return docker_archive.fetch(files, name, request, self.context)


def split_path(request: ImageRequest) -> tuple[Path, str | None]:
    """The file or folder, and what follows the first colon, as containers/image takes it; None where nothing does."""
    path, _, tag = request.reference.name.partition(":")
    return Path(request.base_dir, path), tag or None
