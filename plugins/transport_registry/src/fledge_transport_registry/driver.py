"""docker://HOST/REPOSITORY[:TAG][@DIGEST], from any OCI registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fledge.image.pull import pull
from fledge.kinds import Transport
from fledge.options import NoOptions
from fledge.sources import ImageRequest, ImageSource

from fledge_transport_registry.auth import Authenticator
from fledge_transport_registry.certificates import folders, tls_context
from fledge_transport_registry.client import RegistryImage
from fledge_transport_registry.http import Http
from fledge_transport_registry.reference import RegistryReference

if TYPE_CHECKING:
    from ssl import SSLContext

    from fledge_transport_registry.credentials import Credentials


class Registry(Transport):
    """The transport `docker`."""

    options_model = NoOptions

    def fetch_image(self, request: ImageRequest) -> ImageSource:
        """See Transport.fetch_image."""
        reference = RegistryReference.parse(request.reference.name)
        return pull(self._access(reference), request, self.context)

    def _access(self, reference: RegistryReference) -> RegistryImage:
        environ = self.context.environ

        def trust() -> tuple[str, SSLContext]:
            return f"{base}/", tls_context(reference.host, environ)

        def find() -> Credentials | None:
            from fledge_transport_registry.credentials import find_credentials

            return find_credentials(reference, environ, self.context.progress)

        plain = speaks_plain_http(reference, environ)
        base = f"{'http' if plain else 'https'}://{reference.endpoint}"
        http = Http(None if plain else trust)
        return RegistryImage(reference, base, http, Authenticator(reference, base, http, find))


def speaks_plain_http(reference: RegistryReference, environ: Mapping[str, str]) -> bool:
    """Whether the registry is asked without TLS: decided before the first request, never because TLS failed.

    On this machine, unless certificates are filed for it; elsewhere where FLEDGE_INSECURE_REGISTRIES names it.
    """
    said = {name.strip().lower() for name in environ.get("FLEDGE_INSECURE_REGISTRIES", "").split(",")}
    if reference.host in said or reference.name in said:
        return True
    return reference.is_loopback and not any(folders(reference.host, environ))
