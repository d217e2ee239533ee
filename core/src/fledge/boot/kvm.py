"""Whether KVM runs guests here.

/dev/kvm may exist and be of no use: inside some virtual machines it emulates the guest's kernel instruction by
instruction, a thousand times slower than the processor, and a boot looks as if it hung. So a guest of four
instructions is run and timed.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import threading
import time
from typing import Final

DEVICE: Final = "/dev/kvm"

# linux/kvm.h; the ioctls' numbers are _IO, _IOR and _IOW of type 0xAE, those with a struct for x86_64.
_CREATE_VM: Final = 0xAE01
_GET_VCPU_MMAP_SIZE: Final = 0xAE04
_CREATE_VCPU: Final = 0xAE41
_SET_USER_MEMORY_REGION: Final = 0x4020AE46
_RUN: Final = 0xAE80
_SET_REGS: Final = 0x4090AE82
_GET_SREGS: Final = 0x8138AE83
_SET_SREGS: Final = 0x4138AE84
_EXIT_HLT: Final = 5

_TURNS: Final = 20_000
_RUNS: Final = 5
"""The fastest counts: other programs may take the processor away in between."""
_PATIENCE: Final = 0.002
"""Seconds for a run. A processor needs about ten microseconds, an emulator more than ten milliseconds."""
_HANG: Final = 3.0
"""Seconds."""

_AT: Final = 0x1000
_PROGRAM: Final = b"\xb9" + struct.pack("<I", _TURNS) + b"\x49\x75\xfd\xf4"
"""32-bit: mov ecx, TURNS; again: dec ecx; jnz again; hlt."""


def unusable() -> str | None:
    """Why KVM can't be used; None when it can. Takes a few milliseconds, at most 3 s."""
    try:
        kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"there is no {DEVICE}"
    except OSError as error:
        return f"{DEVICE} can't be opened: {error.strerror}"
    if platform.machine() != "x86_64":
        os.close(kvm)
        return None
    answers: list[str | None] = []
    # A guest that hangs holds its thread inside the kernel until the process ends.
    probe = threading.Thread(target=lambda: answers.append(_run_guest(kvm)), daemon=True, name="fledge-kvm")
    probe.start()
    probe.join(_HANG)
    return answers[0] if answers else f"{DEVICE} hangs"


def _run_guest(kvm: int) -> str | None:
    vm = vcpu = -1
    try:
        vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        memory[: len(_PROGRAM)] = _PROGRAM
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        region = struct.pack("<IIQQQ", 0, 0, _AT, mmap.PAGESIZE, address)
        fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, region)
        vcpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
        state = mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
        _enter_protected_mode(vcpu)
        seconds = min(_time_run(vcpu) for _ in range(_RUNS))
    except OSError as error:
        return f"{DEVICE} does not start a guest: {error.strerror}"
    finally:
        for fd in (vcpu, vm, kvm):
            if fd >= 0:
                os.close(fd)
    (reason,) = struct.unpack_from("<I", state, 8)  # kvm_run.exit_reason
    if reason != _EXIT_HLT:
        return f"{DEVICE} does not run a guest: it exits with reason {reason}"
    if seconds > _PATIENCE:
        return f"{DEVICE} emulates the guest, {seconds / (2 * _TURNS) * 1e6:.1f} microseconds an instruction"
    return None


def _time_run(vcpu: int) -> float:
    # rax to r15, rip, rflags, whose bit 1 is always set.
    fcntl.ioctl(vcpu, _SET_REGS, struct.pack("<18Q", *[0] * 16, _AT, 2))
    began = time.perf_counter()
    fcntl.ioctl(vcpu, _RUN, 0)
    return time.perf_counter() - began


def _enter_protected_mode(vcpu: int) -> None:
    """Flat 32-bit segments, without paging."""
    sregs = bytearray(0x138)
    fcntl.ioctl(vcpu, _GET_SREGS, sregs)
    for index in range(6):  # cs, ds, es, fs, gs, ss
        kind, selector = (11, 8) if index == 0 else (3, 16)  # code and data, both accessed
        # base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
        struct.pack_into("<QIH10B", sregs, 24 * index, 0, 2**32 - 1, selector, kind, 1, 0, 1, 1, 0, 1, 0, 0, 0)
    cr0 = 24 * 8 + 16 * 2  # after the segments with tr and ldt, gdt and idt
    struct.pack_into("<Q", sregs, cr0, struct.unpack_from("<Q", sregs, cr0)[0] | 1)
    fcntl.ioctl(vcpu, _SET_SREGS, sregs)
