"""Products of matrices as loop kernels, and how a loop kernel goes on with a library op's epilogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import (
    Access,
    Affine,
    Fold,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    Store,
    with_affines,
)
from treadle.compiler.program import LibraryCall
from treadle.devices.csource import tiles
from treadle.devices.csource.copies import reach
from treadle.devices.csource.kernel import Facts, Launch, Lowered
from treadle.devices.csource.types import NARROW


def product_of_matrices(call: LibraryCall, facts: Facts) -> Lowered:
    """[batch..., m, k] by [batch..., k, n], operands by strides, with an epilogue."""
    node = call.node
    a, b = call.inputs
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    k = int(a.shape[-1])
    sizes = (*shape, k)
    given = node.inputs[0].dtype.name
    summed = "float32" if given in NARROW else given
    left = Affine(a.offset, (*a.strides[:-1], 0, a.strides[-1]))
    right = Affine(b.offset, (*b.strides[:-2], 0, b.strides[-1], b.strides[-2]))
    body = (
        Instruction("load", (), summed, Access(0, left)),
        Instruction("load", (), summed, Access(1, right)),
        Instruction("multiply", (0, 1), summed),
    )
    inner = Stage("element", body, (Fold("add", 2, summed),))
    operands = [Operand(given, reach(view)) for view in (a, b)]
    places = unit_places(len(shape), len(sizes))
    return finished(call, facts, f"matmul {list(shape)} by {k}", sizes, len(shape), places, operands, inner)


def unit_places(dimensions: int, axes: int) -> tuple[Affine, ...]:
    """Each dimension of a result as the loop axis of its number."""
    return tuple([Affine(0, tuple([int(axis == d) for axis in range(axes)])) for d in range(dimensions)])


def finished(
    call: LibraryCall,
    facts: Facts,
    label: str,
    sizes: tuple[int, ...],
    rows: int,
    places: Sequence[Affine],
    operands: Sequence[Operand],
    inner: Stage,
    last: Sequence[Instruction] = (),
) -> Lowered:
    """A loop kernel that folds by `inner`, applies the call's epilogue and stores its results. `places` are
    the dimensions of the result, over the loop's axes. `last` computes the result from what is folded; it is
    the first fold where there is nothing to compute.
    """
    node = call.node
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    made = call.strides or row_major(shape)
    place = _through(Affine(0, tuple(made)), places)
    body = list(last) or [Instruction("result", (), inner.folds[0].dtype, (0, 0))]
    result, summed = len(body) - 1, body[-1].dtype
    values: list[int] = []
    for instruction in call.epilogue or (Instruction("accumulator", (), node.dtype.name),):
        arguments = tuple([values[a] for a in instruction.arguments])
        if instruction.op == "accumulator":
            if instruction.dtype == summed:
                values.append(result)
                continue
            body.append(Instruction("cast", (result,), instruction.dtype))
        else:
            attribute = _shifted(instruction, len(operands), places)
            body.append(replace(instruction, arguments=arguments, attribute=attribute))
        values.append(len(body) - 1)
    stored = [values[value] for value in call.stores] if call.epilogue else [values[-1]]
    extra = list(call.extra)
    results = [Operand(body[value].dtype, math.prod(shape), written=True) for value in stored]
    first_result = len(operands) + len(extra)
    stores = tuple([Store(Access(first_result + i, place), value) for i, value in enumerate(stored)])
    whole = [*operands, *extra, *results]
    kernel = LoopKernel(sizes, rows, tuple(whole), (inner, Stage("row", tuple(body), stores=stores)), label)
    lowered = tiles.render(kernel, facts)
    names = [
        *[("in", i) for i in range(len(operands))],
        *[("extra", i) for i in range(len(extra))],
        *[("out", i) for i in range(len(results))],
    ]
    return Lowered(
        tuple(
            [
                Launch(
                    launch.kernel,
                    tuple([names[n] if where == "in" else (where, n) for where, n in launch.operands]),
                )
                for launch in lowered.launches
            ]
        ),
        lowered.temporaries,
    )


def _shifted(instruction: Instruction, by: int, places: Sequence[Affine]) -> object:
    """What an epilogue's instruction says of operands and places, in the whole kernel."""
    found = with_affines(instruction.attribute, lambda affine: _through(affine, places))
    return replace(found, operand=found.operand + by) if isinstance(found, Access) else found


def _through(affine: Affine, places: Sequence[Affine]) -> Affine:
    """A map over the dimensions of a result, over the axes of the loop that computes it."""
    given = list(zip(affine.strides, places, strict=True))
    axes = range(len(places[0].strides))
    strides = tuple([sum([stride * place.strides[axis] for stride, place in given]) for axis in axes])
    return Affine(affine.offset + sum([stride * place.offset for stride, place in given]), strides)
