"""What a step sees beside its root: mounts, and the files that container engines lay over an image's own.

Mount points are made in a copy of the root, which becomes the lower layer of the step's overlay: nothing of them is a
change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fledge.errors import BuildError
from fledge.tree.content import EMPTY
from fledge.tree.inode import Directory, File, Inode
from fledge.tree.tree import Tree
from fledge.values import GuestPath
from fledge_guest import StepMount

from fledge_builder_microvm.copying import text_of
from fledge_builder_microvm.steps import BindMount, CacheMount, Mount, RunStep, SecretMount, TmpfsMount

HOSTNAME: Final = "fledge-build"
FILES: Final = "/.fledge/files"
"""Where files of the initramfs stand that are laid over the image's."""
WHOLE: Final = "file"
"""What a single file is called on the disk that brings it."""
_DISKS_MAX: Final = 20
"""One letter each, and a slot each on the machine's PCI bus, which has 32."""
_SYSTEM: Final = (b"dev", b"proc", b"sys")
"""The guest init mounts these, and makes what is to be mounted in them."""
_ETC: Final = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


@dataclass(slots=True)
class DiskImage:
    """A disk for the guest that holds `tree`, or a cache that outlives the step."""

    tree: Tree
    writable: bool
    cache: CacheMount | None = None


@dataclass(slots=True)
class Surroundings:
    """`root`: the step's, with all mount points. `disks`: for /dev/vdc and those after it."""

    root: Tree
    mounts: list[StepMount] = field(default_factory=list)
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Of the initramfs: mode and content."""
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)
    disks: list[DiskImage] = field(default_factory=list)


def surround(step: RunStep, root: Tree, nameservers: Sequence[str], address: str | None) -> Surroundings:
    """What `step` sees. `address`: the guest's own, None without a network.

    Raises BuildError where something is in the way of a mount point.
    """
    made = Surroundings(Tree(_copy(root.root), root.epoch, root.image, root.origin))
    _Surrounding(made).add_all(step, _etc(nameservers, address))
    return made


def _etc(nameservers: Sequence[str], address: str | None) -> dict[str, bytes]:
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    if address is not None:
        hosts += f"{address}\t{HOSTNAME}\n"
    resolver = "".join(f"nameserver {one}\n" for one in nameservers)
    return dict(zip(_ETC, (f"{HOSTNAME}\n".encode(), hosts.encode(), resolver.encode()), strict=True))


class _Surrounding:
    def __init__(self, made: Surroundings) -> None:
        self._made = made
        self._owned: set[int] = {id(made.root.root)}
        self._inside: list[tuple[GuestPath, Tree | None]] = [(GuestPath(()), made.root)]
        """What is mounted where; None where the guest makes the mount points that lie in it."""

    def add_all(self, step: RunStep, etc: dict[str, bytes]) -> None:
        for name in _SYSTEM:
            self._point(GuestPath((name,)), folder=True)
            self._inside.append((GuestPath((name,)), None))
        for path, data in etc.items():
            self._bind_file(path, data, 0o644)
        for mount in step.mounts:
            self._add(mount)

    def _add(self, mount: Mount) -> None:
        match mount:
            case SecretMount(target, data, mode, uid, gid):
                self._bind_file(target, data, mode, (uid, gid))
            case TmpfsMount(target, size):
                place = self._point(GuestPath.parse(target), folder=True)
                options = f"size={size}" if size is not None else None
                self._made.mounts.append(StepMount(text_of(place), type="tmpfs", options=options))
                self._inside.append((place, None))
            case BindMount(target, Directory() as folder, readonly):
                place = self._point(GuestPath.parse(target), folder=True)
                tree = Tree(_copy(folder), self._made.root.epoch)
                tree.root.mtime = tree.epoch  # Its own is in no key.
                self._owned.add(id(tree.root))
                self._disk(place, DiskImage(tree, writable=not readonly), readonly)
                self._inside.append((place, tree))
            case BindMount(target, File() as file, readonly):
                place = self._point(GuestPath.parse(target), folder=False)
                holder = Directory(0o755)
                holder.entries[WHOLE.encode()] = file
                self._disk(place, DiskImage(Tree(holder), writable=not readonly), readonly, WHOLE)
            case CacheMount(target):
                place = self._point(GuestPath.parse(target), folder=True)
                seed = _copy(mount.seed or Directory(0o755))
                seed.mode = seed.mode if mount.mode is None else mount.mode
                seed.uid = seed.uid if mount.uid is None else mount.uid
                seed.gid = seed.gid if mount.gid is None else mount.gid
                tree = Tree(seed, self._made.root.epoch)
                self._disk(place, DiskImage(tree, writable=True, cache=mount), mount.readonly)
                self._inside.append((place, None))

    def _disk(self, place: GuestPath, image: DiskImage, readonly: bool, within: str | None = None) -> None:
        if len(self._made.disks) == _DISKS_MAX:
            raise BuildError(f"more than {_DISKS_MAX} mounts of files, folders and caches are not possible")
        device = f"/dev/vd{chr(ord('c') + len(self._made.disks))}"
        self._made.disks.append(image)
        self._made.mounts.append(
            StepMount(text_of(place), source=device, type="ext4", within=within, read_only=readonly)
        )

    def _bind_file(self, target: str, data: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
        place = self._point(GuestPath.parse(target), folder=False)
        source = f"{FILES}/{len(self._made.files)}"
        self._made.files[source] = mode, data
        self._made.owners[source] = owner
        self._made.mounts.append(StepMount(text_of(place), source=source))

    def _point(self, target: GuestPath, *, folder: bool) -> GuestPath:
        """Where `target` really is, with a mount point there, or a mount in which the guest makes one."""
        if not target.parts:
            raise BuildError("nothing can be mounted on /")
        place = target
        while True:
            base, tree = max(
                (one for one in self._inside if place.parts[: len(one[0].parts)] == one[0].parts),
                key=lambda one: len(one[0].parts),
            )
            if tree is None:
                return place
            inner = tree.resolve(GuestPath(place.parts[len(base.parts) :]))
            real = GuestPath((*base.parts, *inner.parts))
            if real == place:
                self._make(tree, inner, real, folder=folder)
                return real
            # A symlink may lead into another mount.
            place = real

    def _make(self, tree: Tree, inner: GuestPath, shown: GuestPath, *, folder: bool) -> None:
        here = tree.root
        for depth, part in enumerate(inner.parts, start=1):
            last = depth == len(inner.parts)
            inode: Inode | None = here.entries.get(part)
            if inode is None:
                inode = (
                    Directory(0o755, mtime=tree.epoch) if folder or not last else File(EMPTY, 0o644, mtime=tree.epoch)
                )
                here.entries[part] = inode
                self._owned.add(id(inode))
            elif isinstance(inode, Directory) and not last and id(inode) not in self._owned:
                inode = here.entries[part] = _copy(inode)
                self._owned.add(id(inode))
            if isinstance(inode, Directory):
                here = inode
            if isinstance(inode, Directory) != (folder or not last):
                kind = "a folder" if folder else "a file"
                raise BuildError(f"{kind} is to be mounted at {shown}, and the image has something else there")


def _copy(folder: Directory) -> Directory:
    """Another folder with the same entries."""
    copy = Directory(folder.mode, folder.uid, folder.gid, folder.mtime, folder.xattrs)
    copy.entries = dict(folder.entries)
    return copy
