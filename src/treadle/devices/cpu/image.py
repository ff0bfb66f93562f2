"""A compiled program as plain data: which kernels, on which memory, in which order. It is kept on the disk
under the graph that it was made from, so that another process neither compiles nor loads the compiler.

Machine code is not in it: kernels are named, and their object code is kept apart, for every program that has
them.
"""

from __future__ import annotations

import marshal
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from treadle import config, dtypes
from treadle.devices.cpu import disk, identity, objects, tuning
from treadle.devices.cpu.native import ENTRY, Facts, LoadedKernel
from treadle.devices.cpu.target import Isa
from treadle.graph.closed import Closed, nested
from treadle.graph.node import Node, Type, Types, new
from treadle.graph.text import attribute_text, closed_text
from treadle.ops.record import INPUT, OPS

Place = tuple[int, int]
"""Where something is: a slot, and an offset in bytes."""

PLAIN = (bool, int, float, complex, str, type(None), dtypes.DType)
"""What attributes may hold whose text says all of them."""


class Part(NamedTuple):
    """Kernels in order, as the runner's tables take them: (number of the kernel, its operands, how often it
    runs) each; and controls between them, as (kind, slots, number, operands).
    """

    entries: tuple[tuple[Any, ...], ...]
    commit: int


class HostStep(NamedTuple):
    """A library call that runs its reference: where its operands and its results are, as (slot, offset,
    type, strides).
    """

    node: Node
    inputs: tuple[tuple[int, int, Type, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, int, Type], ...]


class Image(NamedTuple):
    """See the module's docstring."""

    kernels: tuple[tuple[str, Facts], ...]
    """Name of the object code, and what else is to be known."""
    segments: tuple[Part | HostStep, ...]
    slots: int
    status: Place
    """The word in which kernels report a fault."""
    leaves: tuple[Type, ...]
    arena_nbytes: int
    inputs_nbytes: int
    outputs: tuple[tuple[int | None, str, int], ...]
    """For every output its size in bytes, or None where it is another value untouched: of which source and
    number (see `BufferInfo`).
    """
    donations: tuple[int | None, ...]
    kept: tuple[int, tuple[int, ...]] | None = None
    """How many bytes the program keeps from run to run, and the leaves that they are computed from. The first
    slot after the outputs says where they are; the next is 0 if they are there already.
    """


def name_of(
    order: Sequence[Node],
    outputs: Sequence[Node],
    donors: Sequence[int | None],
    lasting: Collection[int],
    isa: Isa,
) -> str | None:
    """What the image of a graph's program is kept under; None for a graph whose text does not say all: with
    ops or attributes that are not Treadle's own.
    """
    position = {node: i for i, node in enumerate(order)}
    lines = [identity.build(), isa.name, repr(config.compile_key()), tuning.digest(isa)]
    lines.append(repr([*donors, sorted(lasting)]))
    graphs = nested(order)
    for node in (*order, *[node for closed in graphs for node in closed.order]):
        own = OPS.get(node.op.name) is node.op and not node.op.user
        own = own and node.op.infer.__module__.startswith("treadle.")
        if not own or not all(isinstance(value, Closed) or _plain(value) for value in node.attributes):
            return None
    names = {closed: f"graph{i}" for i, closed in enumerate(graphs)}
    lines += map(closed_text, graphs)
    for node in order:
        inputs = [position[child] for child in node.inputs]
        attributes = ",".join([attribute_text(value, names) for value in node.attributes])
        lines.append(f"{node.op.name}{inputs}[{attributes}]{node.type!r}{node.device}")
    lines.append(repr([position[output] for output in outputs]))
    return disk.name("program", *lines)


def find(name: str) -> tuple[Image, list[LoadedKernel]] | None:
    """What was kept under that name, with its kernels, if all of it is still there."""
    kept = disk.from_environment()
    data = None if kept is None else kept.get(name)
    if data is None:
        return None
    image = _read(data)
    kernels = []
    for kernel, facts in image.kernels:
        library = objects.load_kept(kernel, (ENTRY,))
        if library is None:
            return None
        kernels.append(LoadedKernel(facts, library))
    return image, kernels


def keep(name: str, image: Image) -> None:
    """Leave the image for other processes, if they could make it out."""
    kept = disk.from_environment()
    steps = [segment for segment in image.segments if isinstance(segment, HostStep)]
    if kept is not None and all(_plain(value) for step in steps for value in step.node.attributes):
        kept.put(name, _written(image))


def _plain(value: Any) -> bool:
    return all(map(_plain, value)) if type(value) is tuple else isinstance(value, PLAIN)


# -- bytes


def _written(image: Image) -> bytes:
    segments = [
        tuple(segment) if isinstance(segment, Part) else ("host", *_step_written(segment))
        for segment in image.segments
    ]
    kernels = [(name, *facts) for name, facts in image.kernels]
    leaves = [_type_written(type) for type in image.leaves]
    return marshal.dumps((kernels, segments, *image[2:4], leaves, *image[5:]))


def _read(data: bytes) -> Image:
    kernels, segments, slots, status, leaves, *rest = marshal.loads(data)
    return Image(
        tuple([(name, Facts(*facts)) for name, *facts in kernels]),
        tuple([_step_read(*s[1:]) if s[0] == "host" else Part(*s) for s in segments]),
        slots,
        status,
        tuple([_type_read(*type) for type in leaves]),
        *rest,
    )


def _step_written(step: HostStep) -> tuple[Any, ...]:
    node = step.node
    inputs = [(slot, offset, _type_written(type), strides) for slot, offset, type, strides in step.inputs]
    outputs = [(slot, offset, _type_written(type)) for slot, offset, type in step.outputs]
    several = type(node.type) is Types
    return node.op.name, tuple(map(_value_written, node.attributes)), several, inputs, outputs


def _step_read(op: str, attributes: tuple[Any, ...], several: bool, inputs: Any, outputs: Any) -> HostStep:
    read_inputs = [
        (slot, offset, _type_read(*type), tuple(strides)) for slot, offset, type, strides in inputs
    ]
    read_outputs = [(slot, offset, _type_read(*type)) for slot, offset, type in outputs]
    leaves = tuple([new(INPUT, (), (i,), type) for i, (_, _, type, _) in enumerate(read_inputs)])
    type = Types(output[2] for output in read_outputs) if several else read_outputs[0][2]
    node = new(OPS[op], leaves, tuple(map(_value_read, attributes)), type)
    node.line = None
    return HostStep(node, tuple(read_inputs), tuple(read_outputs))


def _type_written(type: Type) -> tuple[tuple[Any, ...], str]:
    return tuple(type.shape), type.dtype.name


def _type_read(shape: tuple[int, ...], dtype: str) -> Type:
    return Type(shape, dtypes.BY_NAME[dtype])


def _value_written(value: Any) -> Any:
    """An attribute of a host step; a dtype as bytes, which attributes have none of."""
    if type(value) is tuple:
        return tuple(map(_value_written, value))
    return value.name.encode() if isinstance(value, dtypes.DType) else value


def _value_read(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_value_read, value))
    return dtypes.BY_NAME[value.decode()] if type(value) is bytes else value
