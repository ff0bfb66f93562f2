"""The weight gradient of a 1x1 convolution as what it is: a matrix product over all pixels.

The product's kernels pack both operands, which pays from some number of channels on: pixels of hundreds of
channels, read where they lie, fall into few sets of the first-level cache.
"""

from __future__ import annotations

from treadle.devices.cpu.contraction import Contraction
from treadle.devices.cpu.correlation import Correlation

LEAST_CHANNELS = 48
"""On either side."""
LEAST_SUMS = 8192
"""Channels times filters: below, 64 x 64 among them, the direct kernel is quicker."""


def weight_product(c: Correlation, strides: tuple[int, ...]) -> Contraction | None:
    """The product of input and output gradient whose result is the weight gradient, if the layouts allow it
    and it is quicker. `strides` are the weights': filter, channel, taps.
    """
    plain = c.groups == 1 and not c.depthwise and c.taps == 1 and c.dtype in ("float32", "float64")
    if not (plain and c.reads_in_place and c.output_in_place and c.pixels):
        return None
    if min(c.channels, c.filters) < LEAST_CHANNELS or c.channels * c.filters < LEAST_SUMS:
        return None
    axes = [axis for axis in c.axes if axis.out > 1]
    steps = [(axis.stride * axis.input_stride, axis.output_stride) for axis in axes] or [(1, 1)]
    for (a, b), (inner_a, inner_b), axis in zip(steps, steps[1:], axes[1:], strict=False):
        if (a, b) != (axis.out * inner_a, axis.out * inner_b):
            return None
    into, out = steps[-1]
    return Contraction(
        (), c.channels, c.filters, c.pixels, (c.input_channel_stride, into), (out, c.output_channel_stride),
        (strides[1], strides[0]), c.dtype,
    )  # fmt: skip
