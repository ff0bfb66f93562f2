"""Convolutions on the CPU, in all three directions: what one is, and the kernels of each direction.

A convolution here is a cross-correlation, as in every framework. All layouts are strides, so the same kernels
serve channels first, channels last and views of either; channels last is the quickest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from treadle.compiler.kernel import Instruction, Operand
from treadle.devices.cpu import winograd
from treadle.devices.cpu.convolution_chunks import block_cycles, choose_sums, cycles
from treadle.devices.cpu.convolution_data import input_correlations
from treadle.devices.cpu.convolution_forward import correlate
from treadle.devices.cpu.convolution_packing import pack_weights
from treadle.devices.cpu.convolution_pixels import looks_at_pixels, pixel_weight_gradient
from treadle.devices.cpu.convolution_weights import add_chunks, sum_chunks
from treadle.devices.cpu.correlation import Axis, Correlation, Packing, choose_vectors
from treadle.devices.cpu.depthwise import reads_channels_together
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.winograd_filters import Weights
from treadle.devices.cpu.winograd_sums import choose_winograd_sums, suits
from treadle.devices.cpu.winograd_weights import winograd_gradient

WINOGRAD_GAIN = 1.15
"""How much of a direct kernel's time Winograd's may take by their models. Measured it is 0.35 to 0.7, but for
the smallest gradients, where it may be more than 1.
"""


@dataclass(frozen=True)
class Convolution:
    """``output[n, k, o] = sum over c, t of input[n, c, o * stride - padding + t * dilation] * weight[k, c,
    t]``.

    `o` and `t` run over one to three spatial axes. Strides count elements; those of axes of size 1 are
    ignored.
    """

    batch: int
    groups: int
    in_channels: int
    """Of all groups together."""
    out_channels: int
    """Of all groups together."""
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    input_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    weight_strides: tuple[int, ...]
    """out channel, in channel (within the group), spatial..."""
    output_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    dtype: str = "float32"
    epilogue: tuple[Instruction, ...] = ()
    """A straight-line body whose op ``accumulator`` is the sum and whose last instruction is stored; its
    loads are accesses to `extra`, affine over (batch, channel, spatial...) of what is stored: the output, or
    for `input_gradient` the gradient by the input. Empty: the sum is stored.
    """
    extra: tuple[Operand, ...] = ()
    exact: bool = False
    """Every output is a sum of products of inputs and weights; without it Winograd's algorithm may run."""

    def __post_init__(self) -> None:
        rank = len(self.kernel)
        if not 1 <= rank <= 3:
            raise ValueError(f"a convolution has 1 to 3 spatial axes, not {rank}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self.in_channels} -> {self.out_channels} channels do not divide into {self.groups} groups"
            )
        for name in ("input", "output", "stride", "padding", "dilation"):
            if len(getattr(self, name)) != rank:
                raise ValueError(f"{name} has {len(getattr(self, name))} axes, the kernel {rank}")
        for name in ("input_strides", "weight_strides", "output_strides"):
            if len(getattr(self, name)) != rank + 2:
                raise ValueError(f"{name} has {len(getattr(self, name))} axes, not {rank + 2}")
        if self.dtype not in SCALARS:
            raise NotImplementedError(
                f"convolution of {self.dtype}: the CPU multiplies {' and '.join(SCALARS)}"
            )

    @property
    def itemsize(self) -> int:
        return ITEMSIZES[SCALARS[self.dtype]]

    @property
    def label(self) -> str:
        """``64x32x14x14 -> 64, 5x5``: batch, channels and pixels, output channels, kernel."""
        pixels, kernel = ("x".join(map(str, sizes)) for sizes in (self.input, self.kernel))
        groups = f" groups {self.groups}" if self.groups > 1 else ""
        return f"{self.batch}x{self.in_channels}x{pixels} -> {self.out_channels}, {kernel}{groups}"

    @property
    def depthwise(self) -> bool:
        """Each output channel sees one input channel, its own."""
        return self.groups == self.in_channels == self.out_channels > 1

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The batch and the spatial axes, as the forward direction walks them."""
        batch = Axis(self.batch, self.batch, self.input_strides[0], self.output_strides[0])
        return (
            batch,
            *(
                Axis(out, size, i, o, taps, stride, dilation, -low, taps)
                for out, size, i, o, taps, stride, dilation, (low, _) in zip(
                    self.output, self.input, self.input_strides[2:], self.output_strides[2:],
                    self.kernel, self.stride, self.dilation, self.padding, strict=True,
                )
            ),
        )  # fmt: skip


def forward(convolution: Convolution, isa: Isa) -> Lowered:
    """The output. Operands: input ``("in", 0)``, weight ``("in", 1)``, `extra` from ``("in", 2)`` on, output
    ``("out", 0)``.
    """
    c = convolution
    correlation = forward_correlation(c)
    if not correlation.pixels * c.out_channels:
        return Lowered(())
    out, into = c.weight_strides[:2]
    if not c.exact and winograd.pays(correlation, isa):
        weights = Weights(0, out, into, c.weight_strides[2:])
        lowered = winograd.lower(correlation, weights, isa, f"convolution {c.label}, Winograd")
        return replace(lowered, in_place=True)
    packing = packing_of((correlation,), c.kernel, isa)
    group = correlation.filters * out
    pack = pack_weights(packing, isa, c.dtype, group, out, into, c.weight_strides[2:])
    kernel = correlate((correlation,), packing, isa, f"convolution {c.label}")
    extra = tuple(("in", 2 + i) for i in range(len(c.extra)))
    steps = (Step(pack, (("in", 1), ("temp", 0))), Step(kernel, (("in", 0), ("temp", 0), ("out", 0), *extra)))
    return Lowered(steps, (packing.nbytes,), in_place=True, prepared=1)


def input_gradient(convolution: Convolution, isa: Isa) -> Lowered:
    """Operands: output gradient ``("in", 0)``, weight ``("in", 1)``, `extra` from ``("in", 2)`` on; the
    gradient by the input, laid out as it, ``("out", 0)``.
    """
    c = convolution
    correlations = input_correlations(c)
    if not correlations or not c.in_channels:
        return Lowered(())
    out, into = c.weight_strides[:2]
    taps = c.weight_strides[2:]
    base = sum((size - 1) * stride for size, stride in zip(c.kernel, taps, strict=True))
    flipped = tuple(-stride for stride in taps)
    if not c.exact and winograd.pays(correlations[0], isa):
        label = f"convolution input gradient {c.label}, Winograd"
        lowered = winograd.lower(correlations[0], Weights(base, into, out, flipped), isa, label)
        return replace(lowered, in_place=True)
    packing = packing_of(correlations, c.kernel, isa)
    group = c.out_channels // c.groups * out
    if correlations[0].depthwise:
        out, into = into, out
    pack = pack_weights(packing, isa, c.dtype, group, into, out, flipped, base)
    kernel = correlate(correlations, packing, isa, f"convolution input gradient {c.label}")
    extra = tuple(("in", 2 + i) for i in range(len(c.extra)))
    steps = (Step(pack, (("in", 1), ("temp", 0))), Step(kernel, (("in", 0), ("temp", 0), ("out", 0), *extra)))
    return Lowered(steps, (packing.nbytes,), in_place=True, prepared=1)


def weight_gradient(convolution: Convolution, isa: Isa) -> Lowered:
    """Operands: input ``("in", 0)``, output gradient ``("in", 1)``; the gradient by the weights, laid out as
    they, ``("out", 0)``.
    """
    c = convolution
    correlation = forward_correlation(c)
    if not math.prod(c.kernel) * correlation.channels * c.out_channels:
        return Lowered(())
    if correlation.pixels and looks_at_pixels(c):
        return pixel_weight_gradient(c, isa)
    label = f"convolution weight gradient {c.label}"
    sums = choose_sums(correlation, isa)
    if not c.exact and suits(correlation):
        winograd_cycles, winograd_sums = choose_winograd_sums(correlation, isa)
        if winograd_cycles < WINOGRAD_GAIN * cycles(sums, block_cycles(sums)):
            return winograd_gradient(winograd_sums, isa, c.weight_strides, f"{label}, Winograd")
    steps = []
    if sums.chunks.parts:
        steps.append(Step(sum_chunks(sums, isa, label), (("in", 0), ("in", 1), ("temp", 0))))
    add = add_chunks(sums.packing, sums.chunks.parts, c.dtype, isa, c.weight_strides, label)
    steps.append(Step(add, (("temp", 0), ("out", 0))))
    return Lowered(tuple(steps), (sums.chunks.parts * sums.chunk_size * c.itemsize,))


def forward_correlation(c: Convolution) -> Correlation:
    """The convolution without its weights' layout."""
    groups = 1 if c.depthwise else c.groups
    return Correlation(
        groups, 1 if c.depthwise else c.in_channels // groups, c.out_channels // groups, c.axes,
        c.input_strides[1], c.output_strides[1], c.dtype, c.depthwise, 0, c.epilogue, c.extra,
    )  # fmt: skip


def packing_of(correlations: tuple[Correlation, ...], kernel: tuple[int, ...], isa: Isa) -> Packing:
    """The order of the weights that suits the largest of the correlations that share them."""
    largest = max(correlations, key=lambda c: c.pixels * math.prod(axis.taps for axis in c.axes))
    itemsize = ITEMSIZES[SCALARS[largest.dtype]]
    lanes = isa.lanes(itemsize)
    together = any(map(reads_channels_together, correlations))
    vectors = 1 if together else choose_vectors(largest.axes, largest.filters, isa, lanes)
    return Packing(largest.groups, largest.channels, largest.filters, kernel, lanes, vectors, itemsize)
