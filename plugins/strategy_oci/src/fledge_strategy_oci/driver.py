"""The strategy `oci_rootfs`: an image's layers, its config and the agent become a root filesystem (spec section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

from fledge.errors import BuildError
from fledge.hookspecs import hookimpl
from fledge.kinds import Strategy
from fledge.names import file_stem
from fledge.sources import AgentRequest, FileSource, ImageSource, Request, Source
from fledge.tree.content import Content
from fledge.tree.inode import File
from fledge.tree.tree import Tree
from fledge.values import GuestPath

from fledge_strategy_oci.options import OciRootfsOptions

if TYPE_CHECKING:
    from fledge.options import Options
    from fledge.plan import BuildPlan

IMAGE_CONFIG: Final = GuestPath.parse("/etc/fsify-entrypoint")
"""The image's config document, for whoever looks into a running guest. The name is the original's."""
AGENT: Final = GuestPath.parse("/bin/kestrel")
"""Where Volant's init execs it from."""

_SECOND: Final = 10**9


class OciRootfs(Strategy):
    """Merges the layers and adds the image's config and the agent; mappings are core's."""

    options_model: ClassVar[type[Options]] = OciRootfsOptions
    artifact_kind: ClassVar[Literal["rootfs", "initramfs"]] = "rootfs"
    default_filesystem: ClassVar[str] = "squashfs"

    def requests(self, plan: BuildPlan) -> Sequence[Request]:
        """The image, then the agent if there is to be one. Raises UsageError for a file that is not there."""
        image = cast("OciRootfsOptions", self.options).source.request(plan, self.context.environ)
        assert image is not None, "the options hold an image or a Dockerfile"
        requests: list[Request] = [image]
        if plan.agent is not None:
            requests.append(AgentRequest(plan.agent.name, plan.platform, str(plan.base_dir)))
        return requests

    def artifact_name(self, plan: BuildPlan) -> str:
        """`<name>-rootfs.img`."""
        return f"{file_stem(plan.name)}-rootfs.img"

    @hookimpl
    def assemble_tree(self, plan: BuildPlan, sources: Sequence[Source]) -> Tree:
        """See hookspecs.assemble_tree."""
        from fledge.tree.merge import merge

        image, *agents = sources
        assert isinstance(image, ImageSource)
        self.context.progress.info(f"image: {image.reference} for {image.config.platform}, {image.digest}")
        epoch = (image.config.created or 0) if plan.epoch is None else plan.epoch * _SECOND
        tree = Tree(merge(image.layers, epoch), epoch, image.config, str(image.reference))
        add_file(tree, IMAGE_CONFIG, Content.of(image.config.raw), 0o644)
        for agent in agents:
            assert isinstance(agent, FileSource)
            add_file(tree, AGENT, agent.content, 0o755)
        self._add_init(plan, tree, str(AGENT) if agents else None)
        return tree

    def _add_init(self, plan: BuildPlan, tree: Tree, agent: str | None) -> None:
        """Makes the image boot on any VMM with init=/.fledge/init. Volant execs the agent itself and never looks there."""
        from fledge.guest import add_init, describe
        from fledge.options import OverlayOptions

        warn = self.context.progress.warning
        options = plan.filesystem.options
        overlay_size = options.overlay_size if isinstance(options, OverlayOptions) else None
        try:
            workload = describe(plan, tree.image, handover=agent, overlay_size=overlay_size, warn=warn)
            add_init(tree, plan.platform.architecture, workload, warn=warn)
        except BuildError as error:
            raise BuildError(f"can't make {tree.origin or 'the image'} bootable: {error.message}") from error

    def check_tree(self, plan: BuildPlan, tree: Tree) -> None:
        """Raises BuildError, with the path, when the agent or the workload's entrypoint can't be started from the tree."""
        from fledge.bootable import check_startable, check_workload
        from fledge.runtime import settle_runtime

        if plan.agent is not None:
            check_startable(tree, AGENT, plan.platform, "the agent")
        check_workload(tree, settle_runtime(plan.manifest, tree.image).workload, plan.platform)


def add_file(tree: Tree, path: GuestPath, content: Content, mode: int) -> None:
    """Puts a file of ours (0:0, the tree's epoch) at `path`, over a file or symlink that the image has there.

    Symlinks on the way are resolved inside the image. Raises BuildError where the image has something in the way.
    """
    try:
        tree.insert(path, File(content, mode, mtime=tree.epoch))
    except BuildError as error:
        raise BuildError(f"can't put {path} into {tree.origin or 'the image'}: {error.message}") from error
