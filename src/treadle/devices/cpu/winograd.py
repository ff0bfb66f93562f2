"""Winograd's F(4x4, 3x3) for correlations of float32 with 3x3 taps and stride 1: a quarter of the
multiplications.

Patches of 6x6 inputs become 36 factors, and so do the 3x3 weights; their products, channels summed, are 36
small products of matrices; and of these tiles of 4x4 outputs are made. Where tiles are many, the weights are
transformed first, and tasks take blocks of tiles, whose factors and products stay in the caches. Where they
are few and the weights many, the patches are transformed first, and tasks take blocks of filters; between,
both are. Products go place by place, and fetch what those of the next place read while they sum. Which, and
whether this runs at all, is a function of shape and instruction set alone.
"""

from __future__ import annotations

from dataclasses import replace

from treadle.devices.cpu.copies import copied, row_major
from treadle.devices.cpu.correlation import Correlation
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.winograd_cut import Cut, choose_cut, direct_cycles
from treadle.devices.cpu.winograd_filters import Factors, Weights, transform_filters
from treadle.devices.cpu.winograd_kernels import ProductWriter, patches_nbytes, transform_patches
from treadle.devices.cpu.winograd_tiles import ITEMSIZE, grid_of
from treadle.devices.cpu.winograd_transform import TAPS

GAIN = 1.2
"""How much of a direct kernel's time Winograd's may take by their models. Measured on one thread it is half
as much there: the models count what several would wait for.
"""


def applies(correlation: Correlation) -> bool:
    """Whether a correlation is one of those this computes."""
    return (
        correlation.dtype == "float32"
        and correlation.groups == 1
        and not correlation.depthwise
        and len(correlation.axes) == 3
        and all(
            (axis.taps, axis.kernel, axis.stride, axis.dilation, axis.tap_step) == (TAPS, TAPS, 1, 1, 1)
            for axis in correlation.axes[1:]
        )
        and correlation.pixels * correlation.channels * correlation.filters > 0
    )


def pays(correlation: Correlation, isa: Isa) -> bool:
    """Whether it is quicker than sums as they are written."""
    if not applies(correlation) or min(correlation.channels, correlation.filters) < isa.lanes(ITEMSIZE):
        return False
    factors = factors_of(correlation, isa)
    ours, _ = choose_cut(grid_of(correlation).size, factors, isa)
    return ours < GAIN * direct_cycles(correlation, isa)


def factors_of(correlation: Correlation, isa: Isa) -> Factors:
    lanes = isa.lanes(ITEMSIZE)
    return Factors(correlation.channels, correlation.filters, lanes, min(2, -(-correlation.filters // lanes)))


def lower(
    correlation: Correlation, weights: Weights, isa: Isa, label: str, cut: Cut | None = None
) -> Lowered:
    """Operands: input ``("in", 0)``, weights ``("in", 1)``, those of the epilogue from ``("in", 2)`` on,
    output ``("out", 0)``.
    """
    steps, temporaries = [], []

    def temporary(nbytes: int) -> tuple[str, int]:
        temporaries.append(nbytes)
        return "temp", len(temporaries) - 1

    source, transformed = ("in", 0), ("in", 1)
    batch, down, across = correlation.axes
    channels = correlation.channels
    if correlation.input_channel_stride != 1 and channels > 1:
        shape = (batch.size, down.size, across.size, channels)
        strides = row_major(shape)
        source = temporary(ITEMSIZE * strides[0] * batch.size)
        given = (batch.input_stride, down.input_stride, across.input_stride, correlation.input_channel_stride)
        steps.append(copied(isa, shape, (("in", 0), given, "float32"), (source, strides, "float32")))
        axes = [replace(axis, input_stride=s) for axis, s in zip(correlation.axes, strides, strict=False)]
        correlation = replace(correlation, axes=tuple(axes), input_channel_stride=1)
    factors = factors_of(correlation, isa)
    cut = cut or choose_cut(grid_of(correlation).size, factors, isa)[1]
    if not cut.channel_block:
        transformed = temporary(factors.nbytes)
        steps.append(Step(transform_filters(factors, weights, isa), (("in", 1), transformed)))
    if cut.patches_first:
        patches = temporary(patches_nbytes(cut, channels, isa))
        steps.append(Step(transform_patches(correlation, cut.channel_block, isa), (source, patches)))
        source = patches
    kernel = ProductWriter(correlation, factors, weights, cut, isa).kernel(label)
    extra = tuple(("in", 2 + i) for i in range(len(correlation.extra)))
    steps.append(Step(kernel, (source, transformed, ("out", 0), *extra)))
    return Lowered(tuple(steps), tuple(temporaries), prepared=len(steps) - 1)
