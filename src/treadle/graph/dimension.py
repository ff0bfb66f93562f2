"""Sizes that are not known yet: named symbols, their products with each other and with integers.

Only equality and products are asked of them, so a size is a monomial ``coefficient * symbol * symbol ...``.
Whoever runs a graph substitutes numbers and infers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import total_ordering
from typing import TYPE_CHECKING, Any

from treadle.errors import ShapeError


@total_ordering
class Dimension:
    """A product of an integer and named sizes, written ``2*batch``. Equal products are equal dimensions."""

    __slots__ = ("coefficient", "symbols")

    def __init__(self, symbols: Iterable[str], coefficient: int = 1):
        self.symbols = tuple(sorted(symbols))
        self.coefficient = coefficient

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dimension) and (self.symbols, self.coefficient) == (
            other.symbols,
            other.coefficient,
        )

    def __lt__(self, other: object) -> bool:
        raise ShapeError(
            f"the size {self} is not known before the graph runs: it cannot be compared with {other}"
        )

    def __hash__(self) -> int:
        return hash((self.symbols, self.coefficient))

    def __repr__(self) -> str:
        return "*".join(([str(self.coefficient)] if self.coefficient != 1 else []) + list(self.symbols))

    def __mul__(self, other: Size) -> Size:
        if isinstance(other, Dimension):
            return Dimension(self.symbols + other.symbols, self.coefficient * other.coefficient)
        if isinstance(other, int):
            return Dimension(self.symbols, self.coefficient * other) if other else 0
        return NotImplemented

    __rmul__ = __mul__

    def _unknown(self, other: object) -> int:
        raise ShapeError(
            f"the size {self} is not known before the graph runs: only equality and products are; "
            f"give the placeholder a number there, or compute with sizes inside td.compile"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = _unknown

    def __index__(self) -> int:
        return self._unknown(self)

    __int__ = __index__

    def substitute(self, sizes: Mapping[str, Size]) -> Size:
        """This size with the symbols that `sizes` knows replaced."""
        result: Size = self.coefficient
        for symbol in self.symbols:
            result = result * sizes.get(symbol, Dimension([symbol]))
        return result


if TYPE_CHECKING:
    # Arithmetic with sizes is checked when it happens: a `Dimension` refuses what a symbol cannot do.
    Size = Any
else:
    Size = int | Dimension
Shape = tuple[Size, ...]


def product(sizes: Iterable[Size]) -> Size:
    """The number of elements of a shape."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def quotient(whole: Size, part: Size) -> Size | None:
    """whole / part if that is a size, else None."""
    if isinstance(whole, int) and isinstance(part, int):
        return whole // part if part and whole % part == 0 else None
    symbols = list(whole.symbols) if isinstance(whole, Dimension) else []
    for symbol in part.symbols if isinstance(part, Dimension) else ():
        if symbol not in symbols:
            return None
        symbols.remove(symbol)
    top = whole.coefficient if isinstance(whole, Dimension) else whole
    bottom = part.coefficient if isinstance(part, Dimension) else part
    if not bottom or top % bottom:
        return None
    return Dimension(symbols, top // bottom) if symbols else top // bottom


def is_known(shape: Iterable[Size]) -> bool:
    """Whether every size is a number."""
    return all(type(size) is int for size in shape)


def substitute(value: object, sizes: Mapping[str, Size]) -> object:
    """An attribute or shape with the symbols in it replaced, however deep in tuples and closed graphs."""
    if isinstance(value, Dimension):
        return value.substitute(sizes)
    if type(value) is tuple:
        return tuple(substitute(item, sizes) for item in value)
    with_sizes = getattr(value, "with_sizes", None)
    return value if with_sizes is None else with_sizes(sizes)


def solve(wanted: Iterable[Size], given: Iterable[Size], sizes: dict[str, Size]) -> bool:
    """Put into `sizes` what the symbols of a shape are where another shape stands in its place; whether it
    fits.
    """
    for size, there in zip(wanted, given, strict=True):
        open = [s for s in size.symbols if s not in sizes] if isinstance(size, Dimension) else []
        if len(open) == 1:
            rest = Dimension([s for s in size.symbols if s != open[0]], size.coefficient).substitute(sizes)
            found = quotient(there, rest)
            if found is None:
                return False
            sizes[open[0]] = found
        elif substitute(size, sizes) != there:
            return False
    return True
