"""Index maps through movement ops: which element of an op's input belongs to an element of its result.

A place says which element of a value is meant at a point of a kernel's loops: an affine map for each
dimension, or one for its row-major number (a flat place), and the guards under which it is asked for. Affine
maps are plain tuples ``(offset, ((axis, stride), ...))`` here, sorted by axis, without axes of size 1: many
are made, compared and hashed. Knows the movement ops' attributes, nothing of groups or kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from treadle.graph.node import Node

Terms = tuple[tuple[int, int], ...]
Map = tuple[int, Terms]
Inside = tuple[Map, int]
"""Holds where ``0 <= map < size``."""

ZERO: Map = (0, ())


class Place(NamedTuple):
    """`maps` are one for each dimension, or a single one of the row-major number if `flat`."""

    maps: tuple[Map, ...]
    guards: tuple[Inside, ...] = ()
    flat: bool = False


class Split(NamedTuple):
    """What would make a map affine: loop axis `axis` divided in two, the inner of size `inner`."""

    axis: int
    inner: int


Sources = list[Place] | Split | None
"""The place of each input; or the split that is needed first; or None: no affine map exists."""


def bounds(index: Map, sizes: Sequence[int]) -> tuple[int, int]:
    """The least and the greatest value over all points."""
    low = high = index[0]
    for axis, stride in index[1]:
        if stride < 0:
            low += stride * (sizes[axis] - 1)
        else:
            high += stride * (sizes[axis] - 1)
    return low, high


def weighted(parts: Iterable[tuple[Map, int]]) -> Map:
    """The sum of maps times numbers."""
    offset, strides = 0, {}
    for (part_offset, terms), weight in parts:
        offset += part_offset * weight
        for axis, stride in terms:
            strides[axis] = strides.get(axis, 0) + stride * weight
    return offset, tuple(sorted((axis, stride) for axis, stride in strides.items() if stride))


def row_major(shape: Sequence[int]) -> list[int]:
    """The strides of a contiguous array."""
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= shape[axis]
    return strides


def identity(shape: Sequence[int]) -> Place:
    """Every dimension its own loop axis."""
    return Place(tuple([(0, ((axis, 1),)) if size != 1 else ZERO for axis, size in enumerate(shape)]))


def linear(place: Place, shape: Sequence[int]) -> Map:
    """The row-major number of a place."""
    if place.flat:
        return place.maps[0]
    if len(place.maps) == 1:
        return place.maps[0]
    return weighted(zip(place.maps, row_major(shape), strict=True))


def unravel(number: Map, shape: Sequence[int], sizes: Sequence[int]) -> tuple[Map, ...] | Split | None:
    """The maps of the dimensions, given that of the row-major number."""
    offset, terms = number
    maps: list[Map] = [ZERO] * len(shape)
    for dimension in range(len(shape) - 1, -1, -1):
        size = shape[dimension]
        if size == 1:
            continue
        whole = [(axis, stride // size) for axis, stride in terms if stride % size == 0]
        rest = [term for term in terms if term[1] % size]
        low, high = bounds((0, tuple(rest)), sizes)
        carry = (offset + low) // size
        offset -= carry * size
        if offset + high >= size:
            return _needed_split(rest, size, sizes)
        maps[dimension] = (offset, tuple(rest))
        offset, terms = carry, whole
    return tuple(maps) if offset == 0 and not terms else None


def _needed_split(terms: Iterable[tuple[int, int]], size: int, sizes: Sequence[int]) -> Split | None:
    """An axis that would have to be divided so that its steps do not cross a multiple of `size`."""
    for axis, stride in terms:
        inner = size // abs(stride) if size % stride == 0 else 0
        if 1 < inner < sizes[axis] and sizes[axis] % inner == 0:
            return Split(axis, inner)
    return None


def refined(index: Map, split: Split, new: int) -> Map:
    """The map after a split; the inner part is axis `new`."""
    for axis, stride in index[1]:
        if axis == split.axis:
            return weighted(((index, 1), ((0, ((axis, stride * (split.inner - 1)), (new, stride))), 1)))
    return index


def refined_place(place: Place, split: Split, new: int) -> Place:
    """The place after a split."""
    maps = tuple([refined(index, split, new) for index in place.maps])
    guards = tuple([(refined(index, split, new), size) for index, size in place.guards])
    return Place(maps, guards, place.flat)


def covers(maps: Sequence[Map], shape: Sequence[int], axes: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether the points of `axes` and the elements of an array pair off, one to one."""
    seen: set[int] = set()
    for (offset, terms), size in zip(maps, shape, strict=True):
        count = 1
        for axis, stride in sorted(terms, key=lambda term: term[1]):
            if stride != count or axis in seen or axis not in axes:
                return False
            seen.add(axis)
            count *= sizes[axis]
        if offset or count != size:
            return False
    return all(axis in seen or sizes[axis] == 1 for axis in axes)


def matched(axes: Sequence[int], sizes: Sequence[int], shape: Sequence[int]) -> list[Map] | None:
    """Dimensions made of consecutive loop axes, in order; None if the sizes do not fit."""
    rest = [axis for axis in axes if sizes[axis] != 1]
    maps: list[Map] = []
    for size in shape:
        count, taken = 1, []
        while count != size:
            if not rest or count > size > 0:
                return None
            taken.append(rest.pop(0))
            count *= sizes[taken[-1]]
        strides = row_major([sizes[axis] for axis in taken])
        maps.append((0, tuple(sorted(zip(taken, strides, strict=True)))))
    return None if rest else maps


def dimensions(place: Place, shape: Sequence[int], sizes: Sequence[int]) -> tuple[Map, ...] | Split | None:
    """The maps of the dimensions of a place, flat or not."""
    return unravel(place.maps[0], shape, sizes) if place.flat else place.maps


def guarded(guards: tuple[Inside, ...], more: Iterable[Inside], sizes: Sequence[int]) -> tuple[Inside, ...]:
    """The guards and those of `more` that do not hold at every point."""
    result = list(guards)
    for index, size in more:
        low, high = bounds(index, sizes)
        if (low < 0 or high >= size) and (index, size) not in result:
            result.append((index, size))
    return tuple(result)


# -- the movement ops: the places of the inputs, given the place of the result


def _reshape(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    number = linear(place, node.shape)
    maps = unravel(number, node.inputs[0].shape, sizes)
    if maps is None or isinstance(maps, Split):
        return [Place((number,), place.guards, True)]
    return [Place(maps, place.guards)]


def _broadcast(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    x = node.inputs[0].shape
    lead = len(node.shape) - len(x)
    if not place.flat:
        maps = zip(x, node.shape[lead:], place.maps[lead:], strict=True)
        return [Place(tuple([index if own == size else ZERO for own, size, index in maps]), place.guards)]
    # Neighbouring dimensions that are all repeated, or all kept, are one: fewer divisions have to come out
    # even.
    runs: list[list[int]] = []
    for own, size in zip((1,) * lead + x, node.shape, strict=True):
        if size == 1:
            continue
        kept = int(own == size)
        if runs and runs[-1][1] == kept:
            runs[-1][0] *= size
        else:
            runs.append([size, kept])
    found = unravel(place.maps[0], [size for size, _ in runs], sizes)
    if found is None or isinstance(found, Split):
        return found
    kept_maps = [(index, size) for index, (size, kept) in zip(found, runs, strict=True) if kept]
    strides = row_major([size for _, size in kept_maps])
    number = weighted((index, stride) for (index, _), stride in zip(kept_maps, strides, strict=True))
    maps = unravel(number, x, sizes)
    if maps is None or isinstance(maps, Split):
        return [Place((number,), place.guards, True)]
    return [Place(maps, place.guards)]


def _permute(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    found = dimensions(place, node.shape, sizes)
    if found is None or isinstance(found, Split):
        return found
    maps = [ZERO] * len(found)
    for index, axis in zip(found, node.attribute("axes"), strict=True):
        maps[axis] = index
    return [Place(tuple(maps), place.guards)]


def _slice(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    found = dimensions(place, node.shape, sizes)
    if found is None or isinstance(found, Split):
        return found
    maps = []
    for (offset, terms), start, step in zip(
        found, node.attribute("start"), node.attribute("step"), strict=True
    ):
        maps.append((start + step * offset, tuple([(axis, step * stride) for axis, stride in terms])))
    return [Place(tuple(maps), place.guards)]


def _flip(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    found = dimensions(place, node.shape, sizes)
    if found is None or isinstance(found, Split):
        return found
    maps = list(found)
    for dimension in node.attribute("axes"):
        offset, terms = maps[dimension]
        last = node.shape[dimension] - 1
        maps[dimension] = (last - offset, tuple([(axis, -stride) for axis, stride in terms]))
    return [Place(tuple(maps), place.guards)]


def _pad(node: Node, place: Place, sizes: Sequence[int]) -> Sources:
    """The padded array under guards, and the number around it."""
    found = dimensions(place, node.shape, sizes)
    if found is None or isinstance(found, Split):
        return found
    maps, more = [], []
    widths = node.attribute("widths")
    for (offset, terms), (low, _, inner), size in zip(found, widths, node.inputs[0].shape, strict=True):
        index: Map = (offset - low, terms)
        if inner:
            divided = _divided(index, inner + 1, sizes)
            if not isinstance(divided, tuple) or isinstance(divided, Split):
                return divided
            index, between = divided
            more.append((between, 1))
        maps.append(index)
        more.append((index, size))
    return [Place(tuple(maps), guarded(place.guards, more, sizes)), Place((), place.guards)]


def _divided(index: Map, by: int, sizes: Sequence[int]) -> tuple[Map, Map] | Split | None:
    """Quotient (rounded down) and remainder of a map."""
    offset, terms = index
    whole = tuple([(axis, stride // by) for axis, stride in terms if stride % by == 0])
    rest = tuple([term for term in terms if term[1] % by])
    low, high = bounds((0, rest), sizes)
    carry = (offset + low) // by
    if offset - carry * by + high >= by:
        return _needed_split(rest, by, sizes)
    return (carry, whole), (offset - carry * by, rest)


MOVEMENT: dict[str, Callable[[Node, Place, Sequence[int]], Sources]] = {
    "reshape": _reshape,
    "broadcast_to": _broadcast,
    "permute_dims": _permute,
    "slice": _slice,
    "flip": _flip,
    "pad": _pad,
}
