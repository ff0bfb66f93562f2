"""Sums of products in tiles: many sums of a work item share what it loads.

Where work items of a group run side by side, a group copies tiles of both operands to the memory that it
shares, the next tiles on their way while it computes with these. Where they do not, a work item keeps a tile
of sums in registers and reads operands where they lie. Where there are few tiles and long sums, these are cut
in chunks, which a second kernel adds up in their order.
"""

from __future__ import annotations

from dataclasses import replace

from treadle.compiler.kernel import LoopKernel, Operand
from treadle.devices.csource import loops
from treadle.devices.csource.kernel import Facts, Launch, Lowered, product
from treadle.devices.csource.register_tiles import RegisterTiles
from treadle.devices.csource.shared_tiles import SharedTiles
from treadle.devices.csource.sides import product_in
from treadle.devices.csource.types import ITEMSIZE

LEAST = 8
"""Rows on either side that make tiles worth it."""
LEAST_PRODUCTS = 1 << 15


def render(kernel: LoopKernel, facts: Facts) -> Lowered:
    """The kernel in C, in tiles if it is a sum of products that is worth it; operand i is ``("in", i)``."""
    found = product_in(kernel)
    if found is None:
        return loops.render(kernel, facts)
    m, n = found.size(found.m), found.size(found.n)
    if min(m, n) < LEAST or product(found.kernel.sizes) < LEAST_PRODUCTS:
        return loops.render(kernel, facts)
    form = SharedTiles(found, facts) if facts.barriers else RegisterTiles(found, facts)
    count = len(kernel.operands)
    everything = tuple([("in", i) for i in range(count)])
    chunks = form.chunks()
    if chunks == 1:
        return Lowered((Launch(form.text(1), everything),))
    rows = product(found.kernel.sizes[: found.kernel.rows])
    parts = Operand(found.dtype, rows * chunks, written=True)
    second = loops.second(found.kernel, [parts], chunks)
    (whole,) = loops.render(second, replace(facts, barriers=False)).launches
    places = (*everything, ("temp", 0))
    return Lowered(
        (Launch(form.text(chunks, parts), places), Launch(whole.kernel, places)),
        (ITEMSIZE[found.dtype] * parts.size,),
    )
