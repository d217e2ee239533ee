"""Who else? The plugin manager of one build: the drivers that the plan names, then the extensions.

Everything is registered explicitly and in a fixed order, since pluggy calls the last one registered first and
entry points come in no order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import pluggy

from fledge import drivers, hookspecs
from fledge.errors import BuildError
from fledge.hookspecs import PROJECT, hookimpl
from fledge.kinds import Driver, Filesystem, Strategy

if TYPE_CHECKING:
    from fledge.artifact import Artifact, ManifestSection
    from fledge.context import BuildContext
    from fledge.plan import BuildPlan, Choice, Mapping
    from fledge.tree.tree import Tree


class Core:
    """What core itself contributes to the collecting hooks."""

    def __init__(self, context: BuildContext) -> None:
        self._context = context

    @hookimpl
    def apply_mappings(self, plan: BuildPlan) -> Sequence[Mapping]:
        """The user's."""
        return plan.mappings

    @hookimpl
    def emit_manifest(self, plan: BuildPlan, artifact: Artifact) -> Sequence[ManifestSection]:
        """The sections that the schema names."""
        from fledge.manifest import core_sections

        return core_sections(plan, artifact, warn=self._context.progress.warning)


class Plugins:
    """The registered plugins. Creating it checks that every hook has the implementations it should have."""

    def __init__(self, plan: BuildPlan, context: BuildContext, extensions: Sequence[tuple[str, object]]) -> None:
        """Raises UsageError or BuildError when a driver is missing or a plugin does not fit the hooks."""
        self._context = context
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.hook = self._manager.hook
        for name, extension in extensions:
            self.add(f"extension {name}", extension() if isinstance(extension, type) else extension)
        self._refuse_owners_among_extensions()
        self.add("core", Core(context))
        self.filesystem = cast("Filesystem", self.add_driver("filesystem", plan.filesystem))
        self.strategy = cast("Strategy", self.add_driver("strategy", plan.strategy))
        self._demand_owner(self.hook.assemble_tree, f"strategy {plan.strategy.name}")
        self._demand_owner(self.hook.pack_artifact, f"filesystem {plan.filesystem.name}")

    def add(self, name: str, plugin: object) -> None:
        """Registers one more. Raises BuildError when it does not fit the hooks."""
        try:
            self._manager.register(plugin, name)
            # A hook whose name is misspelt would never be called.
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise BuildError(f"the {name} does not fit the hooks: {error}") from error

    def add_driver(self, kind: str, choice: Choice) -> Driver:
        """Creates and registers a driver. Raises UsageError when it is not installed."""
        driver = drivers.load(kind, choice.name)(choice.name, choice.options, self._context)
        self.add(f"{kind} {choice.name}", driver)
        return driver

    def collect(self, name: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Calls a collecting hook on core first and then on each extension; gives who proposed, and each proposal."""
        caller = getattr(self.hook, name)
        plugins = [impl.plugin for impl in caller.get_hookimpls()]
        plugins.sort(key=lambda plugin: (not isinstance(plugin, Core), self._name(plugin)))
        for plugin in plugins:
            alone = self._manager.subset_hook_caller(name, remove_plugins=[p for p in plugins if p is not plugin])
            for proposals in alone(**arguments):
                for proposal in proposals:
                    yield self._name(plugin), proposal

    def _refuse_owners_among_extensions(self) -> None:
        for caller in (self.hook.fetch_source, self.hook.assemble_tree, self.hook.pack_artifact):
            for impl in caller.get_hookimpls():
                if not (impl.wrapper or impl.hookwrapper):
                    raise BuildError(
                        f"the {impl.plugin_name} implements {caller.name}, which one driver owns",
                        hint="an extension wraps it: @hookimpl(wrapper=True)",
                    )
        for caller in (self.hook.apply_mappings, self.hook.emit_manifest):
            for impl in caller.get_hookimpls():
                if impl.wrapper or impl.hookwrapper:
                    raise BuildError(f"the {impl.plugin_name} wraps {caller.name}; an extension only adds to it")

    @staticmethod
    def _demand_owner(caller: pluggy.HookCaller, owner: str) -> None:
        # An override without the decorator is not an implementation, and the hook would answer None.
        if all(impl.wrapper or impl.hookwrapper for impl in caller.get_hookimpls()):
            raise BuildError(f"the {owner} does not implement {caller.name}", hint="decorate the method with @hookimpl")

    def _name(self, plugin: object) -> str:
        return self._manager.get_name(plugin) or repr(plugin)


def mappings_of(plugins: Plugins, plan: BuildPlan, tree: Tree) -> Sequence[Mapping]:
    """Everyone's mappings; who asks for one stands in its origin."""
    from dataclasses import replace

    return [
        mapping if who == "core" else replace(mapping, origin=who)
        for who, mapping in plugins.collect("apply_mappings", plan=plan, tree=tree)
    ]
