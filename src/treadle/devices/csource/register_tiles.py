"""Sums of products where work items share nothing: each keeps a tile of sums in registers, and reads operands
where they lie.
"""

from __future__ import annotations

from treadle.compiler.kernel import Access, Affine, Operand
from treadle.devices.csource.kernel import Facts, SourceKernel, product
from treadle.devices.csource.sides import Product
from treadle.devices.csource.text import kernel_text, unravelled
from treadle.devices.csource.tile_form import TileForm
from treadle.devices.csource.types import literal

REGISTERS = (8, 16)
"""Rows and columns of a work item's tile."""


class RegisterTiles(TileForm):
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
