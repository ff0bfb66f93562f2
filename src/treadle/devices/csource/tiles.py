"""Sums of products in tiles: many sums of a work item share what it loads.

Where work items of a group run side by side, a group copies tiles of both operands to the memory that it
shares, the next tiles on their way while it computes with these. Where they do not, a work item keeps a tile
of sums in registers and reads operands where they lie. Where there are few tiles and long sums, these are cut
in chunks, which a second kernel adds up in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, LoopKernel, Operand
from treadle.devices.csource import loops
from treadle.devices.csource.body import Site, loaded_from, store, write
from treadle.devices.csource.kernel import Facts, Launch, Lowered, SourceKernel, product
from treadle.devices.csource.sides import Product, product_in
from treadle.devices.csource.text import index_type, kernel_text, unravelled
from treadle.devices.csource.types import ITEMSIZE, cast, computed, literal

LEAST = 8
"""Rows on either side that make tiles worth it."""
LEAST_PRODUCTS = 1 << 15
LEAST_CHUNK = 256
"""Products of a sum that a chunk has at least."""
MOST_CHUNKS = 64
REGISTERS = (8, 16)
"""Rows and columns of a work item's tile where nothing is shared."""


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


def render(kernel: LoopKernel, facts: Facts) -> Lowered:
    """The kernel in C, in tiles if it is a sum of products that is worth it; operand i is ``("in", i)``."""
    found = product_in(kernel)
    if found is None:
        return loops.render(kernel, facts)
    m, n = found.size(found.m), found.size(found.n)
    if min(m, n) < LEAST or product(found.kernel.sizes) < LEAST_PRODUCTS:
        return loops.render(kernel, facts)
    form = _Shared(found, facts) if facts.barriers else _Registers(found, facts)
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


class _Form:
    """What both forms share."""

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


# -- in registers


class _Registers(_Form):
    """A work item a tile; tiles lie along one axis of each side. At the end of an axis they overlap, and what
    is another's is not stored.
    """

    def __init__(self, product: Product, facts: Facts):
        super().__init__(product, facts)
        rows, columns = REGISTERS
        self.m = max(product.m, key=lambda axis: self.sizes[axis])
        last = product.n[-1]
        self.n = last if self.sizes[last] >= 8 else max(product.n, key=lambda axis: self.sizes[axis])
        if product.dtype == "float64":
            columns //= 2
        self.rows, self.columns = min(rows, self.sizes[self.m]), min(columns, self.sizes[self.n])
        guards = [g for access in (product.left, product.right) for g in access.guards]
        guarded = [axis for axis in product.k if any(g.index.strides[axis] for g in guards)]
        # Whether something lies in the padding is decided outside of the loops that do not change it.
        self.outer, self.inner = guarded, [axis for axis in product.k if axis not in guarded]
        self.others = [axis for axis in product.n if axis != self.n]
        self.outermost = [axis for axis in product.m if axis != self.m]

    def counts(self) -> list[int]:
        """How many work items there are by batch, by the right side and by the left one."""
        p = self.product
        return [
            p.size(p.batch),
            p.size(self.others), -(-self.sizes[self.n] // self.columns),
            p.size(self.outermost), -(-self.sizes[self.m] // self.rows),
        ]  # fmt: skip

    def chunks(self) -> int:
        first = [*self.outer, *self.inner][0]
        return self.cut(
            product(self.counts()), 4 * self.facts.units, self.product.size(self.product.k), self.sizes[first]
        )

    def text(self, chunks: int, parts: Operand | None = None) -> SourceKernel:
        p, counts = self.product, self.counts()
        self.begin([*self.kernel.operands, *([parts] if parts else [])])
        total, lines, type = product(counts) * chunks, self.lines, self.type
        lines.append(f"  const {type} point = ({type})GROUP;")
        names = ["batch", "others", "tile_n", "outermost", "tile_m"]
        split = unravelled("point", type, ["chunk", *names], [chunks, *counts])
        lines += ["  " + line for line in split]
        given = zip(["chunk", *names], [chunks, *counts], strict=True)
        lines += [f"  const {type} {name} = 0;" for name, count in given if count == 1]
        for number, axes in (("batch", p.batch), ("others", self.others), ("outermost", self.outermost)):
            self.unravel(number, axes, [self.names[axis] for axis in axes], "  ")
        for name, axis, width in (("m", self.m, self.rows), ("n", self.n, self.columns)):
            last = self.sizes[axis] - width
            lines.append(
                f"  const {type} first_{name} = tile_{name} * {width}, "
                f"{name}0 = first_{name} < {last} ? first_{name} : {last};"
            )
        lines += self.cleared(self.rows, self.columns)
        self.site.indices = [*self.names]
        self.site.indices[self.m], self.site.indices[self.n] = "m0", "n0"
        self._sums(chunks)
        self.site.indices = [*self.names]
        lines.append(f"  UNROLL for (i32 i = 0; i < {self.rows}; ++i) {{")
        for name, axis, count, indent in (("m", self.m, "i", "    "), ("n", self.n, "j", "      ")):
            if name == "n":
                lines.append(f"    UNROLL for (i32 j = 0; j < {self.columns}; ++j) {{")
            lines.append(f"{indent}const {type} {self.names[axis]} = {name}0 + {count};")
            if self.sizes[axis] % (self.rows if name == "m" else self.columns):
                lines.append(f"{indent}if ({self.names[axis]} < first_{name}) continue;")
        self.finish("      ", "chunk" if parts else None)
        lines += ["    }", "  }"]
        label = self.kernel.label + (" parts" if parts else "")
        return kernel_text(label, self.operands, self.site.functions, lines, total, 1, self.flops())

    def _sums(self, chunks: int) -> None:
        """Write the loops over products."""
        lines, depth = self.lines, 1
        order = [*self.outer, *self.inner]
        for position, axis in enumerate(self.outer):
            lines.append(self._loop(axis, depth, chunks if position == 0 else 1))
            depth += 1
        whole = self._whole()
        ways = [(True, "{")] if whole is None else [(True, f"if ({whole}) {{"), (False, "} else {")]
        for fast, opening in ways:
            lines.append("  " * depth + opening)
            deeper = depth + 1
            if not fast:
                self._inside("  " * deeper)
            for axis in self.inner:
                lines.append(self._loop(axis, deeper, chunks if axis == order[0] else 1))
                deeper += 1
            self._products("  " * deeper, fast)
            lines += ["  " * d + "}" for d in range(deeper - 1, depth, -1)]
        lines += ["  " * d + "}" for d in range(depth, 0, -1)]

    def _loop(self, axis: int, depth: int, chunks: int) -> str:
        name, size = self.names[axis], self.sizes[axis]
        first, last = "0", str(size)
        if chunks > 1:
            each = -(-size // chunks)
            first = f"chunk * {each}"
            last = f"{size} && {name} < (chunk + 1) * {each}"
        return f"{'  ' * depth}for ({self.type} {name} = {first}; {name} < {last}; ++{name}) {{"

    def _sides(self) -> list[tuple[str, Access, int, int]]:
        p = self.product
        return [("a", p.left, self.m, self.rows), ("b", p.right, self.n, self.columns)]

    def _place(self, affine: Affine, axis: int, by: str) -> str:
        """An index `by` rows further along a side."""
        step = affine.strides[axis]
        found = self.site.affine(affine)
        return f"{found} + {by} * {step}" if step and by != "0" else found

    def _holds(self, access: Access, axis: int, by: str) -> str:
        tests = [f"(u64)(i64)({self._place(g.index, axis, by)}) < {g.size}ul" for g in access.guards]
        return " && ".join(tests)

    def _whole(self) -> str | None:
        """Whether nothing of a tile lies outside: neither end of it does."""
        tests = [
            self._holds(access, axis, by)
            for _, access, axis, count in self._sides()
            for by in ("0", str(count - 1))
            if access.guards
        ]
        return " && ".join(tests) or None

    def _inside(self, indent: str) -> None:
        """Note what of a tile lies inside."""
        for name, access, axis, count in self._sides():
            if access.guards:
                self.lines += [
                    f"{indent}bool {name}_in[{count}];",
                    f"{indent}UNROLL for (i32 i = 0; i < {count}; ++i) {name}_in[i] = "
                    f"{self._holds(access, axis, 'i')};",
                ]

    def _products(self, indent: str, fast: bool) -> None:
        """Load a row of both tiles, and multiply."""
        zero = literal(0, self.product.dtype)
        for name, access, axis, count in self._sides():
            value = self.load(access, self._place(access.index, axis, "i"))
            if not fast and access.guards:
                value = f"{name}_in[i] ? {value} : {zero}"
            self.lines += [
                f"{indent}{self.number} {name}[{count}];",
                f"{indent}UNROLL for (i32 i = 0; i < {count}; ++i) {name}[i] = {value};",
            ]
        self.lines += [
            f"{indent}UNROLL for (i32 i = 0; i < {self.rows}; ++i)",
            f"{indent}  UNROLL for (i32 j = 0; j < {self.columns}; ++j) acc[i][j] += a[i] * b[j];",
        ]


# -- in shared memory


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


class _Shared(_Form):
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
