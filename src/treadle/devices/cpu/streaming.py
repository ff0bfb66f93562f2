"""Stores that go past the caches, for results that no cache would keep until they are read.

A line that is stored to is read from memory first, unless it is written whole past the caches: a result of
many megabytes moves twice instead of three times.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.devices.cpu.elements import ITEMSIZES, store_vector
from treadle.devices.cpu.ir import Function, Value, lanes_of, scalar_of
from treadle.devices.cpu.target import Isa

STREAMED_NBYTES = 8 << 20
"""Of a result that is stored past the caches."""


def streams(isa: Isa, nbytes: int) -> bool:
    """Whether a result of `nbytes` is stored past the caches."""
    return isa.name != "neon" and nbytes >= STREAMED_NBYTES


def apart(f: Function, result: Value, operands: Sequence[Value]) -> Value:
    """Whether a result lies where no operand does: what has just been read is in the caches already."""
    found = Value("i1", "true")
    for operand in operands:
        found = f.op("and", found, f.compare("icmp ne", result, operand))
    return found


def store_streamed(
    f: Function, into: Value, vectors: Sequence[tuple[Value, int, int]], condition: Value
) -> None:
    """Store vectors at bytes from `into`, of each the first lanes (0: all): past the caches if the condition
    holds and all of them are whole and lie at multiples of their size.
    """
    nbytes = {lanes_of(value.type) * ITEMSIZES[scalar_of(value.type)] for value, _, _ in vectors}
    size = max(nbytes)
    if len(nbytes) > 1 or any(active or at % size for _, at, active in vectors):
        for value, at, active in vectors:
            store_vector(f, value, f.at(into, at), active)
        return
    address = f.cast("ptrtoint", into, "i64")
    aligned = f.compare("icmp eq", f.op("and", address, f.i64(size - 1)), f.i64(0))
    streamed = f.op("and", aligned, condition)
    with f.when(streamed):
        for value, at, _ in vectors:
            f.stream(value, f.at(into, at), size)
    with f.when(f.op("xor", streamed, Value("i1", "true"))):
        for value, at, _ in vectors:
            store_vector(f, value, f.at(into, at))
