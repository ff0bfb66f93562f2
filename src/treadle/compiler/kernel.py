"""A loop kernel without a device: an iteration space, affine index maps, straight-line scalar code and
reductions.

Each device renders this description; nothing here knows one. The fusion pass makes them.

A kernel walks the axes `sizes`. The first `rows` axes are parallel: their points (*rows*) are independent.
The rest, the *inner* axes, are walked inside each row, once by every stage, in order. A stage either visits
every inner point (``per="element"``) or runs once per row (``per="row"``); it computes its straight-line
body, folds some of the values over the inner axes, and stores others. Later stages read a fold's result. So
softmax over the last axis is::

    sizes=(4096, 1024), rows=1
    stage 0, element:  x = load;            fold max(x)                           -> result (0, 0)
    stage 1, element:  x = load; e = exp(x - result(0, 0));  fold add(e)          -> result (1, 0)
    stage 2, element:  ...; y = e / result(1, 0);  store y

A kernel without inner axes (``rows == len(sizes)``) is a plain elementwise loop: its stages are all per
row, each row one point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Affine:
    """offset + sum(strides[axis] * index[axis]), over all loop axes of the kernel."""

    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Guard:
    """Holds where ``0 <= index < size``."""

    index: Affine
    size: int


@dataclass(frozen=True)
class Access:
    """Which element of an operand is touched at a point: `index` counts elements of the operand's dtype.

    Where a guard fails the operand is not touched; a load gives zero there.
    """

    operand: int
    index: Affine
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True)
class Instruction:
    """One scalar operation of a body. `arguments` are positions of earlier instructions of the same body.

    `op` is the name of an elementwise op (``add``, ``exp``, ``where`` ...) or one of:

    =============  ==========================================================================================
    ``load``       attribute: `Access`
    ``constant``   attribute: a Python number or bool (NaN and infinities included)
    ``index``      attribute: `Affine`; its value, as the integer dtype of the instruction
    ``inside``     attribute: tuple of `Guard`; bool, true where all hold
    ``result``     attribute: ``(stage, fold)``; what an earlier stage folded, the same for all of the row
    ``cast``       converts its argument to the instruction's dtype as NumPy's ``astype`` does
    ``gather``     attribute: `Gather`; arguments are the run-time indices
    ``checked``    attribute: `Check`; its argument, an integer
    ``random``     attribute: ``(word,)``; arguments ``(key0, key1, counter)`` as uint32, uint32, uint64;
    one uint32 word of
                   Threefry-2x32 with 20 rounds of the counter (its high and low halves) under the key
    =============  ==========================================================================================
    """

    op: str
    arguments: tuple[int, ...]
    dtype: str
    attribute: Any = None


@dataclass(frozen=True)
class Gather:
    """A load whose place depends on values: element ``index + sum(strides[k] * argument[k])`` of the operand.

    Argument k must lie in ``0 <= argument < limits[k]``. Where it does not, the element read is one inside
    the operand, and the int32 word `fault` of the operand `status` is set to `fault_code` (any lane's; the
    program fails after the kernel).
    """

    operand: int
    index: Affine
    strides: tuple[int, ...]
    limits: tuple[int, ...]
    status: int
    fault_code: int
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True)
class Check:
    """An integer that must lie in ``0 <= argument < limit``; where it does not, and all guards hold, that is
    reported as by `Gather`.
    """

    limit: int
    status: int
    fault_code: int
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True)
class Fold:
    """A reduction over the inner axes: `combine` is add, multiply, maximum, minimum, logical_and,
    logical_or, argmax or argmin.

    The value folded is instruction `value`. argmax and argmin fold `value` and give the position (int64) of
    the first extreme (of the first NaN, if there is one), as given by instruction `position`. maximum and
    minimum propagate NaN. The order of floating-point additions may depend on the sizes and the instruction
    set, never on the number of threads.
    """

    combine: str
    value: int
    dtype: str
    position: int | None = None


@dataclass(frozen=True)
class Store:
    """Instruction `value` goes to `access`. Where a guard fails, nothing is written."""

    access: Access
    value: int


@dataclass(frozen=True)
class Stage:
    """See the module's docstring."""

    per: str
    body: tuple[Instruction, ...]
    folds: tuple[Fold, ...] = ()
    stores: tuple[Store, ...] = ()


@dataclass(frozen=True)
class Operand:
    """A buffer the kernel touches: its dtype's name, its number of elements, and whether it is written."""

    dtype: str
    size: int
    written: bool = False


@dataclass(frozen=True)
class LoopKernel:
    """See the module's docstring. A written operand may share its memory with a read one only where
    `in_place` says so: pairs (written, read) that are touched at the same element by the same point.
    """

    sizes: tuple[int, ...]
    rows: int
    operands: tuple[Operand, ...]
    stages: tuple[Stage, ...]
    label: str = "loop"
    in_place: tuple[tuple[int, int], ...] = ()


def with_affines(value: Any, change: Callable[[Affine], Affine]) -> Any:
    """An instruction, a stage, or anything made of their parts, with every affine map changed."""
    if isinstance(value, Affine):
        return change(value)
    if isinstance(value, tuple):
        return tuple([with_affines(part, change) for part in value])
    if hasattr(value, "__dataclass_fields__"):
        parts = {name: with_affines(getattr(value, name), change) for name in value.__dataclass_fields__}
        return replace(value, **parts)
    return value
