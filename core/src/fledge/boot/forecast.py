"""Tells at build time what the kernels that the environment names lack for the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fledge.boot.features import lacking, needed
from fledge.boot.kernel import PLACES, read_kernel
from fledge.errors import FledgeError

if TYPE_CHECKING:
    from fledge.kinds import Filesystem

VARIABLES: Final = tuple(dict.fromkeys(variable for variable, _ in PLACES.values()))


def forecast(
    driver: Filesystem, head: bytes, *, network: bool, environ: Mapping[str, str], warn: Callable[[str], None]
) -> None:
    """Tells `warn` what each kernel named lacks. `head`: of the artifact, as for Filesystem.recognizes."""
    modules = environ.get("FLEDGE_KERNEL_MODULES")
    features = needed(driver.kernel_features(head), driver.medium, writable=driver.writable, bus="pci", network=network)
    for variable in VARIABLES:
        if environ.get(variable):
            try:
                lack = lacking(read_kernel(Path(environ[variable]), Path(modules) if modules else None), features)
            except FledgeError as error:
                warn(f"{variable}: {error.message}")
                continue
            if lack is not None:
                warn(f"{variable}: the artifact won't boot: {lack}")
