"""Puts the text of a kernel together: the functions it calls, its entry point, its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.compiler.kernel import Operand
from treadle.devices.csource.kernel import SourceKernel, entry_name, product
from treadle.devices.csource.types import ITEMSIZE, stored

MOST_32 = 2**31 - 1


def kernel_text(
    label: str,
    operands: Sequence[Operand],
    functions: Mapping[str, str],
    lines: Sequence[str],
    groups: int,
    lanes: int,
    flops: int = 0,
    pointers: Sequence[str] = (),
) -> SourceKernel:
    """A kernel of these lines, in which operand i is called ``p{i}``, or by its name in `pointers`."""
    names = pointers or [f"p{i}" for i in range(len(operands))]
    types = [stored(operand.dtype) for operand in operands]
    given = list(zip(types, names, strict=True))
    entry = entry_name(label)
    parts = [
        *functions.values(),
        f"KERNEL({entry}, {lanes})({', '.join([f'PARAM({type}, {name})' for type, name in given])}) {{",
        *[f"  OPEN({type}, {name})" for type, name in given],
        *lines,
        "}",
    ]
    nbytes = sum(ITEMSIZE[operand.dtype] * operand.size for operand in operands)
    dtypes = tuple([operand.dtype for operand in operands])
    return SourceKernel("\n".join(parts) + "\n", label, dtypes, flops, nbytes, entry, groups, lanes)


def index_type(operands: Sequence[Operand], sizes: Sequence[int]) -> str:
    """The type in which places are computed: 64 bits only where it must be."""
    return "i32" if max([product(sizes), *[operand.size for operand in operands]]) <= MOST_32 else "i64"


def unravelled(number: str, type: str, names: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Lines that take a row-major number apart into indices; of axes with one point nothing is made."""
    lines = []
    left, axes = number, [axis for axis, size in enumerate(sizes) if size != 1]
    for position, axis in enumerate(reversed(axes)):
        last = position == len(axes) - 1
        name, size = names[axis], sizes[axis]
        if last:
            lines.append(f"const {type} {name} = {left};")
        else:
            rest = f"{name}_rest"
            lines.append(f"const {type} {rest} = {left} / {size}, {name} = {left} - {rest} * {size};")
            left = rest
    return lines


def indices(sizes: Sequence[int], first: int = 0) -> list[str | None]:
    """The names of a loop's indices, None for axes with one point."""
    return [None if size == 1 else f"at{axis}" for axis, size in enumerate(sizes, first)]
