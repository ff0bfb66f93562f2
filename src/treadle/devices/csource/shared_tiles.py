"""Sums of products where the work items of a group share memory: a group copies tiles of both operands there,
the next tiles on their way while it computes with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.compiler.kernel import Access, Affine, Operand
from treadle.devices.csource.kernel import Facts, SourceKernel, product
from treadle.devices.csource.sides import Product
from treadle.devices.csource.text import kernel_text, unravelled
from treadle.devices.csource.tile_form import MOST_CHUNKS, TileForm
from treadle.devices.csource.types import literal


@dataclass(frozen=True)
class Tile:
    """A group computes `m` x `n` sums and takes `k` products of each at a time, a work item of it `rows` x
    `columns` sums.
    """

    m: int
    n: int
    k: int
    rows: int
    columns: int

    @property
    def lanes(self) -> int:
        return self.m // self.rows * (self.n // self.columns)


TILES = Tile(128, 128, 8, 8, 8), Tile(64, 64, 16, 4, 4), Tile(32, 32, 16, 4, 4)
"""From the largest: it is taken where there are enough of them to keep the device busy."""


@dataclass(frozen=True)
class _Side:
    """How a group copies a tile of one side."""

    name: str
    access: Access
    axes: tuple[int, ...]
    size: int
    width: int
    """Of the tile."""
    along_rows: bool
    """Whether neighbouring work items copy neighbouring rows, and not neighbouring products."""
    count: int
    """Elements that a work item copies."""


class SharedTiles(TileForm):
    """A group a tile, double buffered."""

    def __init__(self, product: Product, facts: Facts):
        super().__init__(product, facts)
        p = product
        m, n, batch = p.size(p.m), p.size(p.n), p.size(p.batch)
        fitting = [tile for tile in TILES if tile.lanes <= facts.lanes]
        if p.dtype == "float64":
            fitting = [tile for tile in fitting if tile.m <= 64]
        self.tile = fitting[-1]
        for tile in fitting:
            groups = -(-m // tile.m) * -(-n // tile.n) * batch
            if min(m, n) > tile.m // 2 and (tile.m < 128 or groups >= 2 * facts.units):
                self.tile = tile
                break
        self.tiles = -(-m // self.tile.m), -(-n // self.tile.n)
        # Innermost the axis along which the side without padding has its neighbours.
        plain = p.left if not p.left.guards else p.right
        self.k = sorted(p.k, key=lambda axis: -abs(plain.index.strides[axis]))
        self.length = p.size(p.k)

    def chunks(self) -> int:
        p = self.product
        groups = product(self.tiles) * p.size(p.batch)
        return self.cut(groups, 2 * self.facts.units, self.length, MOST_CHUNKS)

    def text(self, chunks: int, parts: Operand | None = None) -> SourceKernel:
        p, tile = self.product, self.tile
        self.begin([*self.kernel.operands, *([parts] if parts else [])])
        lines, type = self.lines, self.type
        batch = p.size(p.batch)
        sides = [self._side("a", p.left, p.m, tile.m), self._side("b", p.right, p.n, tile.n)]
        for side in sides:
            lines.append(f"  SHARED {self.number} shared_{side.name}[2][{tile.k}][{side.width + 4}];")
        names, counts = ["chunk", "batch", "tile_m", "tile_n"], [chunks, batch, *self.tiles]
        lines += ["  const i32 lane = LANE;", f"  const {type} group = ({type})GROUP;"]
        lines += ["  " + line for line in unravelled("group", type, names, counts)]
        lines += [
            f"  const {type} {name} = 0;" for name, count in zip(names, counts, strict=True) if count == 1
        ]
        self.unravel("batch", p.batch, [self.names[axis] for axis in p.batch], "  ")
        lines += [f"  const {type} m0 = tile_m * {tile.m}, n0 = tile_n * {tile.n};"]
        # Whole tiles of products a chunk.
        each = -(-self.length // (chunks * tile.k)) * tile.k
        lines += [
            f"  const {type} begin = chunk * {each};",
            f"  const {type} end = begin + {each} < {self.length} ? begin + {each} : {self.length};",
        ]
        for side in sides:
            self._rows(side)
        lines += self.cleared(tile.rows, tile.columns)
        across = tile.n // tile.columns
        lines += [
            f"  const i32 across = lane % {across}, down = lane / {across};",
            "  i32 turn = 0;",
            f"  for ({type} k0 = begin - {tile.k}; k0 < end; k0 += {tile.k}) {{",
            f"    const {type} next = k0 + {tile.k};",
            "    if (next < end) {",
        ]
        for side in sides:
            self._fetch(side)
        lines += ["    }", "    if (k0 >= begin) {"]
        self._multiply()
        lines += ["    }", "    if (next < end) {"]
        for side in sides:
            self._put(side)
        lines += ["    }", "    turn ^= 1;", "    BARRIER;", "  }"]
        self._stores("chunk" if parts else None)
        label = self.kernel.label + (" parts" if parts else "")
        groups = product(counts)
        return kernel_text(label, self.operands, self.site.functions, lines, groups, tile.lanes, self.flops())

    def _side(self, name: str, access: Access, axes: tuple[int, ...], width: int) -> _Side:
        def nearest(among: Sequence[int]) -> int:
            steps = [abs(access.index.strides[axis]) for axis in among]
            return min([step for step in steps if step], default=1 << 62)

        along = nearest(axes) < nearest(self.k)
        count = width * self.tile.k // self.tile.lanes
        return _Side(name, access, axes, self.product.size(axes), width, along, count)

    def _spot(self, side: _Side, i: str) -> tuple[str, str]:
        """Row and product, in the tile, of the element `i` that a work item copies."""
        lanes = self.tile.lanes
        if side.along_rows:
            return f"lane % {side.width}", f"lane / {side.width} + {i} * {lanes // side.width}"
        return f"lane / {self.tile.k} + {i} * {lanes // self.tile.k}", f"lane % {self.tile.k}"

    def _rows(self, side: _Side) -> None:
        """Find where the rows that a work item copies are, before the loop over products."""
        lines, name = self.lines, side.name
        rows = 1 if side.along_rows else side.count
        first = "m0" if name == "a" else "n0"
        guards = side.access.guards
        held = [f"{name}_at", *[f"{name}_g{g}" for g in range(len(guards))]]
        lines.append(f"  bool {name}_row[{rows}];")
        lines.append(f"  {self.type} {', '.join([f'{one}[{rows}]' for one in held])};")
        lines.append(f"  {self.number} {name}_next[{side.count}];")
        lines.append(f"  UNROLL for (i32 i = 0; i < {rows}; ++i) {{")
        lines.append(f"    const {self.type} row = {first} + {self._spot(side, 'i')[0]};")
        self.unravel("row", side.axes, [self.names[axis] for axis in side.axes], "    ")
        for one, affine in zip(held, [side.access.index, *[g.index for g in guards]], strict=True):
            outside = tuple([0 if a in self.k else s for a, s in enumerate(affine.strides)])
            lines.append(f"    {one}[i] = {self.site.affine(Affine(affine.offset, outside))};")
        lines += [f"    {name}_row[i] = row < {side.size};", "  }"]

    def _fetch(self, side: _Side) -> None:
        """Load the next tile's elements to registers."""
        lines, name, access = self.lines, side.name, side.access
        lines.append(f"      UNROLL for (i32 i = 0; i < {side.count}; ++i) {{")
        lines.append(f"        const {self.type} k = next + {self._spot(side, 'i')[1]};")
        self.unravel("k", self.k, [self.names[axis] for axis in self.k], "        ")

        def along(affine: Affine) -> str:
            steps = tuple([s if a in self.k else 0 for a, s in enumerate(affine.strides)])
            return self.site.affine(Affine(0, steps))

        at = "0" if side.along_rows else "i"
        tests = [f"{name}_row[{at}]", "k < end"]
        tests += [
            f"(u64)(i64)({name}_g{g}[{at}] + {along(guard.index)}) < {guard.size}ul"
            for g, guard in enumerate(access.guards)
        ]
        value = self.load(access, f"{name}_at[{at}] + {along(access.index)}")
        zero = literal(0, self.product.dtype)
        lines += [f"        {name}_next[i] = {' && '.join(tests)} ? {value} : {zero};", "      }"]

    def _put(self, side: _Side) -> None:
        """Store what was loaded to the other half of the shared memory."""
        row, k = self._spot(side, "i")
        self.lines.append(
            f"      UNROLL for (i32 i = 0; i < {side.count}; ++i) "
            f"shared_{side.name}[turn ^ 1][{k}][{row}] = {side.name}_next[i];"
        )

    def _row(self, i: str, first: str, threads: int) -> str:
        """The row of a work item's sum `i`: four neighbours, then four further on."""
        return f"{first} * 4 + {i} % 4 + {i} / 4 * {4 * threads}"

    def _multiply(self) -> None:
        """Multiply a tile by a tile."""
        tile, lines = self.tile, self.lines
        lines.append(f"      UNROLL for (i32 k = 0; k < {tile.k}; ++k) {{")
        for name, count, first, threads in (
            ("a", tile.rows, "down", tile.m // tile.rows),
            ("b", tile.columns, "across", tile.n // tile.columns),
        ):
            lines += [
                f"        {self.number} {name}[{count}];",
                f"        UNROLL for (i32 i = 0; i < {count}; ++i) "
                f"{name}[i] = shared_{name}[turn][k][{self._row('i', first, threads)}];",
            ]
        lines += [
            f"        UNROLL for (i32 i = 0; i < {tile.rows}; ++i)",
            f"          UNROLL for (i32 j = 0; j < {tile.columns}; ++j) acc[i][j] += a[i] * b[j];",
            "      }",
        ]

    def _stores(self, chunk: str | None) -> None:
        """Apply the rest of the kernel to each sum."""
        p, tile, lines = self.product, self.tile, self.lines
        down = self._row("i", "down", tile.m // tile.rows)
        across = self._row("j", "across", tile.n // tile.columns)
        lines += [
            f"  UNROLL for (i32 i = 0; i < {tile.rows}; ++i) {{",
            f"    const {self.type} m = m0 + {down};",
            f"    if (m < {p.size(p.m)}) {{",
        ]
        self.unravel("m", p.m, [self.names[axis] for axis in p.m], "      ")
        lines += [
            f"      UNROLL for (i32 j = 0; j < {tile.columns}; ++j) {{",
            f"        const {self.type} n = n0 + {across};",
            f"        if (n < {p.size(p.n)}) {{",
        ]
        self.unravel("n", p.n, [self.names[axis] for axis in p.n], "          ")
        self.finish("          ", chunk)
        lines += ["        }", "      }", "    }", "  }"]
