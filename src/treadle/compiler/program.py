"""What fusion makes of a graph: buffers, and calls that read and write them. No device is known here.

A buffer is one contiguous row-major array. Calls are loop kernels, whose code is in the kernel, or library
ops (contraction, convolution, pooling, scatter, sort ...), which a device implements as it likes. Library
ops see their operands as strided views, so that a transposition in front of a product costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from treadle.compiler.kernel import Instruction, LoopKernel, Operand
from treadle.graph.dimension import Shape
from treadle.graph.node import Node, Type


@dataclass
class BufferInfo:
    """A buffer of the program.

    `source`: "input" (leaf number `index` of the graph), "output" (number `index`), "temporary", or
    "status": an int32 word that is 0 before the calls, and after them the number of a fault, if there was
    one (see `Fused.faults`).
    """

    type: Type
    source: str
    index: int
    node: Node
    """The node whose value it holds: for messages, names and lines."""

    @property
    def nbytes(self) -> int:
        size = self.type.dtype.itemsize
        for n in self.type.shape:
            size *= n  # type: ignore[assignment]
        return size


@dataclass(frozen=True)
class View:
    """A value as a strided view of a buffer; offset and strides in elements."""

    buffer: int
    shape: Shape
    offset: int
    strides: tuple[int, ...]


@dataclass
class LoopCall:
    """A loop kernel on buffers: `buffers[i]` is the kernel's operand i. `nodes` are those it computes."""

    kernel: LoopKernel
    buffers: tuple[int, ...]
    nodes: tuple[Node, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        return tuple(b for b, o in zip(self.buffers, self.kernel.operands, strict=True) if not o.written)

    @property
    def writes(self) -> tuple[int, ...]:
        return tuple(b for b, o in zip(self.buffers, self.kernel.operands, strict=True) if o.written)


@dataclass
class LibraryCall:
    """A library op on views. The epilogue (see `devices.cpu.contraction`) is applied to the op's result
    before it is stored; its loads name operands of `extra`, whose buffers are `extra_buffers`. `nodes` are
    those it computes, the op's own first. `outputs` has a buffer for each of the op's results; where there is
    an epilogue, for each value of it that is stored, which `stores` names by their positions.
    """

    node: Node
    inputs: tuple[View, ...]
    outputs: tuple[int, ...]
    epilogue: tuple[Instruction, ...] = ()
    stores: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    """Of the results, over the dimensions of the op's; empty: they are contiguous."""
    extra: tuple[Operand, ...] = ()
    extra_buffers: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()
    in_place: bool = False
    """Whether a result takes the memory of something that the epilogue reads, element by element: what the
    schedule decides.
    """
    donors: dict[int, int] = field(default_factory=dict)
    """Of a branch, which results may take the memory of which inputs: what the schedule decides."""

    @property
    def reads(self) -> tuple[int, ...]:
        return (*(view.buffer for view in self.inputs), *self.extra_buffers)

    @property
    def writes(self) -> tuple[int, ...]:
        return self.outputs


Call = LoopCall | LibraryCall


@dataclass
class Fused:
    """A graph as calls in a valid order. `outputs[i]` is the buffer of the graph's output i (two outputs
    may be one buffer, and an output may be an input buffer untouched).

    Several calls may write one buffer: parts of it, or all of it first and then some places of it anew.
    Calls that write the same buffer stay in order.
    """

    buffers: list[BufferInfo] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    faults: list[Node] = field(default_factory=list)
    """The node whose index was out of range where the status word is 1, 2 ..."""
