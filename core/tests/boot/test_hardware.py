"""Which VMM it is when none is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fledge import drivers
from fledge.boot.hardware import choose_vmm
from fledge.errors import BuildError, FledgeError, UsageError
from fledge.kinds import Driver
from fledge.testing.builds import context

Choose = Callable[..., str]


@pytest.fixture
def choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Chooses among `installed`: the program of each, or None where it does not load."""

    def chosen(installed: Mapping[str, str | None], name: str | None = None, *, can: bool = True) -> str:
        real = drivers.load("vmm", "qemu")

        def load(kind: str, name: str) -> type[Driver]:
            if installed[name] is None:
                raise BuildError(f"the vmm {name!r} does not load: ImportError: no")
            return type("Double", (real,), {"program": lambda self, _: installed[name]})

        monkeypatch.setattr(drivers, "names", lambda kind: sorted(installed))
        monkeypatch.setattr(drivers, "load", load)
        return choose_vmm(name, context(tmp_path), lambda vmm: can).name

    return chosen


@pytest.mark.parametrize(
    ("installed", "name"),
    [
        ({"acme": "true", "firecracker": "true", "qemu": "true"}, "qemu"),
        ({"acme": "true", "firecracker": "true", "qemu": "no-such-program"}, "firecracker"),
        ({"acme": "true", "zeta": "true"}, "acme"),
        ({"firecracker": "no-such-program", "qemu": "no-such-program"}, "qemu"),
        ({"acme": "true", "qemu": None}, "acme"),
        ({"acme": None, "qemu": "true"}, "qemu"),
    ],
)
def test_the_first_that_loads_and_whose_program_is_here(
    choose: Choose, installed: Mapping[str, str | None], name: str
) -> None:
    assert choose(installed) == name


@pytest.mark.parametrize(
    ("installed", "can", "kind", "message"),
    [
        ({}, True, UsageError, "no VMM is installed"),
        (
            {"acme": "true", "qemu": "true"},
            False,
            UsageError,
            "no VMM is installed that can do it; there is acme, qemu",
        ),
        ({"acme": None, "qemu": None}, True, BuildError, "the vmm 'qemu' does not load: ImportError: no"),
        ({"acme": "true", "qemu": None}, False, BuildError, "the vmm 'qemu' does not load: ImportError: no"),
    ],
)
def test_none_is_left(
    choose: Choose, installed: Mapping[str, str | None], can: bool, kind: type[FledgeError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        choose(installed, can=can)
    assert caught.value.message == message


def test_one_that_is_named_must_load(choose: Choose) -> None:
    with pytest.raises(BuildError, match="the vmm 'acme' does not load"):
        choose({"acme": None, "qemu": "true"}, "acme")
