"""What follows a library's kernel that cannot do it itself: a loop kernel over its result."""

from __future__ import annotations

from dataclasses import replace

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Fold, Instruction, Operand, Stage
from treadle.compiler.program import LibraryCall
from treadle.devices.csource.kernel import Facts, Launch, Place, product
from treadle.devices.csource.products import finished, unit_places


def alone(call: LibraryCall, dtype: str, source: Place, facts: Facts) -> tuple[Launch, ...]:
    """Launches that apply a call's epilogue to what is at `source`, row-major, and store its results."""
    shape: tuple[int, ...] = call.node.shape  # type: ignore[assignment]
    load = Instruction("load", (), dtype, Access(0, Affine(0, (*row_major(shape), 0))))
    # A sum of one term: what an epilogue follows is always a fold.
    stage = Stage("element", (load,), (Fold("add", 0, dtype),))
    operands = [Operand(dtype, product(shape))]
    label = f"after {call.node.op.name} {list(shape)}"
    places = unit_places(len(shape), len(shape) + 1)
    lowered = finished(call, facts, label, (*shape, 1), len(shape), places, operands, stage)
    return tuple(
        [
            replace(launch, operands=tuple([source if o == ("in", 0) else o for o in launch.operands]))
            for launch in lowered.launches
        ]
    )
