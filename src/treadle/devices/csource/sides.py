"""Which loop kernels are sums of products of two operands, and how their axes belong to the operands.

A product of matrices, a convolution and each of its gradients are one thing here: the rows of one side meet
those of the other, and what both sides share is a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.compiler.kernel import Access, LoopKernel, Stage
from treadle.devices.csource.axes import coalesced
from treadle.devices.csource.kernel import product


@dataclass(frozen=True)
class Product:
    """A sum of products. `right` is the side along which neighbours are stored."""

    kernel: LoopKernel
    left: Access
    right: Access
    dtype: str
    """What is computed with."""
    batch: tuple[int, ...]
    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]
    """The axes of the four kinds."""

    def size(self, axes: Sequence[int]) -> int:
        return product([self.kernel.sizes[axis] for axis in axes])

    @property
    def last(self) -> Stage:
        """What is done with each sum."""
        return self.kernel.stages[1]


def product_in(kernel: LoopKernel) -> Product | None:
    """A kernel as a sum of products, or None where it is none of floats."""
    if len(kernel.stages) != 2 or kernel.rows == len(kernel.sizes) or 0 in kernel.sizes:
        return None
    first, last = kernel.stages
    if [i.op for i in first.body] != ["load", "load", "multiply"] or last.per != "row" or not last.stores:
        return None
    if [(f.combine, f.dtype) for f in first.folds] not in ([("add", "float32")], [("add", "float64")]):
        return None
    kernel = coalesced(kernel)
    first, last = kernel.stages
    left, right = (i.attribute for i in first.body[:2])
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for axis in range(kernel.rows):
        kinds.setdefault((_walks(left, axis), _walks(right, axis)), []).append(axis)
    m, n = kinds.get((True, False), []), kinds.get((False, True), [])
    stored = last.stores[0].access.index.strides
    if m and (not n or min(stored[axis] for axis in m) < min(stored[axis] for axis in n)):
        left, right, m, n = right, left, n, m
    batch = sorted([*kinds.get((True, True), []), *kinds.get((False, False), [])])
    axes = tuple(range(kernel.rows, len(kernel.sizes)))
    return Product(kernel, left, right, first.folds[0].dtype, tuple(batch), tuple(m), tuple(n), axes)


def _walks(access: Access, axis: int) -> bool:
    """Whether an access depends on an axis."""
    return any(affine.strides[axis] for affine in (access.index, *[guard.index for guard in access.guards]))
