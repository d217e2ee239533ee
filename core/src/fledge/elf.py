"""Whether the guest can run a program, by the head of its ELF file (elf(5))."""

from __future__ import annotations

import struct
from typing import Final

from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.values import Platform

_MAGIC: Final = b"\x7fELF"
_HEAD: Final = 20
"""e_ident (16), e_type (2), e_machine (2)."""

# e_ident[EI_CLASS] (1: 32-bit, 2: 64-bit), e_ident[EI_DATA] (1: little endian, 2: big), e_machine.
_MACHINES: Final = {
    "386": (1, 1, 3),
    "arm": (1, 1, 40),
    "amd64": (2, 1, 62),
    "arm64": (2, 1, 183),
    "ppc64le": (2, 1, 21),
    "riscv64": (2, 1, 243),
    "s390x": (2, 2, 22),
}
_NAMES: Final = {machine: name for name, machine in _MACHINES.items()}


def check_program(content: Content, platform: Platform, what: str) -> None:
    """Raises BuildError unless `platform` can run the file: an ELF file for its machine, or a script with `#!`.

    The kernel answers anything else with ENOEXEC, and a guest whose agent is an error page or another machine's
    binary only says so at its first boot. ELF files for architectures that are not known here pass.
    """
    head = b"".join(bytes(piece.source.view(piece.start, min(_HEAD, piece.length))) for piece in content.pieces[:1])
    if head.startswith(b"#!"):
        return
    if len(head) < _HEAD or not head.startswith(_MAGIC):
        raise BuildError(
            f"{what} is no program: it is neither an ELF file nor a script with #! (it begins with {head[:8]!r})"
        )
    wanted = _MACHINES.get(platform.architecture)
    order = "<" if head[5] == 1 else ">"
    found = (head[4], head[5], struct.unpack_from(f"{order}H", head, 18)[0])
    if wanted is not None and found != wanted:
        name = _NAMES.get(found, f"machine {found[2]}, {32 * found[0]}-bit")
        raise BuildError(
            f"{what} is built for {name}, and the image for {platform.architecture}",
            hint="name the binary for the image's architecture, or choose the other one with --platform",
        )
