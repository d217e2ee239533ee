"""Where in the Dockerfile something went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fledge.errors import BuildError, FledgeError

from fledge_builder_microvm.words import UnfinishedError


@contextmanager
def telling(place: str) -> Iterator[None]:
    """What fails inside fails at `place`: `Dockerfile:12: COPY`."""
    try:
        yield
    except UnfinishedError as error:
        raise BuildError(f"{place}: {error}") from None
    except FledgeError as error:
        if error.message.startswith(f"{place.rpartition(': ')[0]}: "):
            raise
        raise BuildError(f"{place}: {error.message}", hint=error.hint, transcript=error.transcript) from error
