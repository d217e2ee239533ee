from __future__ import annotations

from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.sources import AgentRequest, FileSource
from fledge.testing.builds import Log, context
from fledge.testing.http import Answer, serving
from fledge.values import Digest, Platform
from fledge_agent_http.driver import HttpAgent, HttpOptions
from pydantic import ValidationError

SCRIPT = b"#!/bin/sh\necho agent\n"


def fetch(tmp_path: Path, document: str, log: Log | None = None) -> FileSource:
    options = HttpOptions.model_validate_json(document, strict=True)
    driver = HttpAgent("http", options, context(tmp_path / "cache", log))
    source = driver.fetch_source(None, AgentRequest("http", Platform("linux", "amd64")))  # type: ignore[arg-type]
    assert isinstance(source, FileSource)
    return source


@pytest.mark.parametrize("checksum", [str(Digest.of(SCRIPT)), Digest.of(SCRIPT).hex.upper()])
def test_with_a_checksum(tmp_path: Path, checksum: str) -> None:
    log = Log()
    with serving(lambda asked: Answer(body=SCRIPT)) as server:
        for _ in range(2):
            source = fetch(tmp_path, f'{{"url": "{server.url}/agent", "checksum": "{checksum}"}}', log)
            assert source.content.read() == SCRIPT
            assert source.digest == Digest.of(SCRIPT)
        assert server.paths() == ["/agent"]
    assert log.texts("warning") == []


def test_without_a_checksum_the_log_warns(tmp_path: Path) -> None:
    log = Log()
    with serving(lambda asked: Answer(body=SCRIPT)) as server:
        fetch(tmp_path, f'{{"url": "{server.url}/agent"}}', log)
    assert len(log.texts("warning")) == 1
    assert str(Digest.of(SCRIPT)) in log.texts("warning")[0]


def test_another_checksum(tmp_path: Path) -> None:
    with (
        serving(lambda asked: Answer(body=SCRIPT)) as server,
        pytest.raises(BuildError, match=r"has the digest .* was expected"),
    ):
        fetch(tmp_path, f'{{"url": "{server.url}/agent", "checksum": "{"0" * 64}"}}')


def test_an_error_page_is_no_agent(tmp_path: Path) -> None:
    with (
        serving(lambda asked: Answer(body=b"<!DOCTYPE html><p>Please sign in")) as server,
        pytest.raises(BuildError, match="is no program"),
    ):
        fetch(tmp_path, f'{{"url": "{server.url}/agent"}}')


def test_a_file_url(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(SCRIPT)
    assert fetch(tmp_path, f'{{"url": "file://{tmp_path}/agent"}}').content.read() == SCRIPT


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        '{"url": ""}',
        '{"url": "agent"}',
        '{"url": "http://"}',
        '{"url": "http://[x"}',
        '{"url": "ftp://host/x"}',
        '{"url": "http://host/x", "checksum": "sha256:12"}',
        '{"url": "http://host/x", "path": "y"}',
    ],
)
def test_options_that_are_refused(document: str) -> None:
    with pytest.raises(ValidationError):
        HttpOptions.model_validate_json(document, strict=True)
