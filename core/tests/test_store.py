"""The store: what it lists, what it prunes, and who may do so when."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fledge.errors import BuildError
from fledge.store import Store, default_folder
from fledge.values import Digest


def test_the_folder_comes_from_the_environment(tmp_path: Path) -> None:
    assert default_folder({"FLEDGE_CACHE_DIR": str(tmp_path)}) == tmp_path
    assert default_folder({}).name == "fledge"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="can't use the cache folder") as caught:
        Store(tmp_path / "file" / "cache").put(b"x", "blobs", "x")
    assert "FLEDGE_CACHE_DIR" in str(caught.value.hint)


def test_a_store_that_nobody_uses_leaves_no_folder(tmp_path: Path) -> None:
    assert Store(tmp_path / "cache").items() == []
    assert list(tmp_path.iterdir()) == []


def test_a_blob_is_itself_or_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = Digest.of(b"hello")
    assert store.read_blob(digest, 100) is None
    store.put_blob(digest, b"hello")
    assert store.read_blob(digest, 100) == b"hello"
    assert store.read_blob(digest, 4) is None
    store.blob_path(digest).write_bytes(b"other")
    assert store.read_blob(digest, 100) is None


def fill(store: Store) -> None:
    store.put_blob(Digest.of(b"blob"), b"blob")
    store.put(b"tar", "layers", "sha256", "0" * 64, "tar")
    store.put(b"index", "layers", "sha256", "0" * 64, "index")
    store.put(b"x", "links", "diff_id", "sha256:1")
    store.put(b"x", "packs", "squashfs", "zstd-15", "abc")


def test_items_and_prune_by_age(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    assert [item.kind for item in store.items()] == ["blob", "layer", "link", "pack"]
    old = time.time() - 1000
    os.utime(store.layer_path(Digest("sha256", "0" * 64)), (old, old))
    assert [item.kind for item in store.prune(time.time() - 500)] == ["layer"]
    assert [item.kind for item in store.items()] == ["blob", "link", "pack"]
    assert len(store.prune(None)) == 3
    assert store.items() == []


def test_use_makes_young_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    old = time.time() - 1000
    os.utime(store.blob_path(Digest.of(b"blob")), (old, old))
    store.read_blob(Digest.of(b"blob"), 100)
    assert store.prune(time.time() - 500) == []


def test_case_091_nobody_prunes_under_a_build(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    with store.in_use(), pytest.raises(BuildError, match="in use by a build"):
        Store(tmp_path).prune(None)
    assert len(store.items()) == 4


def test_what_dead_builds_left_in_the_store_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    part = store.part("layer")
    os.close(part.fd)  # As the kernel does when the process dies: the lock is gone, the file is not.
    with store.in_use():
        assert list((tmp_path / "tmp").iterdir()) == []
