"""Writing values at places that are known only at run time, in C: scatter_add and scatter_set.

A work item owns one element of what a place holds, in a range of the places. It walks all points in their
order, so that sums have one order and no two work items write the same element.
"""

from __future__ import annotations

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Operand
from treadle.compiler.program import LibraryCall, View
from treadle.devices.csource.body import loaded_from, stored_at
from treadle.devices.csource.copies import copied, reach
from treadle.devices.csource.kernel import Facts, Launch, Lowered, Place, product
from treadle.devices.csource.text import index_type, kernel_text, unravelled
from treadle.devices.csource.types import ITEMSIZE, NARROW, computed, kind

BUSY = 1024
"""So many work items for each unit of a device with barriers make up for walking all points in each."""


def scatter(call: LibraryCall, facts: Facts) -> Lowered:
    """The kernels: a copy, and the walk over the points; sums of 16-bit floats are rounded at the end."""
    x, values, *indices = call.inputs
    node = call.node
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    if 0 in shape:
        return Lowered(())
    adds, dtype = node.op.name == "scatter_add", node.dtype.name
    summed = "float32" if adds and dtype in NARROW else dtype
    target: Place = ("out", 0) if summed == dtype else ("temp", 0)
    launches = [copied(x, dtype, ("in", 0), target, facts, summed)]
    axes: tuple[int, ...] = node.attribute("axes")
    others = [axis for axis in range(len(shape)) if axis not in axes]
    points: tuple[int, ...] = indices[0].shape  # type: ignore[assignment]
    made = row_major(shape)
    if 0 not in points:
        lines, total, lanes = _walk(call, facts, axes, others, points, summed)
        operands = [
            Operand(summed, product(shape), written=True),
            Operand(dtype, reach(values)),
            *[
                Operand(child.dtype.name, reach(view))
                for child, view in zip(node.inputs[2:], indices, strict=True)
            ],
            Operand("int32", 1, written=True),
        ]
        label = f"{node.op.name} {product(points)} into {list(shape)}"
        kernel = kernel_text(label, operands, {}, lines, -(-total // lanes), lanes)
        sources = [("in", 1 + i) for i in range(1 + len(indices))]
        launches.append(Launch(kernel, (target, *sources, ("status", 0))))
    if summed == dtype:
        return Lowered(tuple(launches))
    back = copied(View(0, shape, 0, tuple(made)), summed, target, ("out", 0), facts, dtype)
    return Lowered((*launches, back), (product(shape) * ITEMSIZE[summed],))


def _walk(
    call: LibraryCall,
    facts: Facts,
    axes: tuple[int, ...],
    others: list[int],
    points: tuple[int, ...],
    summed: str,
) -> tuple[list[str], int, int]:
    """The lines of a work item, how many of those there are, and how many in a group."""
    _, values, *indices = call.inputs
    node = call.node
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    made, places = row_major(shape), product([shape[axis] for axis in axes])
    width = product([shape[axis] for axis in others])
    wanted = facts.units * (BUSY if facts.barriers else 1)
    each = -(-places // max(1, min(places, wanted // max(width, 1))))
    ranges = -(-places // each)
    lanes = min(facts.lanes, 64 if facts.barriers else 16)
    sized = [Operand(node.dtype.name, reach(view)) for view in call.inputs]
    type = index_type(sized, (*shape, product(points)))
    total = width * ranges
    lines = [
        f"const {type} point = ({type})(GROUP * {lanes} + LANE);",
        f"if (point >= {total}) return;",
        # Neighbouring work items have neighbouring elements of one range.
        f"const {type} range = point / {width}, other = point - range * {width};",
        *unravelled("other", type, [f"e{a}" for a in others], [shape[a] for a in others]),
        f"const {type} mine = {_dot([(f'e{a}', made[a]) for a in others if shape[a] != 1])};",
    ]
    width_axes = len(points)
    from_ = [
        (f"e{a}", stride)
        for a, stride in zip(others, values.strides[width_axes:], strict=True)
        if shape[a] != 1
    ]
    lines.append(f"const {type} from = {_dot(from_, values.offset)};")
    lines += [f"{'  ' * d}for ({type} n{d} = 0; n{d} < {n}; ++n{d}) {{" for d, n in enumerate(points)]
    deep = "  " * len(points)
    inside, place, element = [], [], []
    for i, (view, child) in enumerate(zip(indices, node.inputs[2:], strict=True)):
        at = _dot([(f"n{d}", stride) for d, stride in enumerate(view.strides)], view.offset)
        signed = "i64" if kind(child.dtype.name) == "int" else "u64"
        index = loaded_from(f"p{2 + i}", at, child.dtype.name)
        lines.append(f"{deep}const i64 index{i} = (i64)({signed}){index};")
        inside.append(f"(u64)index{i} < {shape[axes[i]]}ul")
        place.append((f"index{i}", product([shape[axis] for axis in axes[i + 1 :]])))
        element.append((f"index{i}", made[axes[i]]))
    status = f"p{2 + len(indices)}"
    by_point = [(f"n{d}", stride) for d, stride in enumerate(values.strides[:width_axes])]
    value = loaded_from("p1", _dot([("from", 1), *by_point]), node.dtype.name)
    target = f"({type})({_dot(element)}) + mine"
    lines += [
        f"{deep}if (!({' && '.join(inside)})) {{",
        f"{deep}  if (point == 0) {status}[0] = 1;",
        f"{deep}}} else if (({_dot(place)}) / {each} == range) {{",
        f"{deep}  const {type} target = {target};",
    ]
    deep += "  "
    if node.op.name == "scatter_set":
        stored = value if node.dtype.name != "bool" else f"(u8){value}"
        lines.append(f"{deep}{stored_at('p0', 'target', summed, stored)}")
    elif kind(summed) == "float":
        lines.append(f"{deep}p0[target] += {value};")
    else:
        wide = "u64" if ITEMSIZE[summed] == 8 else "u32"
        lines.append(f"{deep}p0[target] = ({computed(summed)})(({wide})p0[target] + ({wide}){value});")
    lines += ["  " * d + "}" for d in range(len(points), -1, -1)]
    return ["  " + line for line in lines], total, lanes


def _dot(terms: list[tuple[str, int]], offset: int = 0) -> str:
    parts = [f"{name} * {stride}" for name, stride in terms if stride]
    return " + ".join([*parts, str(offset)] if offset or not parts else parts)
