"""What the kernel is to do with an image, mounted writable, before a checker looks at it again."""

from __future__ import annotations

import os
from pathlib import Path

from fledge.testing.trees import data


def fill_and_rename(folder: Path, count: int) -> None:
    """Doubles the names of `trees.empty_files(count)`, and moves some: into leaves of the index that are full, and out."""
    assert len(os.listdir(folder)) == count
    for number in range(count):
        os.close(os.open(folder / f"new-{number}", os.O_CREAT | os.O_WRONLY))
    for number in range(0, count, 3):
        (folder / f"file-{number:05}").rename(folder / f"renamed-to-a-longer-name-{number:05}")


def write_everywhere(folder: Path) -> None:
    """Into every kind of folder and file of `trees.hard_tree`: new entries, holes filled, xattrs, names removed."""
    for path in ("many", "owners", "holes", "empty", "names"):
        for number in range(300):
            (folder / path / f"added-{number}-{'y' * (number % 200)}").write_bytes(b"z" * number)
    for path in ("holes/many", "holes/all", "sizes/f1", "sizes/f1000003", "xattrs/large"):
        for offset in (50 * 4096, 60 * 4096 + 3):
            with open(folder / path, "r+b") as file:
                file.seek(offset)
                file.write(data(5 * 4096))
    os.setxattr(folder / "xattrs" / "large", "user.more", b"m" * 1000)
    os.removexattr(folder / "xattrs" / "same", "user.large")
    os.link(folder / "links" / "hard2", folder / "links" / "hard4")
    (folder / "links" / "s1023").unlink()
    (folder / "links" / "hard1").unlink()
