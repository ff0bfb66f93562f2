"""Pooling on the CPU: maxima and averages of windows, their gradients, and values picked at the places of the
maxima.

Lanes are channels where those lie together in the input, and output pixels along the last axis otherwise. A
NaN is larger than any number, and of equal elements the first in row-major order of the window is the
maximum. Gradients add up in row-major order of the outputs, so that every result is a function of shape
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from treadle.devices.cpu.copies import copied
from treadle.devices.cpu.elements import SCALARS
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.pooling_gather import GatherWriter
from treadle.devices.cpu.pooling_writer import OPERANDS, PoolWriter, result_dtype
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa


@dataclass(frozen=True)
class MaxPool:
    """``output[n, c, o] = max over t of input[n, c, o * stride - padding + t * dilation]``, over t inside the
    input.

    `o` and `t` run over one to three spatial axes. Strides count elements. A window without any element gives
    -infinity.
    """

    batch: int
    channels: int
    input: tuple[int, ...]
    window: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    input_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    output_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    dtype: str = "float32"


@dataclass(frozen=True)
class AvgPool:
    """The mean of the elements of each window, which is a sum divided by a count.

    With `count_include_pad` the count has the window's places in the padding (but none beyond it), otherwise
    its elements alone.
    """

    batch: int
    channels: int
    input: tuple[int, ...]
    window: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    output_strides: tuple[int, ...]
    """batch, channel, spatial..."""
    dtype: str = "float32"
    count_include_pad: bool = True

    @property
    def dilation(self) -> tuple[int, ...]:
        return (1,) * len(self.window)


Pool = MaxPool | AvgPool


def max_pool(spec: MaxPool, isa: Isa) -> Lowered:
    """Operands: input ``("in", 0)``, output ``("out", 0)``."""
    return lower(spec, isa, "max pool", "maximum")


def max_pool_gradient(spec: MaxPool, isa: Isa) -> Lowered:
    """Operands: input ``("in", 0)``, output gradient ``("in", 1)``; the input's gradient, laid out as it,
    ``("out", 0)``.
    """
    return lower(spec, isa, "max pool gradient", "maximum_gradient")


def max_pool_select(spec: MaxPool, isa: Isa) -> Lowered:
    """Operands: input ``("in", 0)``, values laid out as it ``("in", 1)``; the values at the windows' maxima
    ``("out", 0)``.
    """
    return lower(spec, isa, "max pool select", "maximum_select")


def average_pool(spec: AvgPool, isa: Isa) -> Lowered:
    """Operands: input ``("in", 0)``, output ``("out", 0)``."""
    return lower(spec, isa, "average pool", "average")


def average_pool_gradient(spec: AvgPool, isa: Isa) -> Lowered:
    """Operands: output gradient ``("in", 0)``; the input's gradient ``("out", 0)``."""
    return lower(spec, isa, "average pool gradient", "average_gradient")


def lower(spec: Pool, isa: Isa, title: str, kind: str) -> Lowered:
    """The kernel of a pooling op, and one that rounds what was added in float32. None where nothing is
    written.
    """
    if spec.dtype not in SCALARS:
        raise NotImplementedError(f"pooling of {spec.dtype}: the CPU pools {', '.join(SCALARS)}")
    written = spec.input if kind.endswith("gradient") else spec.output
    if not spec.batch * spec.channels * math.prod(written):
        return Lowered(())
    gather = GatherWriter(spec, isa, kind)
    writer = gather if gather.fits else PoolWriter(spec, isa, kind)
    text, tasks = writer.write()
    sizes = ["x".join(map(str, (spec.batch, spec.channels, *spec.input))), "x".join(map(str, spec.window))]
    nbytes = ITEMSIZE[spec.dtype] * spec.batch * spec.channels
    nbytes *= math.prod(spec.input) * (1 + kind.startswith("maximum_")) + math.prod(spec.output)
    kernel = NativeKernel(
        text, f"{title} {sizes[0]}, {sizes[1]}", tasks, writer.scratch_nbytes, nbytes=nbytes
    )
    *read, result = OPERANDS[kind]
    added = result_dtype(spec, kind)
    if added == spec.dtype:
        return Lowered((Step(kernel, (*read, result)),))
    shape, strides = (spec.batch, spec.channels, *spec.input), spec.input_strides
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    rounded = copied(isa, shape, (("temp", 0), strides, added), (result, strides, spec.dtype))
    return Lowered((Step(kernel, (*read, ("temp", 0))), rounded), (span * ITEMSIZE[added],))
