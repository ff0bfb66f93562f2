"""Object code of x86-64 Linux placed in this process, without LLVM: mapping it, resolving what it refers to.

LLVM's own linker does the same, but to load LLVM takes longer than everything else that a program from the
disk needs. Kernels are position-independent and refer to their own constants and to a few functions of libc,
so that four kinds of relocation (System V ABI, AMD64 supplement, section 4.4) are all there is. What holds
anything else is left to LLVM's linker.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from functools import cache
from typing import NamedTuple

from treadle.devices.cpu.target import architecture

HEADER = struct.Struct("<4s12xHH20xQ10xHHH")
"""Magic, kind of file, machine, offset of the section headers; their size, number, and which names them."""
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQq")
RELOCATABLE, X86_64 = 1, 62
MACHINES = {"x86_64": X86_64, "aarch64": 183}
SYMBOLS, RELOCATIONS, NO_BITS = 2, 4, 8
WRITABLE, ALLOCATED = 1, 2
ABSOLUTE_64, RELATIVE_32, FUNCTION_32 = 1, 2, 4
COMMON, ABSOLUTE = 0xFFF2, 0xFFF1
# jmp *(rip), and the address to go to: libc may be further away than 32 bits reach.
STUB = struct.Struct("<6s2xQ")
JUMP = b"\xff\x25\x02\x00\x00\x00"


class Section(NamedTuple):
    """A section header."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    nbytes: int
    link: int
    info: int
    alignment: int
    entry_nbytes: int


class Placed:
    """Machine code in memory of its own: ``placed[symbol]`` is an address, valid while this is referenced."""

    def __init__(self, memory: mmap.mmap, addresses: dict[str, int]):
        self._memory = memory
        self._addresses = addresses

    def __getitem__(self, symbol: str) -> int:
        return self._addresses[symbol]

    def leave(self) -> None:
        """Never unmap the code, not even when nobody refers to it any more."""
        _left.append(self)


_left: list[Placed] = []


def place(code: bytes) -> Placed | None:
    """Place a relocatable object; None if it is not of this machine, or holds what is not known here.

    Raises:
        RuntimeError: it calls a function that this process does not have.
    """
    if sys.platform != "linux" or len(code) < HEADER.size:
        return None
    magic, kind, machine, table, nbytes, count, _ = HEADER.unpack_from(code)
    if magic != b"\x7fELF" or (kind, machine, nbytes) != (RELOCATABLE, X86_64, SECTION.size):
        return None
    sections = [Section(*SECTION.unpack_from(code, table + i * nbytes)) for i in range(count)]
    symbols = _symbols(code, sections)
    relocations = [
        (sections[s.info].flags & ALLOCATED and s.info, *RELOCATION.unpack_from(code, s.offset + at))
        for s in sections
        if s.kind == RELOCATIONS
        for at in range(0, s.nbytes, RELOCATION.size)
    ]
    relocations = [row for row in relocations if row[0]]
    if any(info & 0xFFFFFFFF not in (ABSOLUTE_64, RELATIVE_32, FUNCTION_32) for _, _, info, _ in relocations):
        return None
    if any(section == COMMON for _, section, _ in symbols):
        return None
    starts, stubs_at, writable_at, total = _laid_out(sections, len(symbols))
    memory = mmap.mmap(-1, total)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i, start in starts.items():
        section = sections[i]
        if section.kind != NO_BITS:
            memory[start : start + section.nbytes] = code[section.offset : section.offset + section.nbytes]
    addresses = [
        0 if section == 0 else value if section == ABSOLUTE else base + starts.get(section, 0) + value
        for _, section, value in symbols
    ]
    for section, offset, info, addend in relocations:
        symbol, kind = info >> 32, info & 0xFFFFFFFF
        at = starts[section] + offset
        if symbols[symbol][1] != 0:
            target = addresses[symbol]
        elif kind == ABSOLUTE_64:
            target = _outside(symbols[symbol][0])
        elif kind == FUNCTION_32:
            stub = stubs_at + STUB.size * symbol
            STUB.pack_into(memory, stub, JUMP, _outside(symbols[symbol][0]))
            target = base + stub
        else:  # data of a library, which may be further away than 32 bits reach
            return None
        if kind == ABSOLUTE_64:
            struct.pack_into("<Q", memory, at, target + addend & 0xFFFFFFFFFFFFFFFF)
        else:
            struct.pack_into("<i", memory, at, target + addend - (base + at))
    if _protect()(base, writable_at, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        return None
    names = {name: address for (name, section, _), address in zip(symbols, addresses, strict=True) if section}
    return Placed(memory, names)


def is_foreign(code: bytes) -> bool:
    """Whether it is an object of another architecture, which LLVM's linker would place all the same."""
    own = MACHINES.get(architecture())
    return own is not None and code[:4] == b"\x7fELF" and HEADER.unpack_from(code)[2] != own


def _symbols(code: bytes, sections: list[Section]) -> list[tuple[str, int, int]]:
    """Name, section and value of every symbol."""
    found = []
    for table in sections:
        if table.kind == SYMBOLS:
            names = sections[table.link].offset
            for at in range(0, table.nbytes, SYMBOL.size):
                name, _, _, section, value, _ = SYMBOL.unpack_from(code, table.offset + at)
                text = code[names + name : code.index(b"\0", names + name)].decode()
                found.append((text, section, value))
    return found


def _laid_out(sections: list[Section], stubs: int) -> tuple[dict[int, int], int, int, int]:
    """Where each section goes: code and constants, then stubs, then on pages of their own what is written.

    The offset of the stubs, of the writable part, and the size of all.
    """
    starts: dict[int, int] = {}
    end = 0

    def put(writable: int) -> None:
        nonlocal end
        for i, section in enumerate(sections):
            if section.flags & ALLOCATED and section.flags & WRITABLE == writable:
                end = _aligned(end, max(1, section.alignment))
                starts[i] = end
                end += section.nbytes

    put(0)
    stubs_at = _aligned(end, STUB.size)
    end = writable_at = _aligned(stubs_at + stubs * STUB.size, mmap.PAGESIZE)
    put(WRITABLE)
    return starts, stubs_at, writable_at, _aligned(end, mmap.PAGESIZE)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _outside(name: str) -> int:
    """The address of a function of this process."""
    try:
        return ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise RuntimeError(f"machine code calls {name!r}, which is not in this process") from None


@cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _protect():
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return protect
