"""Certificates that are filed for one registry (containers-certs.d(5), Docker's certs.d)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fledge.errors import BuildError

if TYPE_CHECKING:
    import ssl


def folders(host: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """The folders that are there for a host with or without a port."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    for root in (home / "containers", Path("/etc/containers"), Path("/etc/docker")):
        folder = root / "certs.d" / host
        if folder.is_dir():
            yield folder


def tls_context(host: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Trusts the system's store (SSL_CERT_FILE, SSL_CERT_DIR) and the host's `*.crt`; presents its `*.cert` and `*.key`.

    Raises BuildError when one of them is malformed.
    """
    import ssl

    context = ssl.create_default_context()
    for folder in folders(host, environ):
        for path in sorted(folder.iterdir()):
            try:
                if path.suffix == ".crt":
                    context.load_verify_locations(path)
                elif path.suffix == ".cert":
                    context.load_cert_chain(path, path.with_suffix(".key"))
            except (OSError, ssl.SSLError) as error:
                raise BuildError(f"can't use the certificate {path}: {error.strerror or error}") from error
    return context
