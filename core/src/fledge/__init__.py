"""Fledge: an OCI image, a Dockerfile or plain binaries into a bootable microVM artifact."""

from importlib.metadata import version as _version

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # Reading the distribution's metadata costs milliseconds that `import fledge` should not.
    if name == "__version__":
        return _version("fledge")
    raise AttributeError(name)
