"""What a kernel in C is: source text with one entry point, and how many work items run it.

The text is in a dialect that OpenCL C and CUDA C++ share: its few words that differ between them (`KERNEL`,
`PARAM`, `LANE` ...) are macros of a preamble (see `dialect`), so that one text serves all devices of the
family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Unsupported(Exception):
    """Something that is not rendered for the dtypes it has: its reference runs on the host."""


@dataclass(frozen=True)
class Kernel:
    """Something that a device can be made to launch. Equal ones are the same."""

    text: str
    """What there is to be read of it."""
    label: str
    """What a person reads in a profile."""
    operands: tuple[str, ...]
    """The dtypes of the operands."""
    flops: int
    nbytes: int
    """Bytes read and written if every operand is touched once."""

    @property
    def work(self) -> str:
        """How much of the device it takes, in words."""
        return "a library's"


@dataclass(frozen=True)
class SourceKernel(Kernel):
    """A kernel's code, not yet compiled.

    The entry point is named `entry` and takes the addresses of its operands. `groups` groups of `lanes` work
    items run it; a work item finds its place by `GROUP` and `LANE`.
    """

    entry: str
    groups: int
    lanes: int

    @property
    def work(self) -> str:
        return f"{self.groups} groups of {self.lanes}"


Place = tuple[str, int]
"""An operand of the op being lowered: ("in", i), ("out", i), ("extra", i), ("temp", i),
("status", 0).
"""


@dataclass(frozen=True)
class Launch:
    """A kernel applied to operands."""

    kernel: Kernel
    operands: tuple[Place, ...]


@dataclass(frozen=True)
class Lowered:
    """How a call runs: launches in order, and the sizes in bytes of the temporaries that they share."""

    launches: tuple[Launch, ...]
    temporaries: tuple[int, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What generators may know of a device: facts, handed down."""

    barriers: bool
    """Whether the work items of a group run side by side, so that memory which they share and barriers
    are quick: on GPUs. Where they do not, one work item does what a group would.
    """
    lanes: int = 256
    """Work items in a group, where nothing speaks for another number."""
    units: int = 1
    """How many groups run at the same time, about."""
    double: bool = True
    """Whether it computes in float64."""


def entry_name(label: str) -> str:
    """A C name for a kernel that says what it is, for profilers that show nothing else."""
    letters = "".join([c if c.isalnum() and c.isascii() else "_" for c in label])
    return "k_" + "_".join([part for part in letters.split("_") if part])[:60]


def product(numbers: Sequence[Any]) -> int:
    """The product of sizes."""
    result = 1
    for n in numbers:
        result *= n
    return result
