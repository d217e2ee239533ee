"""oci:PATH[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE[:NAME]: images in files of the user's."""

from __future__ import annotations

from pathlib import Path

from fledge.errors import BuildError
from fledge.image.pull import pull
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource

from fledge_transport_archive.files import FolderFiles
from fledge_transport_archive.layout import LayoutImage


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


def split_path(request: ImageRequest) -> tuple[Path, str | None]:
    """The file or folder, and what follows the first colon, as containers/image takes it; None where nothing does."""
    path, _, tag = request.reference.name.partition(":")
    return Path(request.base_dir, path), tag or None
