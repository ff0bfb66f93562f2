"""Products of matrices as loop kernels: a work item an element of the result."""

from __future__ import annotations

import math
from dataclasses import replace

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Fold, Instruction, LoopKernel, Operand, Stage, Store
from treadle.compiler.program import LibraryCall
from treadle.devices.csource import loops
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
    reach = [_reach(view.shape, view.strides, view.offset) for view in (a, b)]
    operands = [Operand(given, n) for n in reach]
    return finished(call, facts, f"matmul {list(shape)} by {k}", sizes, len(shape), operands, inner)


def finished(
    call: LibraryCall,
    facts: Facts,
    label: str,
    sizes: tuple[int, ...],
    rows: int,
    operands: list[Operand],
    inner: Stage,
) -> Lowered:
    """A loop kernel that folds by `inner`, applies the call's epilogue and stores its results. The first
    `rows` axes are the dimensions of the result.
    """
    node = call.node
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    made = call.strides or row_major(shape)
    place = Affine(0, (*made, *(0,) * (len(sizes) - rows)))
    summed = inner.folds[0].dtype
    first = Instruction("result", (), summed, (0, 0))
    body: list[Instruction] = [first]
    places: list[int] = []
    for instruction in call.epilogue or (Instruction("accumulator", (), node.dtype.name),):
        arguments = tuple([places[a] for a in instruction.arguments])
        if instruction.op == "accumulator":
            if instruction.dtype == summed:
                places.append(0)
                continue
            body.append(Instruction("cast", (0,), instruction.dtype))
        else:
            body.append(
                replace(
                    instruction,
                    arguments=arguments,
                    attribute=_shifted(instruction, len(operands), len(sizes)),
                )
            )
        places.append(len(body) - 1)
    stored = [places[value] for value in call.stores] if call.epilogue else [places[-1]]
    extra = list(call.extra)
    results = [Operand(body[value].dtype, math.prod(shape), written=True) for value in stored]
    first_result = len(operands) + len(extra)
    stores = tuple([Store(Access(first_result + i, place), value) for i, value in enumerate(stored)])
    whole = [*operands, *extra, *results]
    kernel = LoopKernel(sizes, rows, tuple(whole), (inner, Stage("row", tuple(body), stores=stores)), label)
    lowered = loops.render(kernel, facts)
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


def _shifted(instruction: Instruction, by: int, axes: int) -> object:
    """What an epilogue's instruction says of operands and places, in the whole kernel."""
    found = instruction.attribute

    def longer(affine: Affine) -> Affine:
        return Affine(affine.offset, (*affine.strides, *(0,) * (axes - len(affine.strides))))

    if isinstance(found, Access):
        guards = tuple([replace(guard, index=longer(guard.index)) for guard in found.guards])
        return Access(found.operand + by, longer(found.index), guards)
    if isinstance(found, Affine):
        return longer(found)
    if instruction.op == "inside":
        return tuple([replace(guard, index=longer(guard.index)) for guard in found])
    return found


def _reach(shape: tuple, strides: tuple[int, ...], offset: int) -> int:
    return (
        1
        + offset
        + sum([stride * (int(n) - 1) for n, stride in zip(shape, strides, strict=True) if stride > 0])
    )
