"""What happens to the sums of a matrix product before they are stored: a straight-line body, written in two
ways.

A cheap body (a bias, a residual, a ReLU) is written on the registers of each tile, with all offsets
constant. A longer one would be repeated some thirty times there: the sums of a tile are put aside, and one
loop goes over them. Knows bodies and registers, not how the product is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from treadle.compiler.kernel import Access, Affine, Instruction, Operand, Store, with_affines
from treadle.devices.cpu.expression import Site, evaluate, render_body, render_store
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa

FREE = {"load", "constant", "accumulator"}
CHEAP = FREE | {"add", "subtract", "multiply", "negative", "maximum", "minimum"}
MOST_CHEAP = 4
PLACED = {"index", "inside", "gather", "checked", "result"}
"""Instructions whose value depends on the place by more than an address."""

Known = Mapping[int, Value]
"""Values by their positions in a body."""


@dataclass(frozen=True)
class Epilogue:
    """A body over (batch..., m, n) and where its values go."""

    body: tuple[Instruction, ...]
    operands: tuple[Operand, ...]
    """What the body reads, further results, and the first result last."""
    values: tuple[int, ...]
    """Positions in the body of what is stored: to the last operand, and to those before it in order."""
    target: Affine
    """The place of an element in each of the results."""

    @property
    def dtype(self) -> str:
        """Of the first result."""
        return self.body[self.values[0]].dtype

    @property
    def results(self) -> list[int]:
        """The operands that the `values` go to."""
        last = len(self.operands) - 1
        return [last, *range(last + 1 - len(self.values), last)]

    @cached_property
    def uniform(self) -> frozenset[int]:
        """Positions in the body of what is the same for all elements."""
        found: set[int] = set()
        for position, instruction in enumerate(self.body):
            if instruction.op == "load":
                same = not any(instruction.attribute.index.strides) and not instruction.attribute.guards
            else:
                computed = instruction.op == "constant" or instruction.arguments
                same = bool(computed) and found.issuperset(instruction.arguments)
            if same:
                found.add(position)
        return frozenset(found)

    @property
    def cheap(self) -> bool:
        """Whether the body is written on the registers of a tile."""
        counted = [x.op for i, x in enumerate(self.body) if x.op not in FREE and i not in self.uniform]
        plain = all(not i.attribute.guards for i in self.body if i.op == "load")
        return plain and CHEAP.issuperset(counted) and len(counted) <= MOST_CHEAP

    def before(self, f: Function, isa: Isa, pointers: Sequence[Value], index: Sequence[Index]) -> Known:
        """Write what is the same for all elements, once; `index` is any of them."""
        site = Site(f, isa, self.operands, pointers, index, 1)
        known: dict[int, Value] = {}
        for position in sorted(self.uniform):
            instruction = self.body[position]
            dtypes = tuple(self.body[a].dtype for a in instruction.arguments)
            known[position] = evaluate(site, instruction, dtypes, [known[a] for a in instruction.arguments])
        return known

    def finish(
        self,
        f: Function,
        isa: Isa,
        pointers: Sequence[Value],
        index: Sequence[Index],
        value: Value,
        lanes: int,
        active: int,
        known: Known | None = None,
    ) -> None:
        """Write the body for the sums of one vector whose first lane stands at `index`; `known` is what has
        been written `before`.
        """
        mask = f.mask(lanes, active) if active else None
        site = Site(f, isa, self.operands, pointers, index, lanes, mask=mask, accumulator=value)
        computed = render_body(site, self.body, known)
        for operand, position in zip(self.results, self.values, strict=True):
            render_store(site, self.body, Store(Access(operand, self.target), position), computed)

    def finish_tile(
        self,
        f: Function,
        isa: Isa,
        pointers: Sequence[Value],
        corner: Sequence[Index],
        sums: Sequence[Sequence[Value]],
        lanes: int,
        active: int,
    ) -> None:
        """Write a cheap body for rows of vectors in registers, the first of which stands at `corner`."""
        known = self.before(f, isa, pointers, corner)
        local = Corner(f, self.operands, pointers, corner)
        body = local.body(self.body)
        pairs = zip(self.results, self.values, strict=True)
        stores = [Store(local.access(operand, self.target), position) for operand, position in pairs]
        mask = f.mask(lanes, active) if active else None
        outer = (0,) * (len(corner) - 2)
        written = []
        for row, vectors in enumerate(sums):
            for v, value in enumerate(vectors):
                tail = mask if v == len(vectors) - 1 else None
                site = Site(
                    f,
                    isa,
                    local.operands,
                    local.pointers,
                    (*outer, row, v * lanes),
                    lanes,
                    mask=tail,
                    accumulator=value,
                )
                written.append((site, render_body(site, body, known)))
        # All stores come last: what rows have in common (a bias) is then loaded once.
        for site, values in written:
            for store in stores:
                render_store(site, body, store, values)


class Corner:
    """Counts what a body reads from the corner of a tile, so that offsets within the tile are constants."""

    def __init__(
        self, f: Function, operands: Sequence[Operand], pointers: Sequence[Value], corner: Sequence[Index]
    ):
        self._f, self._corner = f, corner
        self._sources = list(zip(operands, pointers, strict=True))
        self.operands: list[Operand] = []
        self.pointers: list[Value] = []

    def access(self, operand: int, affine: Affine) -> Access:
        """The same access, of an operand of its own that begins at the corner."""
        f, (source, pointer) = self._f, self._sources[operand]
        place: Index = affine.offset
        for stride, index in zip(affine.strides, self._corner, strict=True):
            place = f.add(place, f.mul(index, stride))
        self.operands.append(source)
        self.pointers.append(f.at(pointer, f.mul(place, ITEMSIZE[source.dtype])))
        return Access(len(self.operands) - 1, Affine(0, affine.strides))

    def body(self, body: Sequence[Instruction]) -> tuple[Instruction, ...]:
        """A body that is `movable`, with its loads counted from the corner."""
        return tuple(
            replace(i, attribute=self.access(i.attribute.operand, i.attribute.index)) if i.op == "load" else i
            for i in body
        )


def movable(body: Sequence[Instruction]) -> bool:
    """Whether nothing but plain loads depends on the place."""
    return all(
        instruction.op not in PLACED and not (instruction.op == "load" and instruction.attribute.guards)
        for instruction in body
    )


def each_vector(
    f: Function, n: int, lanes: int, first: Index, last: Index, body: Callable[[Index, int], None]
) -> None:
    """``body(vector, active)`` for a range of the vectors that cover n elements; `active` as in
    `load_vector`.
    """
    whole, active = divmod(n, lanes)
    f.loop(first, f.min(last, whole), lambda v: body(v, 0))
    if active:
        f.loop(f.max(first, whole), last, lambda v: body(v, active))


def rewrite_affines(value: Any, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Any:
    """An instruction, or anything made of its parts, with the strides of every affine map changed."""
    return with_affines(value, lambda affine: Affine(affine.offset, change(affine.strides)))
