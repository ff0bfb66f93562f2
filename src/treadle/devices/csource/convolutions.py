"""Convolutions and their gradients as loop kernels: sums of products over places of a window.

The loop's axes are the dimensions of the result, the channels' apart by group; then those that are summed
over, places of the window before channels, so that whether a place lies in the padding changes slowly. The
gradient by the input is a kernel for each rest that a place leaves by the stride: there the places of the
result that a place of the window leads to are evenly spaced.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.compiler.kernel import Access, Affine, Fold, Guard, Instruction, Operand, Stage
from treadle.compiler.program import LibraryCall, View
from treadle.devices.csource.copies import reach
from treadle.devices.csource.kernel import Facts, Launch, Lowered
from treadle.devices.csource.products import finished
from treadle.devices.csource.types import NARROW
from treadle.ops.channels_last import CHANNELS_FIRST

Terms = dict[str, int]
"""An affine map by the names of axes; what belongs to no axis is under ""."""


@dataclass
class Nest:
    """The axes of a loop, by name, outermost first."""

    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def axis(self, name: str, size: int) -> None:
        """One more axis, inside of those that are there."""
        self.names.append(name)
        self.sizes.append(size)

    def affine(self, terms: Terms) -> Affine:
        return Affine(terms.get("", 0), tuple([terms.get(name, 0) for name in self.names]))

    def access(self, operand: int, view: View, dimensions: Sequence[Terms], bounded: bool = False) -> Access:
        """Where in an operand a point is. With `bounded`, spatial places may lie outside."""
        total: Terms = {"": view.offset}
        for stride, terms in zip(view.strides, dimensions, strict=True):
            for name, step in terms.items():
                total[name] = total.get(name, 0) + stride * step
        guards = []
        for size, terms in zip(view.shape[2:], dimensions[2:], strict=True) if bounded else ():
            low = high = terms.get("", 0)
            for name, n in zip(self.names, self.sizes, strict=True):
                step = terms.get(name, 0) * (n - 1)
                low, high = low + min(step, 0), high + max(step, 0)
            if low < 0 or high >= int(size):
                guards.append(Guard(self.affine(terms), int(size)))
        return Access(operand, self.affine(total), tuple(guards))


@dataclass
class Geometry:
    """What the three ops share, of a call."""

    call: LibraryCall
    facts: Facts

    def __post_init__(self) -> None:
        node = self.call.node
        self.shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
        self.last = node.op.name in CHANNELS_FIRST
        self.groups = node.attribute("groups")
        self.stride: tuple[int, ...] = node.attribute("stride")
        self.padding = [low for low, _ in node.attribute("padding")]
        self.dilation: tuple[int, ...] = node.attribute("dilation")
        given = node.dtype.name
        self.summed = "float32" if given in NARROW else given
        self.operands = [Operand(given, reach(view)) for view in self.call.inputs]

    def result_axes(self, nest: Nest, channels: str, spatial: Sequence[tuple[str, int]]) -> None:
        """The axes of a result [batch, channels, spatial...], in the order in which its dimensions lie."""
        count = self.shape[-1 if self.last else 1]

        def by_channel() -> None:
            nest.axis("group", self.groups)
            nest.axis(channels, count // self.groups)

        nest.axis("batch", self.shape[0])
        if not self.last:
            by_channel()
        for name, size in spatial:
            nest.axis(name, size)
        if self.last:
            by_channel()

    def launched(
        self, nest: Nest, rows: int, dimensions: Sequence[Terms], left: Access, right: Access
    ) -> Lowered:
        """The sum of products of two operands; `dimensions` are the result's as it lies."""
        body = (
            Instruction("load", (), self.summed, left),
            Instruction("load", (), self.summed, right),
            Instruction("multiply", (0, 1), self.summed),
        )
        inner = Stage("element", body, (Fold("add", 2, self.summed),))
        places = [nest.affine(terms) for terms in dimensions]
        label = f"{self.call.node.op.name} {list(self.shape)}"
        sizes = tuple(nest.sizes)
        return finished(self.call, self.facts, label, sizes, rows, places, self.operands, inner)

    def ordered(self, batch: Terms, channels: Terms, spatial: Sequence[Terms]) -> list[Terms]:
        """The dimensions of a result as they lie."""
        return [batch, *spatial, channels] if self.last else [batch, channels, *spatial]


def convolution(call: LibraryCall, facts: Facts) -> Lowered:
    """y[b, k, o] = sum over t, c of x[b, c, o * stride - padding + t * dilation] * w[k, c, t]."""
    geometry, (x, w) = Geometry(call, facts), call.inputs
    made = geometry.shape[1:-1] if geometry.last else geometry.shape[2:]
    nest, axes = Nest(), range(len(made))
    geometry.result_axes(nest, "out", [(f"o{d}", made[d]) for d in axes])
    rows = len(nest.sizes)
    for d in axes:
        nest.axis(f"t{d}", int(w.shape[2 + d]))
    channels = int(w.shape[1])
    nest.axis("in", channels)
    out: Terms = {"group": int(w.shape[0]) // geometry.groups, "out": 1}
    met = _met(geometry)
    left = nest.access(0, x, [{"batch": 1}, {"group": channels, "in": 1}, *met], bounded=True)
    right = nest.access(1, w, [out, {"in": 1}, *[{f"t{d}": 1} for d in axes]])
    dimensions = geometry.ordered({"batch": 1}, out, [{f"o{d}": 1} for d in axes])
    return geometry.launched(nest, rows, dimensions, left, right)


def _met(geometry: Geometry) -> list[Terms]:
    """The places of the input that the window's places meet."""
    steps = zip(geometry.stride, geometry.padding, geometry.dilation, strict=True)
    return [{f"o{d}": stride, "": -low, f"t{d}": gap} for d, (stride, low, gap) in enumerate(steps)]


def weight_gradient(call: LibraryCall, facts: Facts) -> Lowered:
    """w'[k, c, t] = sum over b, o of x[b, c, o * stride - padding + t * dilation] * g[b, k, o]."""
    geometry, (x, g) = Geometry(call, facts), call.inputs
    outs, channels, *window = geometry.shape
    if geometry.last:
        *window, channels, outs = geometry.shape
    axes = range(len(window))
    filters = [("group", geometry.groups), ("out", outs // geometry.groups)]
    taps = [(f"t{d}", window[d]) for d in axes]
    within = [("in", channels)]
    nest = Nest()
    for name, size in [*taps, *within, *filters] if geometry.last else [*filters, *within, *taps]:
        nest.axis(name, size)
    rows = len(nest.sizes)
    nest.axis("batch", int(g.shape[0]))
    for d in axes:
        nest.axis(f"o{d}", int(g.shape[2 + d]))
    out: Terms = {"group": outs // geometry.groups, "out": 1}
    met = _met(geometry)
    left = nest.access(0, x, [{"batch": 1}, {"group": channels, "in": 1}, *met], bounded=True)
    right = nest.access(1, g, [{"batch": 1}, out, *[{f"o{d}": 1} for d in axes]])
    places: list[Terms] = [{f"t{d}": 1} for d in axes]
    dimensions = [*places, {"in": 1}, out] if geometry.last else [out, {"in": 1}, *places]
    return geometry.launched(nest, rows, dimensions, left, right)


@dataclass(frozen=True)
class _Phase:
    """The places ``rest + q * stride`` of one dimension, q < count: the window's places that lead there are
    ``first + u * step``, u < places, from places ``q + base - u * back`` of the result.
    """

    rest: int
    count: int
    first: int
    step: int
    places: int
    base: int
    back: int


def _phases(size: int, window: int, stride: int, low: int, gap: int) -> list[_Phase]:
    found = []
    step = stride // math.gcd(stride, gap)
    for rest in range(min(stride, size)):
        first = next((t for t in range(min(step, window)) if (rest + low - t * gap) % stride == 0), window)
        places = -(-(window - first) // step)
        base = (rest + low - first * gap) // stride
        found.append(
            _Phase(rest, -(-(size - rest) // stride), first, step, places, base, step * gap // stride)
        )
    return found


def input_gradient(call: LibraryCall, facts: Facts) -> Lowered:
    """x'[b, c, i] = sum over k, t of g[b, k, o] * w[k, c, t], o * stride - padding + t * dilation being i."""
    geometry, (_, w) = Geometry(call, facts), call.inputs
    sizes = geometry.shape[1:-1] if geometry.last else geometry.shape[2:]
    steps = zip(sizes, w.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    every = itertools.product(*[_phases(int(n), int(t), *rest) for n, t, *rest in steps])
    launches: list[Launch] = []
    temporaries: list[int] = []
    for phases in every:
        part = _phase_gradient(geometry, phases)
        launches += [_with_temporaries_after(launch, len(temporaries)) for launch in part.launches]
        temporaries += part.temporaries
    return Lowered(tuple(launches), tuple(temporaries))


def _with_temporaries_after(launch: Launch, count: int) -> Launch:
    operands = tuple([(name, i + count if name == "temp" else i) for name, i in launch.operands])
    return Launch(launch.kernel, operands)


def _phase_gradient(geometry: Geometry, phases: Sequence[_Phase]) -> Lowered:
    """The gradient by the input at the places that leave one rest in each dimension."""
    g, w = geometry.call.inputs
    nest, axes = Nest(), range(len(phases))
    geometry.result_axes(nest, "in", [(f"q{d}", phase.count) for d, phase in enumerate(phases)])
    rows = len(nest.sizes)
    for d, phase in enumerate(phases):
        nest.axis(f"u{d}", phase.places)
    outs, channels = int(w.shape[0]) // geometry.groups, int(w.shape[1])
    nest.axis("out", outs)
    out: Terms = {"group": outs, "out": 1}
    from_: list[Terms] = [
        {f"q{d}": 1, "": phase.base, f"u{d}": -phase.back} for d, phase in enumerate(phases)
    ]
    taps: list[Terms] = [{"": phase.first, f"u{d}": phase.step} for d, phase in enumerate(phases)]
    left = nest.access(0, g, [{"batch": 1}, out, *from_], bounded=True)
    right = nest.access(1, w, [out, {"in": 1}, *taps])
    places: list[Terms] = [{"": phases[d].rest, f"q{d}": geometry.stride[d]} for d in axes]
    dimensions = geometry.ordered({"batch": 1}, {"group": channels, "in": 1}, places)
    return geometry.launched(nest, rows, dimensions, left, right)
