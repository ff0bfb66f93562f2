"""Running sums and products in C: a work item a line, or a piece of one where lines are long.

Of long lines the pieces are folded first, then what comes before each piece is found, then each piece is
walked from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Operand
from treadle.compiler.program import LibraryCall, View
from treadle.devices.csource.body import loaded_from, stored_at
from treadle.devices.csource.copies import reach
from treadle.devices.csource.kernel import Facts, Launch, Lowered, SourceKernel, product
from treadle.devices.csource.text import index_type, kernel_text, unravelled
from treadle.devices.csource.types import ITEMSIZE, NARROW, cast, computed, kind, literal

PIECE = 512
"""Lines of twice so many elements are walked in pieces."""


def cumulative(call: LibraryCall, facts: Facts) -> Lowered:
    """The kernels of cumulative_sum and cumulative_prod."""
    shape: tuple[int, ...] = call.node.shape  # type: ignore[assignment]
    if 0 in shape:
        return Lowered(())
    walk = _Walk(call, facts)
    if walk.length < 2 * PIECE:
        return Lowered((Launch(walk.whole(None), (("in", 0), ("out", 0))),))
    count = -(-walk.length // PIECE)
    launches = (
        Launch(walk.pieces(count), (("in", 0), ("temp", 0))),
        Launch(walk.before(count), (("temp", 0),)),
        Launch(walk.whole(count), (("in", 0), ("temp", 0), ("out", 0))),
    )
    return Lowered(launches, (count * walk.lines * ITEMSIZE[walk.summed],))


class _Walk:
    """What the kernels of one call share."""

    def __init__(self, call: LibraryCall, facts: Facts):
        node, self.facts = call.node, facts
        self.view: View = call.inputs[0]
        self.shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
        self.axis = node.attribute("axis")
        self.reverse = node.attribute("reverse")
        self.name = node.op.name
        self.dtype = node.dtype.name
        self.summed = "float32" if self.dtype in NARROW else self.dtype
        self.length = self.shape[self.axis]
        self.outer = [axis for axis in range(len(self.shape)) if axis != self.axis]
        self.lines = product([self.shape[axis] for axis in self.outer])
        self.type = index_type([Operand(self.dtype, reach(self.view))], self.shape)

    def combined(self, left: str, right: str) -> str:
        """Two parts as one; integers wrap, which signed numbers in C need not."""
        sign = "+" if self.name == "cumulative_sum" else "*"
        if kind(self.summed) == "float":
            return f"{left} {sign} {right}"
        wide = "u64" if ITEMSIZE[self.summed] == 8 else "u32"
        return f"({computed(self.summed)})(({wide}){left} {sign} ({wide}){right})"

    def first(self) -> str:
        return literal(0 if self.name == "cumulative_sum" else 1, self.summed)

    def at(self, strides: Sequence[int], offset: int = 0) -> str:
        """An element's number: place `k` of the walk along the line."""
        place = f"({self.length - 1} - k)" if self.reverse else "k"
        names = {axis: f"at{axis}" for axis in self.outer} | {self.axis: place}
        longer = [axis for axis, size in enumerate(self.shape) if size != 1]
        terms = [f"{names[axis]} * {strides[axis]}" for axis in longer]
        return " + ".join([*terms, str(offset)])

    def head(self, total: int, line: str) -> list[str]:
        """Lines by which a work item finds its place."""
        names, sizes = [f"at{a}" for a in self.outer], [self.shape[a] for a in self.outer]
        lanes = self.lanes
        return [
            f"  const {self.type} point = ({self.type})(GROUP * {lanes} + LANE);",
            f"  if (point >= {total}) return;",
            *[f"  {text}" for text in line.splitlines()],
            *[f"  {text}" for text in unravelled("line", self.type, names, sizes)],
        ]

    @property
    def lanes(self) -> int:
        return min(self.facts.lanes, 64)

    def _text(self, what: str, operands: Sequence[Operand], lines: list[str], total: int) -> SourceKernel:
        label = f"{self.name} {list(self.shape)} {what}".strip()
        groups = -(-total // self.lanes)
        return kernel_text(label, operands, {}, lines, groups, self.lanes, product(self.shape))

    def _range(self, count: int) -> str:
        """Neighbouring work items have neighbouring lines of one piece."""
        return (
            f"const {self.type} piece = point / {self.lines}, line = point - piece * {self.lines};\n"
            f"const {self.type} begin = piece * {PIECE};\n"
            f"const {self.type} end = begin + {PIECE} < {self.length} ? begin + {PIECE} : {self.length};"
        )

    def _value(self) -> str:
        return loaded_from("p0", self.at(self.view.strides, self.view.offset), self.dtype)

    def pieces(self, count: int) -> SourceKernel:
        """Fold each piece."""
        total = count * self.lines
        lines = [
            *self.head(total, self._range(count)),
            f"  {computed(self.summed)} sum = {self.first()};",
            f"  for ({self.type} k = begin; k < end; ++k) {{",
            f"    sum = {self.combined('sum', self._value())};",
            "  }",
            "  p1[point] = sum;",
        ]
        operands = Operand(self.dtype, reach(self.view)), Operand(self.summed, total, written=True)
        return self._text("pieces", operands, lines, total)

    def before(self, count: int) -> SourceKernel:
        """Of each line, put in the place of what a piece gave what all before it give."""
        lines = [
            f"  const {self.type} point = ({self.type})(GROUP * {self.lanes} + LANE);",
            f"  if (point >= {self.lines}) return;",
            f"  {computed(self.summed)} sum = {self.first()};",
            f"  for ({self.type} piece = 0; piece < {count}; ++piece) {{",
            f"    const {computed(self.summed)} given = p0[piece * {self.lines} + point];",
            f"    p0[piece * {self.lines} + point] = sum;",
            f"    sum = {self.combined('sum', 'given')};",
            "  }",
        ]
        operands = (Operand(self.summed, count * self.lines, written=True),)
        return self._text("before pieces", operands, lines, self.lines)

    def whole(self, count: int | None) -> SourceKernel:
        """Walk lines, or pieces of them."""
        total = self.lines * (count or 1)
        given = f"const {self.type} line = point, begin = 0, end = {self.length};"
        result = "p1" if count is None else "p2"
        value = cast("sum", self.summed, self.dtype)
        made = self.at(row_major(self.shape))
        lines = [
            *self.head(total, given if count is None else self._range(count)),
            f"  {computed(self.summed)} sum = {self.first() if count is None else 'p1[point]'};",
            f"  for ({self.type} k = begin; k < end; ++k) {{",
            f"    sum = {self.combined('sum', self._value())};",
            f"    {stored_at(result, made, self.dtype, value)}",
            "  }",
        ]
        operands = [Operand(self.dtype, reach(self.view))]
        if count is not None:
            operands.append(Operand(self.summed, total))
        operands.append(Operand(self.dtype, product(self.shape), written=True))
        return self._text("", operands, lines, total)
