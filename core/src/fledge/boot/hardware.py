"""What a machine is made of, as far as this host decides: the VMM, the kernel with its modules, the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from fledge import drivers
from fledge.boot import kvm
from fledge.boot.features import KernelFeature, lacking, to_load
from fledge.boot.kernel import Kernel, find_kernel, read_kernel
from fledge.boot.machine import Accelerator
from fledge.errors import BuildError, FledgeError, UsageError

if TYPE_CHECKING:
    from fledge.context import BuildContext
    from fledge.kernel_modules import Module
    from fledge.kinds import Vmm

VMMS: Final = ("qemu", "cloud-hypervisor", "firecracker")
"""The order in which they are looked for."""

CONSOLES: Final = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
"""The first serial port, as the kernel calls it."""


def host_architecture() -> str:
    """In Go's names; amd64 for what no guest runs on."""
    import platform

    return "arm64" if platform.machine() == "aarch64" else "amd64"


def choose_vmm(name: str | None, context: BuildContext, can: Callable[[Vmm], bool] = lambda _: True) -> Vmm:
    """The one that is named; else the first whose program is here, or the first at all for its error.

    `can`: whether one will do that is not named. Raises UsageError when none is installed that can, BuildError when
    only those are left that do not load.
    """
    if name is not None:
        return _load_vmm(name, context)
    installed = drivers.names("vmm")
    candidates: list[Vmm] = []
    broken: FledgeError | None = None
    for one in [*(one for one in VMMS if one in installed), *(one for one in installed if one not in VMMS)]:
        try:
            vmm = _load_vmm(one, context)
        except FledgeError as error:  # A broken plugin harms nobody who does not name it.
            broken = broken or error
            continue
        if can(vmm):
            candidates.append(vmm)
    if candidates:
        return next((vmm for vmm in candidates if is_installed(vmm)), candidates[0])
    if broken is not None:
        raise broken
    unfit = f" that can do it; there is {', '.join(installed)}" if installed else ""
    raise UsageError(f"no VMM is installed{unfit}", hint="try: pip install fledge-vmm-qemu")


def is_installed(vmm: Vmm) -> bool:
    """Whether its program is here."""
    import shutil

    return shutil.which(vmm.program(host_architecture())) is not None


def _load_vmm(name: str, context: BuildContext) -> Vmm:
    driver = cast("type[Vmm]", drivers.load("vmm", name))
    return driver(name, driver.options_model(), context)


def choose_kernel(
    vmm: Vmm, path: Path | None, modules: Path | None, context: BuildContext, *, option: str | None = "--kernel"
) -> Kernel:
    """The kernel at `path` with its modules in `modules`; None: what the environment names, or the usual places.

    `option`: what gives `path` on the command line, for the error.
    Raises UsageError when there is none or `vmm` does not boot it, BuildError when it can't be read.
    """
    named = context.environ.get("FLEDGE_KERNEL_MODULES")
    found = find_kernel(vmm.kernel_formats, path, context.environ, option=option)
    kernel = read_kernel(found, modules or (Path(named) if named else None))
    if kernel.format not in vmm.kernel_formats:
        allowed = " or ".join(vmm.kernel_formats)
        raise UsageError(f"{vmm.name} does not boot {kernel.path}, a {kernel.format}; it takes a {allowed}")
    return kernel


def check_installed(vmm: Vmm, architecture: str) -> None:
    """Raises UsageError when the program that runs guests of an architecture is not here."""
    import shutil

    program = vmm.program(architecture)
    if shutil.which(program) is None:
        raise UsageError(f"{vmm.name} is not installed: there is no {program} in PATH", hint=f"install {vmm.package}")


def choose_modules(kernel: Kernel, features: Iterable[KernelFeature], what: str, hint: str) -> Sequence[Module]:
    """What the guest loads, in this order. Raises BuildError, which `what` begins, when the kernel lacks something."""
    wanted = list(features)
    lack = lacking(kernel, wanted)
    if lack is not None:
        raise BuildError(f"{what}: {lack}", hint=hint)
    if kernel.modules is None:
        return []
    modules = kernel.modules.closure(to_load(kernel, wanted))
    release = modules[0].release() if modules else None
    if release is not None and release != kernel.release:
        raise BuildError(
            f"{what}: the modules in {kernel.modules.folder} are for Linux {release}, and the kernel {kernel.path} is "
            f"{kernel.release}",
            hint=hint,
        )
    return modules


def choose_accelerator(
    wanted: Literal["auto", "kvm", "tcg"], vmm: Vmm, kernel: Kernel, context: BuildContext
) -> Accelerator:
    """KVM where it can be used. Raises UsageError or BuildError when that leaves nothing."""
    import platform

    foreign = kernel.architecture != {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if wanted == "tcg" and "tcg" not in vmm.accelerators:
        raise UsageError(f"{vmm.name} runs with KVM only", hint="--vmm qemu emulates a processor")
    if wanted == "tcg":
        return "tcg"
    reason = f"its kernel is for {kernel.architecture}" if foreign else kvm.unusable()
    if reason is None:
        return "kvm"
    if wanted == "kvm":
        raise BuildError(f"KVM can't run the guest: {reason}", hint="--accel tcg emulates a processor, slowly")
    if "tcg" not in vmm.accelerators:
        raise BuildError(
            f"{vmm.name} needs KVM, which can't run the guest: {reason}", hint="--vmm qemu emulates a processor"
        )
    context.progress.warning(f"KVM can't run the guest: {reason}; the processor is emulated, which is slower")
    return "tcg"


def wanted_accelerator(name: str | None) -> Literal["auto", "kvm", "tcg"]:
    """What FLEDGE_ACCEL or --accel names. Raises UsageError for anything else."""
    match name or "auto":
        case "auto" | "kvm" | "tcg" as known:
            return known
        case unknown:
            raise UsageError(f"FLEDGE_ACCEL is {unknown!r}; allowed are auto, kvm and tcg")
