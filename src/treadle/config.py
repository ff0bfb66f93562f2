"""Options, each read from the environment once and settable for a block. Knows nothing of what reads them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SMALL_NODES = 64
SMALL_ELEMENTS = 4096
"""A define-by-run graph with at most this many nodes and element operations runs by its references, without
compiling.
"""


PRECISIONS = {
    "fast": "3x3 convolutions by Winograd's algorithm where it is quicker",
    "exact": "every sum as it is written: product by product",
}
"""How sums may be computed. Each is deterministic."""


KERNELS = {
    "vendor": "a device's own libraries where they have a kernel, generated ones elsewhere",
    "generated": "generated kernels alone, so that the two can be compared",
}
"""Whose kernels run on a GPU."""


def known_precision(name: str, where: str) -> str:
    """The name, if it is a key of `PRECISIONS`; `where` is what it was given to."""
    if name not in PRECISIONS:
        raise ValueError(f"{where} is {name!r}; the precisions are {', '.join(map(repr, PRECISIONS))}")
    return name


class Options(threading.local):
    """What changes how graphs are compiled or run in this thread."""

    debug = os.environ.get("TREADLE_DEBUG", "") not in ("", "0")
    """Run every graph node by node with the references."""
    check = os.environ.get("TREADLE_CHECK", "") not in ("", "0")
    """Verify the graph between compiler passes."""
    numerics = False
    """Look for NaNs and infinities in what programs give."""
    precision = known_precision(os.environ.get("TREADLE_PRECISION", "") or "fast", "TREADLE_PRECISION")
    """A key of `PRECISIONS`."""
    kernels = "vendor"
    """A key of `KERNELS`."""
    isa = os.environ.get("TREADLE_ISA", "")
    """Instruction set to generate for; empty: the widest the machine runs."""


options = Options()


tunings = 0
"""How often measurements have changed what is generated since the process began (see `td.tune`)."""


def options_key() -> tuple[Any, ...]:
    """What a compiled program depends on, in this process."""
    return (*compile_key(), tunings)


def compile_key() -> tuple[Any, ...]:
    """What it depends on, in any."""
    return (options.debug, options.isa, options.numerics, options.precision, options.kernels)


@contextmanager
def configured(**changes: Any) -> Iterator[None]:
    """Set options of this thread for a block."""
    before = {name: getattr(options, name) for name in changes}
    for name, value in changes.items():
        setattr(options, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(options, name, value)
