"""Writes the kernels of pooling: loops over planes, outputs and taps, and what each kind of pooling does with
an element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from treadle.devices.cpu.convolution_strip import nest
from treadle.devices.cpu.elements import narrowed, plus
from treadle.devices.cpu.ir import Function, Index, Module, Value, mangle, vector
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    from_storage,
    register_type,
    storage_type,
)
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut

if TYPE_CHECKING:
    from treadle.devices.cpu.pooling import Pool

WANTED_TASKS = 64
WANTED_GRADIENT_TASKS = 16
"""Fewer, since these divide the channels, and long runs of channels are quicker."""
UNROLLED_TAPS = 9
"""Windows up to this size without padding are written out; others are loops."""
LINE_NBYTES = 64


@dataclass(frozen=True)
class WindowAxis:
    """One spatial axis: output o covers input ``o * stride - low + tap * dilation``."""

    size: int
    out: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int
    input_stride: int
    output_stride: int

    @property
    def inside(self) -> bool:
        """Whether every tap of every output is an element of the input."""
        return (
            self.low <= 0
            and (self.out - 1) * self.stride + (self.window - 1) * self.dilation - self.low < self.size
        )

    @property
    def disjoint(self) -> bool:
        """Whether no element belongs to two windows."""
        return self.stride > (self.window - 1) * self.dilation

    @property
    def covering(self) -> bool:
        """Whether disjoint windows leave no element out."""
        return (
            self.dilation == 1
            and self.stride == self.window
            and self.low == 0
            and self.out * self.window >= self.size
        )


@dataclass
class Window:
    """The window of one vector of outputs while its code is written."""

    input: Index
    """Elements from the input's start to the place of tap 0, which may lie outside."""
    output: Index
    taps: list[tuple[Index, Index]]
    """The range of taps along each axis that are elements for some lane."""
    counts: list[Index | Value]
    """Places along each axis that an average counts: one for all lanes, or a vector of i64."""
    mask: Value | None = None
    """The lanes that are outputs; None: all."""
    column: Index | None = None
    """The first lane's output along the last axis, where lanes are pixels."""


OPERANDS = {
    "maximum": (("in", 0), ("out", 0)),
    "maximum_gradient": (("in", 0), ("in", 1), ("out", 0)),
    "maximum_select": (("in", 0), ("in", 1), ("out", 0)),
    "average": (("in", 0), ("out", 0)),
    "average_gradient": (("in", 0), ("out", 0)),
}
"""What each kind of pooling reads, and what it writes last."""


def result_dtype(spec: Pool, kind: str) -> str:
    """Of what a kernel writes: shares of 16-bit floats that meet are added in float32, to be rounded once."""
    alone = all(
        stride > (n - 1) * gap for stride, n, gap in zip(spec.stride, spec.window, spec.dilation, strict=True)
    )
    meet = kind.endswith("gradient") and not alone
    return "float32" if meet and spec.dtype in NARROW else spec.dtype


class PoolWriter:
    """Writes one kernel. `kind` names the method that does one window."""

    def __init__(self, spec: Pool, isa: Isa, kind: str):
        self.spec, self.isa, self.kind = spec, isa, kind
        self.module = Module(isa.attributes)
        self.f: Function = self.module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        self.dtypes = [spec.dtype] * (len(OPERANDS[kind]) - 1) + [result_dtype(spec, kind)]
        """Of each operand in memory."""
        self.scalar, self.kind_of_number = register_type(spec.dtype), KIND[spec.dtype]
        self.itemsize = 4 if spec.dtype in NARROW else ITEMSIZE[spec.dtype]
        self.lanes = isa.lanes(self.itemsize)
        self.type = vector(self.scalar, self.lanes)
        self.places = vector("i64" if self.itemsize == 8 else "i32", self.lanes)
        """The type of a maximum's place in its window."""
        self.axes = [
            WindowAxis(size, out, window, stride, dilation, low, high, i, o)
            for size, out, window, stride, dilation, (low, high), i, o in zip(
                spec.input, spec.output, spec.window, spec.stride, spec.dilation, spec.padding,
                spec.input_strides[2:], spec.output_strides[2:], strict=True,
            )
        ]  # fmt: skip
        self.by_channel = spec.channels > 1 and spec.input_strides[1] == 1
        last = self.axes[-1]
        self.input_step = spec.input_strides[1] if self.by_channel else last.stride * last.input_stride
        """Elements of the input from lane to lane."""
        self.output_step = spec.output_strides[1] if self.by_channel else last.output_stride
        self.gradient = kind.endswith("gradient")
        self.scratch_nbytes = 0

    def write(self) -> tuple[str, int]:
        """The kernel's text and its number of tasks: planes or groups of planes and, where tasks share none,
        rows of outputs.
        """
        f, spec = self.f, self.spec
        arguments, first, last, _ = f.arguments
        self.operands = [f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(len(self.dtypes))]
        unit = max(1, LINE_NBYTES // self.isa.vector_nbytes)
        vectors = -(-spec.channels // self.lanes)
        clears = self.gradient and not all(axis.covering for axis in self.axes)
        if self.by_channel:
            wanted = -(-WANTED_GRADIENT_TASKS // spec.batch) if clears else 1
            lines = -(-vectors // unit)
            groups = EvenCut(vectors, unit * -(-lines // min(lines, wanted)))
        else:
            groups = EvenCut(spec.channels, 1)
        planes = spec.batch * groups.parts
        rows = self.axes[0].out
        by_rows = not clears and (self.by_channel or len(self.axes) > 1)
        wanted = min(rows, -(-WANTED_TASKS // planes)) if by_rows and rows else 1
        parts = EvenCut(rows, max(1, -(-rows // wanted)))

        def task(index: Index) -> None:
            plane, part = f.divmod(index, max(1, parts.parts))
            batch, group = f.divmod(plane, groups.parts)
            channels = groups.start(f, group), groups.start(f, f.add(group, 1))
            between = parts.start(f, part), parts.start(f, f.add(part, 1))
            self.plane(batch, channels, between)

        f.loop(first, last, task)
        f.ret()
        return self.module.text(), planes * max(1, parts.parts)

    # -- where

    def plane(self, batch: Index, channels: tuple[Index, Index], rows: tuple[Index, Index]) -> None:
        """All outputs of a task; `channels` are a range of vectors where lanes are channels, otherwise of
        channels.
        """
        f, spec = self.f, self.spec
        strides = spec.input_strides, spec.output_strides

        def axis(i: int, window: Window) -> None:
            if i == len(self.axes):
                f.loop(*channels, lambda v: self.channel_lanes(window, v))
            elif i == len(self.axes) - 1 and not self.by_channel:
                vectors = -(-self.axes[i].out // self.lanes)
                f.loop(0, vectors, lambda v: self.pixel_lanes(window, f.mul(v, self.lanes)))
            else:
                start, stop = rows if i == 0 else (0, self.axes[i].out)
                f.loop(start, stop, lambda out: output(i, window, out))

        def output(i: int, window: Window, out: Index) -> None:
            if i == 0 and clears:  # Just before they are first added to, so that they are near when they are.
                self.clear(batch, channels, reach(f.sub(out, 1)), reach(out))
            axis(i + 1, self.moved(window, self.axes[i], out))

        def reach(out: Index) -> Index:
            """The first row behind the windows of outputs up to `out` along the first axis."""
            first = self.axes[0]
            end = f.add(f.mul(out, first.stride), (first.window - 1) * first.dilation + 1 - first.low)
            end = f.max(0, f.min(end, first.size))
            if isinstance(out, int):
                return end if out >= 0 else 0
            return f.select(f.compare("icmp slt", out, f.i64(0)), f.i64(0), f.i64(end))

        clears = self.gradient and not all(axis.covering for axis in self.axes)
        by_rows = self.by_channel or len(self.axes) > 1
        if clears and not by_rows:
            self.clear(batch, channels, 0, 1)

        start = Window(f.mul(batch, strides[0][0]), f.mul(batch, strides[1][0]), [], [])
        if self.by_channel:
            axis(0, start)
        else:

            def channel(c: Index) -> None:
                input_at, output_at = (f.mul(c, stride[1]) for stride in strides)
                axis(0, Window(f.add(start.input, input_at), f.add(start.output, output_at), [], []))

            f.loop(*channels, channel)
        if clears and by_rows:
            self.clear(batch, channels, reach(self.axes[0].out - 1), self.axes[0].size)

    def moved(self, window: Window, axis: WindowAxis, out: Index) -> Window:
        """The window of output `out` along the next axis, the same for all lanes."""
        f = self.f
        start = f.sub(f.mul(out, axis.stride), axis.low)
        first: Index = 0
        last: Index = axis.window
        if not axis.inside:
            first = f.divmod(f.add(f.max(0, f.sub(0, start)), axis.dilation - 1), axis.dilation)[0]
            last = f.divmod(f.add(f.max(0, f.sub(axis.size, start)), axis.dilation - 1), axis.dilation)[0]
            last = f.min(axis.window, last)
        return Window(
            f.add(window.input, f.mul(start, axis.input_stride)),
            f.add(window.output, f.mul(out, axis.output_stride)),
            [*window.taps, (first, last)],
            [*window.counts, self.count(axis, start, first, last)],
        )

    def count(self, axis: WindowAxis, start: Index, first: Index, last: Index) -> Index:
        """How many places along an axis an average counts."""
        f = self.f
        if not getattr(self.spec, "count_include_pad", False):
            return f.sub(last, first)
        if axis.inside:
            return axis.window
        return f.sub(f.min(f.add(start, axis.window), axis.size + axis.high), start)

    def channel_lanes(self, window: Window, v: Index) -> None:
        """One window for a vector of channels."""
        f, spec = self.f, self.spec
        channel = f.mul(v, self.lanes)
        mask = f.tail_mask(self.lanes, f.sub(spec.channels, channel)) if spec.channels % self.lanes else None
        input_at, output_at = (f.mul(channel, s[1]) for s in (spec.input_strides, spec.output_strides))
        self.window(
            replace(
                window,
                input=f.add(window.input, input_at),
                output=f.add(window.output, output_at),
                mask=mask,
            )
        )

    def pixel_lanes(self, window: Window, column: Index) -> None:
        """The windows of a vector of outputs along the last axis."""
        f, axis = self.f, self.axes[-1]
        start = f.sub(f.mul(column, axis.stride), axis.low)
        mask = f.tail_mask(self.lanes, f.sub(axis.out, column)) if axis.out % self.lanes else None
        count: Index | Value = axis.window
        if not axis.inside:
            type = vector("i64", self.lanes)
            starts = self.steps(start, axis.stride)
            end = f.op("add", starts, f.constant(type, axis.window))
            include = getattr(self.spec, "count_include_pad", False)
            end = f.intrinsic("smin", end, f.constant(type, axis.size + axis.high if include else axis.size))
            begin = starts if include else f.intrinsic("smax", starts, f.constant(type, 0))
            count = f.op("sub", end, begin)
        self.window(
            Window(
                f.add(window.input, f.mul(start, axis.input_stride)),
                f.add(window.output, f.mul(column, axis.output_stride)),
                [*window.taps, (0, axis.window)],
                [*window.counts, count],
                mask,
                column,
            )
        )

    def window(self, window: Window) -> None:
        """Write what the kind of pooling does; a small window away from the padding without loops."""
        f, body = self.f, getattr(self, self.kind)
        sizes = [axis.window for axis in self.axes]
        cut = [
            (f.sub(last, first), size)
            for (first, last), size in zip(window.taps, sizes, strict=True)
            if (first, last) != (0, size)
        ]
        if not cut or math.prod(sizes) > UNROLLED_TAPS or any(isinstance(count, int) for count, _ in cut):
            body(window)
            return
        whole = Value("i1", "true")
        for count, size in cut:
            whole = f.op("and", whole, f.compare("icmp eq", f.i64(count), f.i64(size)))
        with f.when(whole):
            body(replace(window, taps=[(0, size) for size in sizes]))
        with f.when(f.op("xor", whole, Value("i1", "true"))):
            body(window)

    def steps(self, start: Index, stride: int) -> Value:
        """start, start + stride, ... in the lanes."""
        f = self.f
        type = vector("i64", self.lanes)
        steps = f.constants(type, [lane * stride for lane in range(self.lanes)])
        return f.op("add", f.splat(f.i64(start), self.lanes), steps)

    def unrolled(self, window: Window) -> bool:
        """Whether the taps are written out instead of looped over."""
        fixed = all(isinstance(first, int) and isinstance(last, int) for first, last in window.taps)
        return fixed and math.prod(axis.window for axis in self.axes) <= UNROLLED_TAPS

    def taps(self, window: Window, body: Callable[..., list[Value]], carried: Sequence[Value]) -> list[Value]:
        """Call ``body(elements from tap 0, place in the window, mask, *carried)`` for each tap, in row-major
        order.
        """
        f, axes = self.f, self.axes
        unrolled = self.unrolled(window)

        def level(
            i: int, moved: Index, place: Index, mask: Value | None, carried: Sequence[Value]
        ) -> list[Value]:
            if i == len(axes):
                return list(body(moved, place, mask, *carried))
            axis = axes[i]

            def tap(t: Index, *carried: Value) -> list[Value]:
                by_lane = mask
                if window.column is not None and i == len(axes) - 1 and not axis.inside:
                    first = f.sub(f.add(f.mul(window.column, axis.stride), f.mul(t, axis.dilation)), axis.low)
                    places = self.steps(first, axis.stride)
                    inside = f.compare("icmp ult", places, f.constant(places.type, axis.size))
                    by_lane = inside if mask is None else f.op("and", inside, mask)
                at = f.add(moved, f.mul(t, axis.dilation * axis.input_stride))
                return level(i + 1, at, f.add(f.mul(place, axis.window), t), by_lane, carried)

            first, last = window.taps[i]
            if not unrolled:
                return f.loop(first, last, tap, list(carried))
            assert isinstance(first, int) and isinstance(last, int)
            for t in range(first, last):
                carried = tap(t, *carried)
            return list(carried)

        return level(0, 0, 0, window.mask, carried)

    # -- memory

    def pointers(self, pointer: Value, step: int, nbytes: int) -> Value:
        """The lanes' addresses, `step` elements of so many bytes apart."""
        f = self.f
        steps = f.constants(vector("i64", self.lanes), [lane * step * nbytes for lane in range(self.lanes)])
        type = vector("ptr", self.lanes)
        return f.assign(type, f"getelementptr i8, ptr {pointer.name}, {steps.type} {steps.name}")

    def load(self, operand: int, element: Index, step: int, mask: Value | None) -> Value:
        """Lanes `step` elements apart; those outside the mask are zero."""
        f, dtype = self.f, self.dtypes[operand]
        type, nbytes = storage_type(dtype, self.lanes), ITEMSIZE[dtype]
        pointer = f.at(self.operands[operand], f.mul(element, nbytes))
        if step == 1 or self.lanes == 1:
            stored = f.load(type, pointer) if mask is None else f.masked_load(type, pointer, mask)
        else:
            mask = f.mask(self.lanes, self.lanes) if mask is None else mask
            zero, align = Value(type, "zeroinitializer"), Value("i32", str(nbytes))
            name = f"llvm.masked.gather.{mangle(type)}.v{self.lanes}p0"
            stored = f.call(type, name, self.pointers(pointer, step, nbytes), align, mask, zero)
        return from_storage(f, self.isa, dtype, stored)

    def store(self, operand: int, value: Value, element: Index, step: int, mask: Value | None) -> None:
        """Store lanes `step` elements apart, rounded to the operand's dtype."""
        f, dtype = self.f, self.dtypes[operand]
        nbytes = ITEMSIZE[dtype]
        if dtype in NARROW:
            value = narrowed(f, self.isa, dtype, value)
        pointer = f.at(self.operands[operand], f.mul(element, nbytes))
        if step == 1 or self.lanes == 1:
            if mask is None:
                f.store(value, pointer)
            else:
                f.masked_store(value, pointer, mask)
            return
        mask = f.mask(self.lanes, self.lanes) if mask is None else mask
        name = f"llvm.masked.scatter.{mangle(value.type)}.v{self.lanes}p0"
        f.call("void", name, value, self.pointers(pointer, step, nbytes), Value("i32", str(nbytes)), mask)

    def clear(self, batch: Index, channels: tuple[Index, Index], first: Index, last: Index) -> None:
        """Zero the task's part of rows ``first <= row < last`` of the input's gradient."""
        f, spec = self.f, self.spec
        target = len(self.operands) - 1
        zero = f.constant(self.type, 0.0)
        base = f.mul(batch, spec.input_strides[0])

        def lanes(at: Index, start: Index, stride: int, size: int) -> None:
            mask = f.tail_mask(self.lanes, f.sub(size, start)) if size % self.lanes else None
            self.store(target, zero, f.add(at, f.mul(start, stride)), stride, mask)

        def pixel(indices: list[Index]) -> None:
            at = base
            if indices:
                indices = [f.add(indices[0], first), *indices[1:]]
            for index, axis in zip(indices, self.axes, strict=False):
                at = f.add(at, f.mul(index, axis.input_stride))
            if self.by_channel:
                f.loop(
                    *channels, lambda v: lanes(at, f.mul(v, self.lanes), spec.input_strides[1], spec.channels)
                )
                return
            last = self.axes[-1]

            def channel(c: Index) -> None:
                row = f.add(at, f.mul(c, spec.input_strides[1]))
                f.loop(
                    0, -(-last.size // self.lanes),
                    lambda v: lanes(row, f.mul(v, self.lanes), last.input_stride, last.size),
                )  # fmt: skip

            f.loop(*channels, channel)

        sizes: list[Index] = [axis.size for axis in (self.axes if self.by_channel else self.axes[:-1])]
        nest(f, [f.sub(last, first), *sizes[1:]] if sizes else [], pixel)

    # -- what is done with a window

    def larger(self, value: Value, best: Value, mask: Value | None) -> Value:
        """Where `value` takes the place of `best`: it is larger or NaN, and `best` is not NaN."""
        f = self.f
        if self.kind_of_number == "float":
            above = f.compare("fcmp ugt", value, best)
            above = f.op("and", above, f.compare("fcmp ord", best, best))
        else:
            above = f.compare("icmp sgt" if self.kind_of_number == "signed" else "icmp ugt", value, best)
        return above if mask is None else f.op("and", above, mask)

    @property
    def lowest(self) -> Value:
        """What is no larger than any element."""
        bottom = -(1 << (8 * self.itemsize - 1)) if self.kind_of_number == "signed" else 0
        return self.f.constant(self.type, -math.inf if self.kind_of_number == "float" else bottom)

    def maximum(self, window: Window) -> None:
        f = self.f

        def tap(moved: Index, _: Index, mask: Value | None, best: Value) -> list[Value]:
            value = self.load(0, f.add(window.input, moved), self.input_step, mask)
            return [f.select(self.larger(value, best, mask), value, best)]

        (best,) = self.taps(window, tap, [self.lowest])
        self.store(1, best, window.output, self.output_step, window.mask)

    def first_maximum(self, window: Window, picked: Value | None = None) -> tuple[Value, Value | None]:
        """The place of the maximum in its window (-1: the window is empty), and the value of operand 1 there
        if `picked` is given.
        """
        f = self.f
        none = f.constant(self.places, -1)

        def tap(
            moved: Index, place: Index, mask: Value | None, best: Value, at: Value, *picked: Value
        ) -> list[Value]:
            element = f.add(window.input, moved)
            value = self.load(0, element, self.input_step, mask)
            first = f.compare("icmp slt", at, f.constant(self.places, 0))
            first = first if mask is None else f.op("and", first, mask)
            better = f.op("or", first, self.larger(value, best, mask))
            result = [f.select(better, value, best), f.select(better, self.place(place), at)]
            if picked:
                result.append(f.select(better, self.load(1, element, self.input_step, mask), picked[0]))
            return result

        start = [self.lowest, none, *([picked] if picked is not None else [])]
        _, at, *rest = self.taps(window, tap, start)
        return at, rest[0] if rest else None

    def place(self, place: Index) -> Value:
        """A place in the window, in every lane."""
        f = self.f
        if isinstance(place, int):
            return f.constant(self.places, place)
        return f.splat(f.cast("trunc", place, self.places[self.places.index("i") : -1]), self.lanes)

    def maximum_select(self, window: Window) -> None:
        _, picked = self.first_maximum(window, self.f.constant(self.type, 0.0))
        assert picked is not None
        self.store(2, picked, window.output, self.output_step, window.mask)

    def maximum_gradient(self, window: Window) -> None:
        f = self.f
        at, _ = self.first_maximum(window)
        gradient = self.load(1, window.output, self.output_step, window.mask)
        zero = f.constant(self.type, 0.0)

        def share(place: Index) -> Value:
            return f.select(f.compare("icmp eq", at, self.place(place)), gradient, zero)

        self.distribute(2, window, share)

    def average(self, window: Window) -> None:
        f = self.f

        def tap(moved: Index, _: Index, mask: Value | None, total: Value) -> list[Value]:
            return [f.op("fadd", total, self.load(0, f.add(window.input, moved), self.input_step, mask))]

        (total,) = self.taps(window, tap, [f.constant(self.type, 0.0)])
        self.store(1, f.op("fdiv", total, self.divisor(window)), window.output, self.output_step, window.mask)

    def average_gradient(self, window: Window) -> None:
        f = self.f
        gradient = self.load(0, window.output, self.output_step, window.mask)
        each = f.op("fdiv", gradient, self.divisor(window))
        self.distribute(1, window, lambda place: each)

    def distribute(self, operand: int, window: Window, share: Callable[[Index], Value]) -> None:
        """Add to each element of the window its share; where no two windows meet, that is all it gets."""
        f = self.f
        alone = all(axis.disjoint for axis in self.axes)

        shares: list[tuple[Index, Value, Value | None]] = []

        def tap(moved: Index, place: Index, mask: Value | None) -> list[Value]:
            element, value = f.add(window.input, moved), share(place)
            if not alone:
                value = plus(f, self.load(operand, element, self.input_step, mask), value)
            shares.append((element, value, mask))
            if not unrolled:
                store()
            return []

        def store() -> None:
            # All loads of a written-out window come before its stores: a load waits for any store at the same
            # place in another page, and rows of pixels often are a multiple of a page apart.
            for element, value, mask in shares:
                self.store(operand, value, element, self.input_step, mask)
            shares.clear()

        # Where lanes are pixels, one lane's element may be another's at a later tap.
        unrolled = self.unrolled(window) and (self.by_channel or alone)
        self.taps(window, tap, [])
        store()

    def divisor(self, window: Window) -> Value:
        """The number of places of each lane's window."""
        f = self.f
        count: Index = 1
        by_lane: Value | None = None
        for places in window.counts:
            if isinstance(places, Value) and places.type[0] == "<":
                by_lane = places
            else:
                count = f.mul(count, places)
        if isinstance(count, int) and by_lane is None:
            return f.constant(self.type, count)
        if by_lane is None:
            return f.splat(f.cast("sitofp", f.i64(count), self.scalar), self.lanes)
        return f.cast("sitofp", f.op("mul", by_lane, f.splat(f.i64(count), self.lanes)), self.type)
