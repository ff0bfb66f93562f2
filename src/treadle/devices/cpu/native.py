"""What a CPU kernel is: LLVM IR text with one entry point, and how its work is cut into tasks.

The entry point of every kernel is::

    void @kernel(ptr arguments, i64 first, i64 last, ptr scratch)

`arguments` points to an array of operand addresses, in the order of the kernel's operands; the call does
the tasks ``first <= task < last``. Tasks are independent and may run in any order on any thread: results
must not depend on how they are divided. `scratch` is memory of the calling thread, 64-byte aligned, of
`scratch_nbytes`; its contents are undefined.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NativeKernel:
    """Generated code, not yet compiled. Equal text means the same kernel, wherever it came from."""

    text: str
    label: str
    """What a person reads in a profile: ``matmul 64x1000x100 +bias+relu``."""
    tasks: int
    scratch_nbytes: int = 0
    flops: int = 0
    nbytes: int = 0
    """Bytes read and written if every operand is touched once."""


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
