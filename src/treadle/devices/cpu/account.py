"""What the entries of a program are to a person: which nodes of the graph each kernel computes. For profiles;
running needs none of it.
"""

from __future__ import annotations

import math

from treadle.compiler.program import Call, LibraryCall, LoopCall
from treadle.compiler.recording import Work, work_of
from treadle.devices.cpu.build import Build
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.graph.node import Node
from treadle.ops.channels_last import SUFFIX


def works(build: Build) -> list[Work | None]:
    """A row for every entry of every segment in order, None for controls."""
    rows: list[Work | None] = []
    for segment, origins in zip(build.image.segments, build.origins, strict=True):
        if isinstance(segment, HostStep):
            ((call,),) = origins
            rows.append(work_of(_nodes(call), f"{segment.node.op.name} on the host", _kind(call)))
            continue
        for entry, calls in zip(segment.entries, origins, strict=True):
            if isinstance(entry[0], str):
                rows.append(None)
                continue
            facts, call = build.kernels[entry[0]].facts, calls[-1]
            rows.append(
                work_of(
                    _nodes(call),
                    facts.label,
                    _kind(call),
                    facts.tasks,
                    facts.flops,
                    facts.nbytes or (_touched(call) if facts.flops else 0),
                    len(calls) - 1,
                )
            )
    return rows


def _nodes(call: Call) -> list[Node]:
    """The nodes of a call, the most important one first; of a loop kernel that is the last."""
    return list(call.nodes) if isinstance(call, LibraryCall) else list(reversed(call.nodes))


def _touched(call: Call) -> int:
    """The bytes of a call's operands, of a kernel that does not say them."""
    if not isinstance(call, LibraryCall):
        return sum(ITEMSIZE.get(operand.dtype, 0) * operand.size for operand in call.kernel.operands)
    sizes = [
        (child.dtype.itemsize, view.shape) for view, child in zip(call.inputs, call.node.inputs, strict=True)
    ]
    sizes += [(type.dtype.itemsize, type.shape) for type in call.node.types]
    extra = sum(
        ITEMSIZE.get(operand.dtype, 0) * operand.size for operand in call.extra if not operand.written
    )
    return extra + sum(itemsize * math.prod(shape) for itemsize, shape in sizes)  # type: ignore[arg-type]


def _kind(call: Call) -> str:
    if isinstance(call, LibraryCall):
        return call.node.op.name.removesuffix(SUFFIX)
    return _kind_of_loop(call)


def _kind_of_loop(call: LoopCall) -> str:
    if any(stage.folds for stage in call.kernel.stages):
        return "reduction"
    return "elementwise" if any(node.op.elementwise for node in call.nodes) else "movement"
