"""What a new plugin may be called."""

from __future__ import annotations

from pathlib import Path

import pytest
from fledge.errors import UsageError
from fledge.scaffold.package import new_package


@pytest.mark.parametrize(("kind", "name"), [("strategy", "oci"), ("transport", "registry"), ("transport", "archive")])
def test_no_package_is_called_as_an_installed_one(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"the package fledge-{kind}-{name} exists already; two can't have one name"):
        new_package(kind, name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
