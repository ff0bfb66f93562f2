"""The gradient by the weights of a convolution that looks at single pixels, leaving some out: a product over
the pixels that it looks at, which are copied side by side.

Products pack both factors and keep the whole gradient near; the kernels that take windows visit it once for
every block of pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.devices.cpu.contraction import Contraction, lower
from treadle.devices.cpu.copies import copied, row_major
from treadle.devices.cpu.elements import summed_as_stored
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa

if TYPE_CHECKING:
    from treadle.devices.cpu.convolution import Convolution

LEAST_CHANNELS = 64
"""On either side, from which the copy and the packing pay."""


def looks_at_pixels(c: Convolution) -> bool:
    """Whether the gradient by the weights is computed here: channels lie together on both sides, and no pixel
    lies outside.
    """
    return (
        math.prod(c.kernel) == 1
        and c.groups == 1
        and math.prod(c.stride) > 1
        and not any(n for pair in c.padding for n in pair)
        and min(c.in_channels, c.out_channels) >= LEAST_CHANNELS
        and c.input_strides[1] == c.output_strides[1] == 1
        and c.output_strides == _rows(c)
        and summed_as_stored(c.dtype)
    )


def _rows(c: Convolution) -> tuple[int, ...]:
    """The strides of an output whose pixels follow each other: batch, channel, spatial..."""
    batch, *spatial, channel = row_major((c.batch, *c.output, c.out_channels))
    return batch, channel, *spatial


def pixel_weight_gradient(c: Convolution, isa: Isa) -> Lowered:
    """The steps; operands as of `weight_gradient`."""
    shape = (c.batch, *c.output, c.in_channels)
    pixels = math.prod(shape[:-1])
    steps = [stride * step for stride, step in zip(c.stride, c.input_strides[2:], strict=True)]
    seen = ("in", 0), (c.input_strides[0], *steps, 1), c.dtype
    copy = copied(isa, shape, seen, (("temp", 0), row_major(shape), c.dtype))
    product = lower(
        Contraction(
            (), c.out_channels, c.in_channels, pixels, (1, c.out_channels), (c.in_channels, 1),
            c.weight_strides[:2], c.dtype,
        ),
        isa,
    )  # fmt: skip
    places = {("in", 0): ("in", 1), ("in", 1): ("temp", 0), ("out", 0): ("out", 0)}
    places |= {("temp", i): ("temp", 1 + i) for i in range(len(product.temporaries))}
    moved = [Step(step.kernel, tuple([places[o] for o in step.operands])) for step in product.steps]
    nbytes = pixels * c.in_channels * ITEMSIZE[c.dtype]
    return Lowered((copy, *moved), (nbytes, *product.temporaries))
