"""Fledge: an OCI image, a Dockerfile or plain binaries into a bootable microVM artifact."""


def __getattr__(name: str) -> str:
    # Reading the distribution's metadata costs 40 ms that no command but `fledge version` should pay.
    if name == "__version__":
        from importlib.metadata import version

        return version("fledge")
    raise AttributeError(name)
