"""Reads and writes the memory of a loop kernel's operands: affine places, guards, masks, lanes that are not
neighbours, gathers.

A `Site` is a place in the code where lanes are computed together. Nothing here touches a byte outside an
operand, whatever the values are. Knows nothing of how loops are arranged or what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.compiler.kernel import Access, Affine, Check, Gather, Guard, Operand
from treadle.devices.cpu.ir import Function, Index, Value, lanes_of, vector
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    any_lane,
    from_storage,
    register_type,
    storage_type,
    to_storage,
    widen,
)
from treadle.devices.cpu.target import Isa

NARROW_INDEX = 1 << 29
"""Sizes below this are compared in 32-bit lanes."""


@dataclass
class Site:
    """Where lanes are computed together: lane k stands at `index`, moved by k along `axis`.

    `pointers` are the operands' addresses. `mask` tells the live lanes, of which lane 0 is always one.
    `accumulator` is the value of the instruction ``accumulator``, and `results` those of earlier folds. A
    site is for one place in the code: what it computes may be used again by code that follows, under no
    condition.
    """

    f: Function
    isa: Isa
    operands: Sequence[Operand]
    pointers: Sequence[Value]
    index: Sequence[Index]
    lanes: int = 1
    axis: int = -1
    mask: Value | None = None
    accumulator: Value | None = None
    results: Mapping[tuple[int, int], Value] = field(default_factory=dict)
    known: dict = field(default_factory=dict)
    """What was written here once and need not be again."""

    def place(self, affine: Affine) -> Index:
        """The value of an affine map for lane 0."""
        total: Index = affine.offset
        for stride, index in zip(affine.strides, self.index, strict=True):
            if stride:
                total = self.f.add(total, self.f.mul(index, stride))
        return total

    def stride(self, affine: Affine) -> int:
        """How far an affine map moves from lane to lane."""
        return affine.strides[self.axis] if self.lanes > 1 else 0

    def pointer(self, operand: int, element: Index) -> Value:
        """The address of an element."""
        return self.f.at(self.pointers[operand], self.f.mul(element, ITEMSIZE[self.operands[operand].dtype]))


def has_masks(isa: Isa, itemsize: int) -> bool:
    """Whether masked loads and stores of an item size are instructions; elsewhere LLVM writes a branch for
    each lane.
    """
    return isa.name == "avx512" or (isa.name == "avx2" and itemsize in (4, 8))


def inside(site: Site, guards: Sequence[Guard]) -> tuple[Value | bool, Value | None]:
    """Where all guards hold, in two parts: for all lanes at once (known now, or an i1), and by lane."""
    f = site.f
    uniform: Value | bool = True
    by_lane: Value | None = None
    for guard in guards:
        if guard not in site.known:
            site.known[guard] = _holds(site, guard)
        holds = site.known[guard]
        if isinstance(holds, Value) and holds.type[0] == "<":
            by_lane = holds if by_lane is None else f.op("and", by_lane, holds)
        elif isinstance(holds, bool) or isinstance(uniform, bool):
            uniform = holds if uniform is True else uniform if holds is True else False
        else:
            uniform = f.op("and", uniform, holds)
    return uniform, by_lane


def _holds(site: Site, guard: Guard) -> Value | bool:
    """One guard: known, an i1, or a mask. One unsigned comparison sees both ends, since a negative index is
    a huge one.
    """
    f, base, stride = site.f, site.place(guard.index), site.stride(guard.index)
    if stride == 0:
        if isinstance(base, int):
            return 0 <= base < guard.size
        return f.compare("icmp ult", base, f.i64(guard.size))
    if max(guard.size, abs(stride) * site.lanes) < NARROW_INDEX:
        if isinstance(base, int):
            start = Value("i32", str(min(max(base, -(1 << 30)), 1 << 30)))
        else:
            low = f.intrinsic("smax", base, f.i64(-(1 << 30)))
            start = f.cast("trunc", f.intrinsic("smin", low, f.i64(1 << 30)), "i32")
    else:
        start = f.i64(base)
    type = vector(start.type, site.lanes)
    steps = f.constants(type, [stride * lane for lane in range(site.lanes)])
    position = f.op("add", widen(f, start, site.lanes), steps)
    return f.compare("icmp ult", position, f.constant(type, guard.size))


def both(f: Function, left: Value | None, right: Value | None) -> Value | None:
    """Two masks, either of which may be absent."""
    if left is None or right is None:
        return right if left is None else left
    return f.op("and", left, right)


# -- loads


def load(site: Site, access: Access) -> Value:
    """The elements of an access, in registers; one scalar if it is the same for all lanes. Zero where a
    guard fails.
    """
    stride = site.stride(access.index)
    return _load_at(site, access.operand, site.place(access.index), stride, *inside(site, access.guards))


def _load_at(
    site: Site, number: int, element: Index, stride: int, uniform: Value | bool, by_lane: Value | None
) -> Value:
    """Elements `stride` apart, or zero where they are not `inside`."""
    f, operand = site.f, site.operands[number]
    if uniform is False or operand.size == 0:
        return f.constant(register_type(operand.dtype), 0)
    if stride == 0:
        return _load_scalar(site, number, element, uniform, by_lane)
    if stride == 1 and isinstance(uniform, Value) and not _masks(site, operand.dtype):
        before = f.block
        zero = f.constant(storage_type(operand.dtype, site.lanes), 0)
        with f.when(uniform):
            raw = _load_vector(site, number, element, stride, both(f, site.mask, by_lane))
            loaded = f.block
        raw = f.phi(raw.type, (raw, loaded), (zero, before))
    else:
        if isinstance(uniform, Value):
            by_lane = both(f, by_lane, f.splat(uniform, site.lanes))
        raw = _load_vector(site, number, element, stride, both(f, site.mask, by_lane))
    return from_storage(f, site.isa, operand.dtype, raw)


def _masks(site: Site, dtype: str) -> bool:
    return has_masks(site.isa, ITEMSIZE[dtype])


def _load_scalar(
    site: Site, number: int, element: Index, uniform: Value | bool, by_lane: Value | None
) -> Value:
    """One element. Where it may not exist the operand's first is read instead, and zero is taken."""
    f, dtype = site.f, site.operands[number].dtype
    exists = uniform if isinstance(uniform, Value) else None
    if by_lane is not None:
        exists = both(f, exists, any_lane(f, by_lane))
    if exists is not None:
        element = f.select(exists, f.i64(element), f.i64(0))
    raw = f.load(storage_type(dtype), site.pointer(number, element))
    value = from_storage(f, site.isa, dtype, raw)
    zero = f.constant(value.type, 0)
    if isinstance(uniform, Value):
        value = f.select(uniform, value, zero)
    if by_lane is not None:
        value = f.select(by_lane, f.splat(value, site.lanes), widen(f, zero, site.lanes))
    return value


def _load_vector(site: Site, number: int, element: Index, stride: int, mask: Value | None) -> Value:
    """Elements `stride` apart, zero where the mask is clear."""
    f, lanes = site.f, site.lanes
    type = storage_type(site.operands[number].dtype, lanes)
    if stride == 1:
        pointer = site.pointer(number, element)
        return f.load(type, pointer) if mask is None else f.masked_load(type, pointer, mask)
    if stride == -1:
        backward = range(lanes - 1, -1, -1)
        pointer = site.pointer(number, f.add(element, 1 - lanes))
        if mask is None:
            raw = f.load(type, pointer)
        else:
            raw = f.masked_load(type, pointer, f.shuffle(mask, mask, backward))
        return f.shuffle(raw, raw, backward)
    if stride == 2 and (mask is None or _masks(site, site.operands[number].dtype)):
        return _load_every_other(site, number, element, mask)
    places = [f.add(element, stride * lane) for lane in range(lanes)]
    return _load_lanes(site, number, places, mask)


def _load_every_other(site: Site, number: int, element: Index, mask: Value | None) -> Value:
    """Elements two apart, out of two vectors. The second starts one element early, so as not to reach beyond
    the last.
    """
    f, lanes = site.f, site.lanes
    type = storage_type(site.operands[number].dtype, lanes)
    pointers = site.pointer(number, element), site.pointer(number, f.add(element, lanes - 1))
    if mask is None:
        low, high = (f.load(type, pointer) for pointer in pointers)
    else:
        clear = f.constant(mask.type, 0)
        # Where an element is none of those asked for, its lane of the mask comes from `clear`.
        chosen = [
            [place // 2 if place % 2 == 0 else lanes for place in range(s, s + lanes)] for s in (0, lanes - 1)
        ]
        masks = (f.shuffle(mask, clear, lanes) for lanes in chosen)
        low, high = (f.masked_load(type, p, m) for p, m in zip(pointers, masks, strict=True))
    evens = [2 * lane if 2 * lane < lanes else 2 * lane + 1 for lane in range(lanes)]
    return f.shuffle(low, high, evens)


def _load_lanes(site: Site, operand: int, places: Sequence[Index], mask: Value | None) -> Value:
    """Elements one by one; for a clear lane the operand's first is read, and its value is no matter but for
    guards: zero.
    """
    f = site.f
    type = storage_type(site.operands[operand].dtype)
    wide = vector(type, len(places))
    raw = Value(wide, "poison")
    for lane, place in enumerate(places):
        if mask is not None:
            place = f.select(f.extract(mask, lane), f.i64(place), f.i64(0))
        element = f.load(type, site.pointer(operand, place))
        raw = f.assign(wide, f"insertelement {wide} {raw.name}, {type} {element.name}, i32 {lane}")
    return raw if mask is None else f.select(mask, raw, f.constant(wide, 0))


# -- stores


def store(site: Site, access: Access, value: Value) -> None:
    """Write a value of the operand's dtype where the guards hold and lanes are live."""
    f, operand = site.f, site.operands[access.operand]
    uniform, by_lane = inside(site, access.guards)
    if uniform is False:
        return
    raw = to_storage(f, site.isa, operand.dtype, widen(f, value, site.lanes))
    mask = both(f, site.mask, by_lane)
    stride = site.stride(access.index)
    if stride == 0 and site.lanes > 1:
        raise AssertionError("lanes would write one element together")
    element = site.place(access.index)
    if isinstance(uniform, Value):
        if mask is not None and stride == 1 and _masks(site, operand.dtype):
            mask = f.op("and", mask, f.splat(uniform, site.lanes))
        else:
            with f.when(uniform):
                _store_vector(site, access.operand, raw, element, stride, mask)
            return
    _store_vector(site, access.operand, raw, element, stride, mask)


def _store_vector(
    site: Site, operand: int, raw: Value, element: Index, stride: int, mask: Value | None
) -> None:
    """Elements `stride` apart, those whose mask is set."""
    f, lanes = site.f, site.lanes
    if stride == -1:
        backward = range(lanes - 1, -1, -1)
        raw = f.shuffle(raw, raw, backward)
        mask = None if mask is None else f.shuffle(mask, mask, backward)
        element, stride = f.add(element, 1 - lanes), 1
    if lanes == 1 or stride == 1:
        pointer = site.pointer(operand, element)
        if mask is None:
            f.store(raw, pointer)
        else:
            f.masked_store(raw, pointer, mask)
        return
    for lane in range(lanes):
        pointer = site.pointer(operand, f.add(element, stride * lane))
        if mask is None:
            f.store(f.extract(raw, lane), pointer)
        else:
            with f.when(f.extract(mask, lane)):
                f.store(f.extract(raw, lane), pointer)


# -- places that depend on values


def gather(site: Site, description: Gather, dtypes: Sequence[str], indices: Sequence[Value]) -> Value:
    """Elements at run-time indices; an index outside its limits counts as 0 and reports the fault."""
    return load_moved(site, description, checked_offset(site, description, dtypes, indices))


def checked_offset(site: Site, description: Gather, dtypes: Sequence[str], indices: Sequence[Value]) -> Value:
    """How many elements the run-time indices of a gather move it, 0 where one is outside its limits: then
    the fault is reported.
    """
    f = site.f
    lanes = max((lanes_of(index.type) for index in indices), default=1)
    offset: Value = f.constant(vector("i64", lanes), 0)
    valid = f.constant(vector("i1", lanes), 1)
    for index, dtype, stride, limit in zip(
        indices, dtypes, description.strides, description.limits, strict=True
    ):
        wide = f.cast(
            "sext" if KIND[dtype] == "signed" else "zext", widen(f, index, lanes), vector("i64", lanes)
        )
        valid = f.op("and", valid, f.compare("icmp ult", wide, f.constant(wide.type, limit)))
        offset = f.op("add", offset, f.op("mul", wide, f.constant(wide.type, stride)))
    _report_unless(site, description, valid)
    return f.select(valid, offset, f.constant(offset.type, 0))


def checked(site: Site, description: Check, dtype: str, value: Value) -> Value:
    """An integer, reported if it is outside its limits."""
    f = site.f
    # As unsigned, what is negative is too large as well.
    limit = min(description.limit, 2 ** (8 * ITEMSIZE[dtype] - (KIND[dtype] == "signed")) - 1)
    if limit == description.limit:
        _report_unless(site, description, f.compare("icmp ult", value, f.constant(value.type, limit)))
    elif KIND[dtype] == "signed":
        _report_unless(site, description, f.compare("icmp sge", value, f.constant(value.type, 0)))
    return value


def _report_unless(site: Site, description: Gather | Check, valid: Value) -> None:
    """Report a fault where an element is computed that is not valid."""
    f, lanes = site.f, lanes_of(valid.type)
    uniform, by_lane = inside(site, description.guards)
    live = both(f, site.mask, by_lane)
    if lanes == 1:
        live = any_lane(f, live) if by_lane is not None and live is not None else None
    if isinstance(uniform, bool):
        uniform = f.constant("i1", uniform)
    wrong = f.op("and", f.op("xor", valid, f.constant(valid.type, 1)), widen(f, uniform, lanes))
    with f.when(any_lane(f, wrong if live is None else f.op("and", wrong, live))):
        status = site.pointers[description.status]
        f.emit(f"store atomic i32 {description.fault_code}, ptr {status.name} monotonic, align 4")


def load_moved(site: Site, description: Gather, offset: Value) -> Value:
    """The elements of a gather, moved by a checked offset: vectors, where that is the same for all lanes."""
    f, operand = site.f, site.operands[description.operand]
    uniform, by_lane = inside(site, description.guards)
    if uniform is False or operand.size == 0 or 0 in description.limits:
        return f.constant(register_type(operand.dtype), 0)
    base, step, lanes = site.place(description.index), site.stride(description.index), lanes_of(offset.type)
    if lanes == 1:
        return _load_at(site, description.operand, f.add(base, offset), step, uniform, by_lane)
    live = both(f, site.mask, by_lane)
    if isinstance(uniform, Value):
        live = both(f, live, f.splat(uniform, lanes))
    places = [f.add(f.add(base, step * lane), f.extract(offset, lane)) for lane in range(lanes)]
    raw = _load_lanes(site, description.operand, places, live)
    return from_storage(f, site.isa, operand.dtype, raw)
