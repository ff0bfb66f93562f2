"""What a CPU kernel is: LLVM IR text with one entry point, and how its work is cut into tasks.

The entry point of every kernel is::

    void @kernel(ptr arguments, i64 first, i64 last, ptr scratch)

`arguments` points to an array of operand addresses, in the order of the kernel's operands; the call does
the tasks ``first <= task < last``. Tasks are independent and may run in any order on any thread: results
must not depend on how they are divided. `scratch` is memory of the calling thread, 64-byte aligned, of
`scratch_nbytes`; its contents are undefined.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from treadle.devices.cpu.objects import Library

ENTRY = "kernel"
ENTRY_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
"""The ABI of every kernel's entry point, for calling one from Python (tests do; programs use the runner)."""


class Facts(NamedTuple):
    """What is to be known of a kernel besides its code."""

    label: str
    """What a person reads in a profile: ``matmul 64x1000x100 +bias+relu``."""
    tasks: int
    scratch_nbytes: int
    flops: int
    nbytes: int
    """Bytes read and written if every operand is touched once."""


@dataclass(frozen=True)
class NativeKernel:
    """Generated code, not yet compiled. Equal text means the same kernel, wherever it came from."""

    text: str
    label: str
    tasks: int
    scratch_nbytes: int = 0
    flops: int = 0
    nbytes: int = 0

    @property
    def facts(self) -> Facts:
        """All but the code."""
        return Facts(self.label, self.tasks, self.scratch_nbytes, self.flops, self.nbytes)


class LoadedKernel:
    """A kernel that can be called at `address`, as long as this object is alive."""

    __slots__ = ("address", "facts", "library")

    def __init__(self, facts: Facts, library: Library):
        self.facts = facts
        self.library = library
        self.address = library[ENTRY]

    @property
    def entry(self) -> Callable[[int, int, int, int], None]:
        """The entry point as a ctypes function ``(arguments, first, last, scratch)``."""
        return ENTRY_TYPE(self.address)


@dataclass(frozen=True)
class Step:
    """One kernel applied to operands, each ``("in", i)``, ``("out", i)`` or ``("temp", i)`` of the op being
    lowered.
    """

    kernel: NativeKernel
    operands: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Lowered:
    """How an op runs: steps in order, and the sizes in bytes of the temporaries they share (placed in the
    arena).
    """

    steps: tuple[Step, ...]
    temporaries: tuple[int, ...] = ()
    in_place: bool = False
    """Whether an operand that an epilogue reads element by element may lie where the result does."""
    prepared: int = 0
    """How many of the first steps only prepare operands: each writes temporaries that later steps only read,
    and can be left out as long as the operands are the same.
    """
