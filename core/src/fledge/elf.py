"""Whether the guest can run a program, and through what: by the head of its ELF file (elf(5)), or its `#!` line."""

from __future__ import annotations

import struct
from typing import Final

from fledge.errors import BuildError
from fledge.tree.content import Content
from fledge.values import PATH_MAX, Platform

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

_PT_INTERP: Final = 3
# Where e_phoff, e_phentsize and e_phnum stand, and p_type, p_offset and p_filesz, for 32 and 64 bits.
_PROGRAM_HEADERS: Final = {1: ("28xI10x2H", "II8xI"), 2: ("32xQ14x2H", "I4xQ16xQ")}
_HEADERS_MAX: Final = 64 << 10
"""What the kernel reads (fs/binfmt_elf.c, load_elf_phdrs)."""
_LINE_MAX: Final = 256
"""How much of a `#!` line the kernel looks at (BINPRM_BUF_SIZE)."""


def interpreter(content: Content) -> bytes | None:
    """The program that the kernel loads to run this one: of a script's `#!` line, or an ELF file's dynamic loader.

    None for a static program. Raises ValueError when the headers are not those of a program.
    """
    head = _read(content, 0, _LINE_MAX)
    if head.startswith(b"#!"):
        words = head[2:].partition(b"\n")[0].strip(b" \t").split(maxsplit=1)
        if not words:
            raise ValueError("its #! line names no interpreter")
        return words[0]
    if len(head) < 64 or not head.startswith(_MAGIC) or head[4] not in _PROGRAM_HEADERS:
        raise ValueError("its ELF header is cut short or damaged")
    order = "<" if head[5] == 1 else ">"
    elf_header, program_header = (struct.Struct(order + fields) for fields in _PROGRAM_HEADERS[head[4]])
    start, step, count = elf_header.unpack_from(head)
    if count and not program_header.size <= step <= _HEADERS_MAX // count:
        raise ValueError(f"its ELF file has {count} program headers of {step} bytes")
    table = _read(content, start, count * step)
    if len(table) < count * step:
        raise ValueError("its ELF program headers are cut short")
    for at in range(0, len(table), step):
        kind, offset, size = program_header.unpack_from(table, at)
        if kind == _PT_INTERP:
            name = _read(content, offset, min(size, PATH_MAX)).rstrip(b"\0")
            if not name:
                raise ValueError("its ELF file names no dynamic loader where it should")
            return name
    return None


def _read(content: Content, start: int, length: int) -> bytes:
    """Bytes from `start`; fewer where the file ends before. Holes are zeros."""
    length = max(0, min(length, content.size - start))
    found = bytearray(length)
    for piece in content.pieces:
        begin, end = max(start, piece.offset), min(start + length, piece.offset + piece.length)
        if begin < end:
            found[begin - start : end - start] = piece.source.view(piece.start + begin - piece.offset, end - begin)
    return bytes(found)


def architecture_of(content: Content) -> str | None:
    """In Go's names, `machine 258, 64-bit` for those not known here; None for what is no ELF file."""
    head = _read(content, 0, _HEAD)
    if len(head) < _HEAD or not head.startswith(_MAGIC):
        return None
    order = "<" if head[5] == 1 else ">"
    found = (head[4], head[5], struct.unpack_from(f"{order}H", head, 18)[0])
    return _NAMES.get(found, f"machine {found[2]}, {32 * found[0]}-bit")


def check_program(content: Content, platform: Platform, what: str) -> None:
    """Raises BuildError unless `platform` can run the file: an ELF file for its machine, or a script with `#!`.

    The kernel answers anything else with ENOEXEC, and a guest whose agent is an error page or another machine's
    binary only says so at its first boot. ELF files for architectures that are not known here pass.
    """
    head = _read(content, 0, _HEAD)
    if head.startswith(b"#!"):
        return
    found = architecture_of(content)
    if found is None:
        begins = f"it begins with {head[:8]!r}" if head else "it is empty"
        raise BuildError(f"{what} is no program: it is neither an ELF file nor a script with #! ({begins})")
    if platform.architecture in _MACHINES and found != platform.architecture:
        raise BuildError(
            f"{what} is built for {found}, and the image for {platform.architecture}",
            hint="name the binary for the image's architecture, or choose the other one with --platform",
        )
