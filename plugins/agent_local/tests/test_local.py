from __future__ import annotations

import os
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.sources import AgentRequest, FileSource
from fledge.testing.builds import context
from fledge.values import Digest, Platform
from fledge_agent_local.driver import LocalAgent, LocalOptions
from pydantic import ValidationError

SCRIPT = b"#!/bin/sh\necho agent\n"


def fetch(tmp_path: Path, path: str) -> FileSource:
    driver = LocalAgent("local", LocalOptions(path=path), context(tmp_path / "cache"))
    request = AgentRequest("local", Platform("linux", "amd64"), str(tmp_path))
    source = driver.fetch_source(None, request)  # type: ignore[arg-type]
    assert isinstance(source, FileSource)
    return source


@pytest.mark.parametrize("path", ["agent", "./agent", "sub/../agent", "link", "{}/agent"])
def test_paths_start_at_the_folder_of_fledge_toml(tmp_path: Path, path: str) -> None:
    (tmp_path / "agent").write_bytes(SCRIPT)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("agent")
    source = fetch(tmp_path, path.format(tmp_path))
    assert source.content.read() == SCRIPT
    assert source.digest == Digest.of(SCRIPT)
    assert source.origin.startswith(str(tmp_path))


def test_what_is_no_agent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_bytes(b"hello there, this is no program")
    for path, message in (
        ("nothing", "can't read the agent .*/nothing: No such file or directory"),
        (".", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("text", "the agent .*/text is no program"),
    ):
        with pytest.raises(BuildError, match=message):
            fetch(tmp_path, path)


def test_an_agent_that_changes_while_the_build_runs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(SCRIPT)
    source = fetch(tmp_path, "agent")
    (tmp_path / "agent").write_bytes(SCRIPT * 2)
    with pytest.raises(BuildError, match="changed while it was read"):
        source.content.read()


def test_a_request_for_another_driver_is_not_answered(tmp_path: Path) -> None:
    driver = LocalAgent("local", LocalOptions(path="x"), context(tmp_path / "cache"))
    assert driver.fetch_source(None, AgentRequest("http", Platform("linux", "amd64"))) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("document", ["{}", '{"path": ""}', '{"path": 5}', '{"path": "x", "version": "1"}'])
def test_options_that_are_refused(document: str) -> None:
    with pytest.raises(ValidationError):
        LocalOptions.model_validate_json(document, strict=True)
