"""The strategy `initramfs`: a skeleton, perhaps an image, busybox, an init and the agent (spec section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

from fledge import drivers
from fledge.bootable import check_startable, check_workload, guest_path
from fledge.elf import check_program
from fledge.errors import BuildError, UsageError
from fledge.hookspecs import hookimpl
from fledge.kinds import Filesystem, Strategy
from fledge.runtime import settle_runtime
from fledge.sources import AgentRequest, FileSource, ImageSource, Request, Source
from fledge.tree.content import Content
from fledge.tree.inode import Directory, File
from fledge.tree.tree import Tree
from fledge.values import GuestPath

from fledge_strategy_initramfs.options import BUSYBOX_ARCHITECTURE, InitramfsOptions

if TYPE_CHECKING:
    from fledge.options import Options
    from fledge.plan import BuildPlan

INIT: Final = GuestPath.parse("/init")
"""What the kernel executes (Documentation/filesystems/ramfs-rootfs-initramfs.rst)."""
AGENT: Final = GuestPath.parse("/bin/kestrel")

ANOTHER_BUSYBOX: Final = 'give [source] busybox_url = "/bin/busybox" for that of Debian\'s busybox-static'
_INIT_MAX: Final = 1 << 30
_SECOND: Final = 10**9


class Initramfs(Strategy):
    """Puts a system together that lives in memory; mappings are core's and come last."""

    options_model: ClassVar[type[Options]] = InitramfsOptions
    options: InitramfsOptions
    artifact_kind: ClassVar[Literal["rootfs", "initramfs"]] = "initramfs"
    default_filesystem: ClassVar[str] = "cpio"
    filesystems: ClassVar[frozenset[str] | None] = frozenset({"cpio"})

    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        """The image and the agent, as far as there are to be any. Raises UsageError for a file that is not there."""
        options = self.options
        if options.initramfs.busybox and options.source.busybox_url is None:
            self._check_default_busybox(plan)
        image = options.source.request(plan, self.context.environ)
        requests: list[Request] = [image] if image is not None else []
        if plan.agent is not None:
            requests.append(AgentRequest(plan.agent.name, plan.platform, str(plan.base_dir)))
        return requests

    def artifact_name(self, plan: BuildPlan) -> str:
        """`plugin.cpio.gz`, or `.cpio.zst`, or `.cpio`."""
        filesystem = cast("type[Filesystem]", drivers.load("filesystem", plan.filesystem.name))
        return f"plugin{filesystem.artifact_suffix(plan.filesystem.options)}"

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        """See hookspecs.assemble_tree."""
        from fledge_strategy_initramfs.modules import add_modules
        from fledge_strategy_initramfs.skeleton import add_skeleton

        options = self.options
        tree = self._tree(plan, sources)
        try:
            add_skeleton(tree)
            if options.initramfs.busybox:
                self._add_busybox(plan, tree)
            self._add_init(plan, tree)
            for source in sources:
                if isinstance(source, FileSource):
                    tree.insert(AGENT, File(source.content, 0o755, mtime=tree.epoch))
            if options.initramfs.kernel_modules is not None:
                folder = plan.base_dir / options.initramfs.kernel_modules
                loaded = add_modules(tree, folder, options.initramfs.modules, plan.platform)
                self.context.progress.info(f"kernel modules: {', '.join(loaded) or 'all built in'}")
        except BuildError as error:
            raise BuildError(f"can't put the initramfs together: {error.message}", hint=error.hint) from error
        return tree

    def check_tree(self, plan: BuildPlan, tree: Tree) -> None:
        """Raises BuildError, with the path, when /init or what it is to start can't run."""
        from fledge_strategy_initramfs.memory import warn_of_size

        options = self.options
        if options.init is not None and options.init.none and tree.get(INIT) is None:
            raise BuildError(
                "[init] none = true, but nothing is mapped to /init", hint='[mappings] "your-program" = "/init"'
            )
        check_startable(tree, INIT, plan.platform, "process 1")
        if options.guest_init_becomes is not None:
            check_startable(tree, guest_path(options.guest_init_becomes), plan.platform, "[init] path")
        if plan.agent is not None:
            check_startable(tree, AGENT, plan.platform, "the agent")
        if options.init is None:
            check_workload(tree, settle_runtime(plan.manifest, tree.image).workload, plan.platform)
        warn_of_size(tree, plan, self.context.progress)

    def _check_default_busybox(self, plan: BuildPlan) -> None:
        if plan.platform.architecture != BUSYBOX_ARCHITECTURE:
            raise UsageError(
                f"the default busybox is built for {BUSYBOX_ARCHITECTURE}, and the image for {plan.platform.architecture}",
                hint="give [source] busybox_url, or [initramfs] busybox = false",
            )

    def _tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        """The image's, or an empty one."""
        image = next((source for source in sources if isinstance(source, ImageSource)), None)
        if image is None:
            epoch = (plan.epoch or 0) * _SECOND
            return Tree(Directory(0o755, mtime=epoch), epoch)
        from fledge.tree.merge import merge

        self.context.progress.info(f"image: {image.reference} for {image.config.platform}, {image.digest}")
        epoch = (image.config.created or 0) if plan.epoch is None else plan.epoch * _SECOND
        return Tree(merge(image.layers, epoch), epoch, image.config, str(image.reference))

    def _add_busybox(self, plan: BuildPlan, tree: Tree) -> None:
        from fledge.download import download

        from fledge_strategy_initramfs.busybox import SIZE_MAX, add_busybox

        url, digest = self.options.busybox
        try:
            source = download(
                self.context, url, what="busybox", checksum=digest, limit=SIZE_MAX, base_dir=plan.base_dir, warn=False
            )
        except BuildError as error:
            # Where there is no way out to the network, the default is what a first build fails at.
            hint = error.hint if self.options.source.busybox_url else ANOTHER_BUSYBOX
            raise BuildError(error.message, hint=hint) from error
        if digest is None:
            self.context.progress.warning(
                f'busybox from {source.origin} is used unverified; pin it with busybox_sha256 = "{source.digest.hex}"'
            )
        check_program(source.content, plan.platform, f"busybox from {source.origin}")
        links = add_busybox(tree, source.content, source.origin)
        self.context.progress.info(f"busybox: {links} applets from {source.origin}")

    def _add_init(self, plan: BuildPlan, tree: Tree) -> None:
        options = self.options
        if options.init is not None and options.init.none:
            return
        if options.host_init is not None:
            from fledge.download import host_file

            init = host_file(plan.base_dir / options.host_init, what="[init] path", limit=_INIT_MAX).content
            tree.insert(INIT, File(init, 0o755, mtime=tree.epoch))
            return
        self._add_guest_init(plan, tree)

    def _add_guest_init(self, plan: BuildPlan, tree: Tree) -> None:
        from fledge.guest import WORKLOAD, describe, workload_of
        from fledge_guest import Architecture, init_binary

        try:
            init = init_binary(cast("Architecture", plan.platform.architecture))
        except ValueError as error:
            raise BuildError(str(error), hint="give an init of your own with [init]") from error
        tree.insert(INIT, File(Content.of(init), 0o755, mtime=tree.epoch))
        becomes = self.options.guest_init_becomes
        if becomes is not None:
            workload = workload_of({}, handover=becomes)
        else:
            handover = str(AGENT) if plan.agent is not None else None
            workload = describe(plan, tree.image, handover=handover, warn=self.context.progress.warning)
        if workload is not None:
            tree.insert(WORKLOAD, File(Content.of(workload.render()), 0o644, mtime=tree.epoch))
