"""The gradient of a convolution by its input, as correlations of the output's gradient with the turned
kernel.

Input pixel ``i = q * stride + r`` meets the taps t with ``(r + padding - t * dilation) % stride == 0`` only.
For each residue r these taps are evenly spaced, so each residue is a correlation of its own with stride 1;
all residues share the packed weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from treadle.compiler.kernel import Affine, Stage
from treadle.devices.cpu.correlation import Axis, Correlation
from treadle.devices.cpu.rewrite import extend

if TYPE_CHECKING:
    from treadle.devices.cpu.convolution import Convolution


def input_correlations(c: Convolution) -> tuple[Correlation, ...]:
    """One correlation for each residue of each axis that has input pixels. Its input is the output's
    gradient.
    """
    batch = Axis(c.batch, c.batch, c.output_strides[0], c.input_strides[0])
    spatial = [
        residue_axes(*sizes)
        for sizes in zip(
            c.input, c.output, c.kernel, c.stride, c.dilation, (low for low, _ in c.padding),
            c.input_strides[2:], c.output_strides[2:], strict=True,
        )
    ]  # fmt: skip
    correlations = []
    for residues in itertools.product(*spatial):
        firsts = [first for first, _ in residues]
        base = sum(first * stride for first, stride in zip(firsts, c.input_strides[2:], strict=True))
        axes = (batch, *(axis for _, axis in residues))
        groups = 1 if c.depthwise else c.groups
        correlation = Correlation(
            groups, 1 if c.depthwise else c.out_channels // groups, c.in_channels // groups, axes,
            c.output_strides[1], c.input_strides[1], c.dtype, c.depthwise, base,
            extend(Stage("row", c.epilogue), partial(of_residue, firsts, c.stride)).body, c.extra,
        )  # fmt: skip
        if correlation.pixels:
            correlations.append(correlation)
    return tuple(correlations)


def of_residue(firsts: Sequence[int], strides: Sequence[int], affine: Affine) -> Affine:
    """A map of (batch, channel, spatial...) of all pixels, as one of those of a residue."""
    batch, channel, *spatial = affine.strides
    offset = affine.offset + sum(first * step for first, step in zip(firsts, spatial, strict=True))
    return Affine(offset, (batch, channel, *(n * step for n, step in zip(strides, spatial, strict=True))))


def residue_axes(
    size: int,
    out: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    input_stride: int,
    output_stride: int,
) -> list[tuple[int, Axis]]:
    """For each residue r: r, and the axis of pixels r, r + stride, ...

    The kernel is packed backwards (position p holds tap kernel - 1 - p), so that taps are met in rising order
    of the output.
    """
    period = stride // math.gcd(stride, dilation)
    axes = []
    for r in range(min(stride, size)):
        pixels = -(-(size - r) // stride)
        first = next(
            (t for t in range(min(period, kernel)) if (r + padding - t * dilation) % stride == 0), None
        )
        if first is None or not out:
            axis = Axis(pixels, out, output_stride, stride * input_stride, 0, kernel=kernel)
        else:
            taps = -(-(kernel - first) // period)
            last = first + (taps - 1) * period
            offset = (r + padding - last * dilation) // stride
            axis = Axis(
                pixels, out, output_stride, stride * input_stride, taps, 1, period * dilation // stride,
                offset, kernel, kernel - 1 - last, period,
            )  # fmt: skip
        axes.append((r, axis))
    return axes
