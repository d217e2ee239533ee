"""Whether the unpacked initramfs fits into the memory that the manifest gives the guest."""

from __future__ import annotations

from typing import Final

from fledge.manifest import DEFAULT_RESOURCES
from fledge.plan import BuildPlan
from fledge.progress import Progress
from fledge.tree.inode import File
from fledge.tree.tree import Tree

_PAGE: Final = 4096
_INODE: Final = 1024
"""About what the kernel's inode and dentry take, in bytes."""


def unpacked_size(tree: Tree) -> int:
    """Bytes of memory: whole pages for each file, holes included, since unpacking writes them."""
    size = 0
    seen: set[int] = set()
    for _, inode in tree.walk():
        if id(inode) not in seen:
            seen.add(id(inode))
            size += _INODE
            if isinstance(inode, File):
                size += -(-inode.content.size // _PAGE) * _PAGE
    return size


def warn_of_size(tree: Tree, plan: BuildPlan, progress: Progress) -> None:
    """Half of the memory is all that the kernel's first root may take (mm/shmem.c, shmem_default_max_blocks)."""
    memory_mb = plan.manifest.get("resources", {}).get("memory_mb", DEFAULT_RESOURCES["memory_mb"])
    size_mb = -(-unpacked_size(tree) >> 20)
    if 2 * size_mb > memory_mb:
        progress.warning(
            f"the unpacked initramfs takes about {size_mb} MiB, and the guest unpacks at most half of its memory_mb, "
            f"{memory_mb // 2} of {memory_mb} MiB; raise resources.memory_mb in manifest.toml to {2 * size_mb} or more"
        )
