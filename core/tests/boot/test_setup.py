"""What is settled before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fledge.boot.initramfs import archive
from fledge.boot.setup import Request, settle
from fledge.errors import BuildError
from fledge.testing.boots import need_kernel
from fledge.testing.builds import context
from fledge_guest import init_binary


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:PORT", "http://127.0.0.1:99999", "http://[::1"])
def test_a_base_url_that_is_none(tmp_path: Path, base_url: str) -> None:
    kernel = need_kernel()
    artifact = tmp_path / "plugin.cpio"
    artifact.write_bytes(archive({"/init": (0o755, init_binary("amd64"))}))
    document = {
        "schema_version": "v1",
        "name": "n",
        "version": "1",
        "runtime": "r",
        "initramfs": {"url": artifact.as_uri(), "format": "cpio"},
        "workload": {"type": "http", "entrypoint": ["/app"], "base_url": base_url},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BuildError) as caught:
        settle(Request(tmp_path / "manifest.json", vmm="qemu", kernel=kernel), context(tmp_path / "cache"))
    assert caught.value.message.startswith(f"the manifest's workload.base_url {base_url!r} is not a URL: ")
