"""What sums of products in registers and in shared memory have in common: a kernel around a tile
``acc[i][j]`` of sums, and what is done with each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Operand
from treadle.devices.csource.body import Site, loaded_from, store, write
from treadle.devices.csource.kernel import Facts, SourceKernel, product
from treadle.devices.csource.sides import Product
from treadle.devices.csource.text import index_type, unravelled
from treadle.devices.csource.types import cast, computed, literal

LEAST_CHUNK = 256
"""Products of a sum that a chunk has at least."""
MOST_CHUNKS = 64


class TileForm:
    """A sum of products as a kernel in tiles."""

    def __init__(self, product: Product, facts: Facts):
        self.product, self.facts, self.kernel = product, facts, product.kernel
        self.sizes = self.kernel.sizes
        self.names = [f"at{axis}" for axis in range(len(self.sizes))]
        self.number = computed(product.dtype)

    def chunks(self) -> int:
        """In how many chunks sums are cut."""
        raise NotImplementedError

    def cut(self, groups: int, wanted: int, length: int, most: int) -> int:
        return max(1, min(wanted // groups, length // LEAST_CHUNK, MOST_CHUNKS, most))

    def load(self, access: Access, index: str) -> str:
        """An element of a side as what is computed with."""
        dtype = self.kernel.operands[access.operand].dtype
        return cast(loaded_from(f"p{access.operand}", index, dtype), dtype, self.product.dtype)

    def begin(self, operands: Sequence[Operand]) -> None:
        self.operands = operands
        self.type = index_type(operands, self.sizes)
        self.site = Site(operands, list(self.names), [], {})
        self.lines = self.site.lines

    def unravel(self, number: str, axes: Sequence[int], names: Sequence[str], indent: str) -> None:
        """Write the indices of axes; those that `number` counts."""
        sizes = [self.sizes[axis] for axis in axes]
        self.lines += [indent + line for line in unravelled(number, self.type, names, sizes)]

    def finish(self, indent: str, chunk: str | None) -> None:
        """Write what is done with the sum ``acc[i][j]`` of a point."""
        site = self.site
        site.indent, site.results = indent, {(0, 0): "acc[i][j]"}
        if chunk is not None:
            rows = self.sizes[: self.kernel.rows]
            steps = (*row_major(rows), *(0,) * (len(self.sizes) - len(rows)))
            place = f"{chunk} * {product(rows)} + {site.affine(Affine(0, steps))}"
            self.lines.append(f"{indent}p{len(self.operands) - 1}[{place}] = acc[i][j];")
            return
        site.prefix = "v"
        values = write(site, self.product.last.body)
        for target in self.product.last.stores:
            store(site, self.product.last.body, target, values)

    def cleared(self, rows: int, columns: int) -> list[str]:
        """Lines that begin the sums."""
        zero = literal(0, self.product.dtype)
        return [
            f"  {self.number} acc[{rows}][{columns}];",
            f"  UNROLL for (i32 i = 0; i < {rows}; ++i)",
            f"    UNROLL for (i32 j = 0; j < {columns}; ++j) acc[i][j] = {zero};",
        ]

    def flops(self) -> int:
        return 2 * product(self.sizes)

    def text(self, chunks: int, parts: Operand | None = None) -> SourceKernel:
        raise NotImplementedError
