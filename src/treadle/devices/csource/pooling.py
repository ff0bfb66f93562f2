"""Maxima and averages of windows in C: a work item an element of the result.

What a window holds of its input, and which windows hold an element, are ranges cut at the borders, so that
nothing is looked at that is padding. The gradient of a maximum comes in two kernels: the first notes which
place of each window was chosen, the second adds up, for each element, what the windows give that chose it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Operand
from treadle.compiler.program import LibraryCall
from treadle.devices.csource.body import loaded_from, stored_at
from treadle.devices.csource.copies import reach
from treadle.devices.csource.kernel import Facts, Launch, Lowered, Place, SourceKernel, product
from treadle.devices.csource.text import index_type, kernel_text, unravelled
from treadle.devices.csource.types import NARROW, cast, computed, kind, literal
from treadle.ops.channels_last import CHANNELS_FIRST

Strides = tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """The geometry of a pooling: `sizes` and `windows` are spatial sizes of what is pooled and of what it
    gives.
    """

    dtype: str
    batch: int
    channels: int
    sizes: tuple[int, ...]
    windows: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    type: str
    """The C type of places."""
    facts: Facts

    @property
    def summed(self) -> str:
        return "float32" if self.dtype in NARROW else self.dtype

    def taps(self) -> list[str]:
        """Loops over what the window of a point ``o0, o1 ...`` holds; places are ``i0, i1 ...``."""
        lines = []
        for d, (size, n, step, low) in enumerate(self.dimensions()):
            start = f"o{d} * {step} - {low}"
            lines += [
                f"{'  ' * (d + 1)}const {self.type} start{d} = {start};",
                f"{'  ' * (d + 1)}for ({self.type} t{d} = start{d} < 0 ? -start{d} : 0; "
                f"t{d} < {n} && start{d} + t{d} < {size}; ++t{d}) {{",
                f"{'  ' * (d + 2)}const {self.type} i{d} = start{d} + t{d};",
            ]
        return lines

    def holders(self) -> list[str]:
        """Loops over the windows ``o0, o1 ...`` that hold a point ``i0, i1 ...``."""
        lines = []
        for d, (_, n, step, low) in enumerate(self.dimensions()):
            lines += [
                f"{'  ' * (d + 1)}const {self.type} first{d} = i{d} + {low} < {n} ? 0 : "
                f"(i{d} + {low} - {n}) / {step} + 1;",
                f"{'  ' * (d + 1)}for ({self.type} o{d} = first{d}; "
                f"o{d} < {self.windows[d]} && o{d} * {step} <= i{d} + {low}; ++o{d}) {{",
            ]
        return lines

    def dimensions(self) -> list[tuple[int, int, int, int]]:
        """Size, window, stride and padding of each."""
        return list(zip(self.sizes, self.window, self.stride, self.padding, strict=True))

    def closed(self) -> list[str]:
        return ["  " * d + "}" for d in range(len(self.sizes), 0, -1)]

    @property
    def deep(self) -> str:
        """The indentation inside of the loops."""
        return "  " * (len(self.sizes) + 1)

    def tap(self) -> str:
        """The number of a window's place, row-major."""
        return _dot([f"t{d}" for d in range(len(self.window))], row_major(self.window))

    def at(self, strides: Strides, letter: str, offset: int = 0) -> str:
        """An element's number; strides over [batch, channels, spatial...]."""
        names = ["b", "c", *[f"{letter}{d}" for d in range(len(self.sizes))]]
        return _dot(names, strides, offset)

    def text(
        self, label: str, letter: str, order: Strides, operands: Sequence[Operand], lines: Sequence[str]
    ) -> SourceKernel:
        """A kernel of a work item for each element of what is pooled (`letter` i) or of what it gives (o), in
        which neighbours are neighbours by the strides `order`.
        """
        spatial = self.sizes if letter == "i" else self.windows
        sizes = [self.batch, self.channels, *spatial]
        names = ["b", "c", *[f"{letter}{d}" for d in range(len(spatial))]]
        axes = sorted(range(len(sizes)), key=lambda axis: (sizes[axis] != 1, -order[axis], axis))
        lanes, total = self.facts.lanes, product(sizes)
        head = [
            f"const {self.type} point = ({self.type})(GROUP * {lanes} + LANE);",
            f"if (point >= {total}) return;",
            *unravelled("point", self.type, [names[a] for a in axes], [sizes[a] for a in axes]),
            *[f"const {self.type} {name} = 0;" for name, n in zip(names, sizes, strict=True) if n == 1],
        ]
        groups = -(-total // lanes)
        flops = total * product(self.window)
        code = ["  " + line for line in head] + list(lines)
        functions = {"held": self._held()} if any("held(" in line for line in lines) else {}
        return kernel_text(label, operands, functions, code, groups, lanes, flops)

    def _held(self) -> str:
        """The function that counts what a window holds along one dimension."""
        t = self.type
        return (
            f"INLINE {t} held({t} start, {t} n, {t} size) "
            "{ return (start + n < size ? start + n : size) - (start < 0 ? 0 : start); }"
        )


def _dot(names: Sequence[str], strides: Sequence[int], offset: int = 0) -> str:
    terms = [f"{name} * {stride}" for name, stride in zip(names, strides, strict=True) if stride]
    return " + ".join([*terms, str(offset)] if offset or not terms else terms)


def _laid(call: LibraryCall) -> tuple[tuple[int, ...], Strides]:
    """Shape and strides of a result as [batch, channels, spatial...]."""
    shape: tuple[int, ...] = call.node.shape  # type: ignore[assignment]
    strides = row_major(shape)
    if call.node.op.name in CHANNELS_FIRST:
        return (shape[0], shape[-1], *shape[1:-1]), (strides[0], strides[-1], *strides[1:-1])
    return shape, tuple(strides)


def _pool(call: LibraryCall, facts: Facts, x: Sequence[int], y: Sequence[int]) -> Pool:
    """Of the shapes of what is pooled and of what it gives."""
    node = call.node
    sizes = [product(x), product(y), *[reach(view) for view in call.inputs]]
    type = index_type([Operand(node.dtype.name, n) for n in sizes], (1,))
    return Pool(
        node.dtype.name,
        x[0],
        x[1],
        tuple(x[2:]),
        tuple(y[2:]),
        node.attribute("window"),
        node.attribute("stride"),
        tuple([low for low, _ in node.attribute("padding")]),
        type,
        facts,
    )


def _one(kernel: SourceKernel, inputs: int) -> Lowered:
    """A launch that reads the call's operands and writes its result."""
    return Lowered((Launch(kernel, (*[("in", i) for i in range(inputs)], ("out", 0))),))


def _search(pool: Pool, strides: Strides, offset: int, also: str = "") -> list[str]:
    """Lines that find a window's maximum, `best`, and do something else at each new one."""
    dtype = pool.dtype
    nan = " || (value != value && best == best)" if kind(dtype) == "float" else ""
    type = computed(dtype)
    return [
        f"  {type} best = {literal(0, dtype)};",
        "  bool found = false;",
        *pool.taps(),
        f"{pool.deep}const {type} value = {loaded_from('p0', pool.at(strides, 'i', offset), dtype)};",
        f"{pool.deep}if (!found || value > best{nan}) {{ best = value; found = true; {also}}}",
        *pool.closed(),
    ]


def max_pool(call: LibraryCall, facts: Facts) -> Lowered:
    """The maximum of each window."""
    shape, made = _laid(call)
    (x,) = call.inputs
    pool = _pool(call, facts, x.shape, shape)  # type: ignore[arg-type]
    lines = _search(pool, x.strides, x.offset)
    lines.append("  " + stored_at("p1", pool.at(made, "o"), pool.dtype, "best"))
    operands = Operand(pool.dtype, reach(x)), Operand(pool.dtype, product(shape), written=True)
    return _one(pool.text(f"max_pool {list(shape)}", "o", made, operands, lines), 1)


def max_pool_select(call: LibraryCall, facts: Facts) -> Lowered:
    """What another array has at the places of each window's first maximum."""
    shape, made = _laid(call)
    x, values = call.inputs
    pool = _pool(call, facts, x.shape, shape)  # type: ignore[arg-type]
    there = loaded_from("p1", pool.at(values.strides, "i", values.offset), pool.dtype)
    lines = [f"  {computed(pool.dtype)} chosen = {literal(0, pool.dtype)};"]
    lines += _search(pool, x.strides, x.offset, f"chosen = {there}; ")
    lines.append("  " + stored_at("p2", pool.at(made, "o"), pool.dtype, "chosen"))
    operands = [Operand(pool.dtype, reach(view)) for view in call.inputs]
    operands.append(Operand(pool.dtype, product(shape), written=True))
    return _one(pool.text(f"max_pool_select {list(shape)}", "o", made, operands, lines), 2)


def max_pool_gradient(call: LibraryCall, facts: Facts) -> Lowered:
    """What each window gives, at the place of its first maximum, added up."""
    shape, made = _laid(call)
    x, g = call.inputs
    pool = _pool(call, facts, x.shape, g.shape)  # type: ignore[arg-type]
    windows: tuple[int, ...] = g.shape  # type: ignore[assignment]
    # What was chosen lies as the cotangents do, or row-major where they overlap.
    dense = reach(g) - g.offset == product(windows)
    noted = g.strides if dense else tuple(row_major(windows))
    count, dtype = product(windows), pool.dtype
    lines = ["  i32 place = 0;", *_search(pool, x.strides, x.offset, f"place = (i32)({pool.tap()}); ")]
    lines.append(f"  p1[{pool.at(noted, 'o')}] = place;")
    operands = Operand(dtype, reach(x)), Operand("int32", count, written=True)
    first = pool.text(f"max_pool places {list(windows)}", "o", noted, operands, lines)
    taps = [f"(i{d} + {low} - o{d} * {step})" for d, (_, _, step, low) in enumerate(pool.dimensions())]
    number = _dot(taps, row_major(pool.window))
    given = loaded_from("p0", pool.at(g.strides, "o", g.offset), dtype)
    lines = [
        f"  {computed(pool.summed)} sum = {literal(0, pool.summed)};",
        *pool.holders(),
        f"{pool.deep}if (p1[{pool.at(noted, 'o')}] == {number}) sum += {given};",
        *pool.closed(),
        _stored(pool, "p2", pool.at(made, "i"), "sum"),
    ]
    operands = Operand(dtype, reach(g)), Operand("int32", count), Operand(dtype, product(shape), written=True)
    second = pool.text(f"max_pool_gradient {list(shape)}", "i", made, operands, lines)
    places: tuple[Place, ...] = ("in", 1), ("temp", 0), ("out", 0)
    return Lowered((Launch(first, (("in", 0), ("temp", 0))), Launch(second, places)), (4 * count,))


def _stored(pool: Pool, pointer: str, index: str, value: str) -> str:
    return "  " + stored_at(pointer, index, pool.dtype, cast(value, pool.summed, pool.dtype))


def _counted(pool: Pool, include: bool) -> str:
    """How many elements the window ``o0, o1 ...`` averages over, as C of the dtype of sums."""
    if include:
        return literal(math.prod(pool.window), pool.summed)
    type = computed(pool.summed)
    held = [
        f"({type})held(o{d} * {step} - {low}, {n}, {size})"
        for d, (size, n, step, low) in enumerate(pool.dimensions())
    ]
    return " * ".join(held)


def average_pool(call: LibraryCall, facts: Facts) -> Lowered:
    """The mean of each window."""
    shape, made = _laid(call)
    (x,) = call.inputs
    pool = _pool(call, facts, x.shape, shape)  # type: ignore[arg-type]
    count = _counted(pool, call.node.attribute("count_include_pad"))
    lines = [
        f"  {computed(pool.summed)} sum = {literal(0, pool.summed)};",
        *pool.taps(),
        f"{pool.deep}sum += {loaded_from('p0', pool.at(x.strides, 'i', x.offset), pool.dtype)};",
        *pool.closed(),
        _stored(pool, "p1", pool.at(made, "o"), f"(sum / ({count}))"),
    ]
    operands = Operand(pool.dtype, reach(x)), Operand(pool.dtype, product(shape), written=True)
    return _one(pool.text(f"average_pool {list(shape)}", "o", made, operands, lines), 1)


def average_pool_gradient(call: LibraryCall, facts: Facts) -> Lowered:
    """What each window gives to all that it holds, added up."""
    shape, made = _laid(call)
    (g,) = call.inputs
    pool = _pool(call, facts, shape, g.shape)  # type: ignore[arg-type]
    count = _counted(pool, call.node.attribute("count_include_pad"))
    given = loaded_from("p0", pool.at(g.strides, "o", g.offset), pool.dtype)
    lines = [
        f"  {computed(pool.summed)} sum = {literal(0, pool.summed)};",
        *pool.holders(),
        f"{pool.deep}sum += {given} / ({count});",
        *pool.closed(),
        _stored(pool, "p1", pool.at(made, "i"), "sum"),
    ]
    operands = Operand(pool.dtype, reach(g)), Operand(pool.dtype, product(shape), written=True)
    return _one(pool.text(f"average_pool_gradient {list(shape)}", "i", made, operands, lines), 1)
