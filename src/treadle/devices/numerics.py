"""Programs under ``check_numerics``: run as ever, their outputs looked at, and where one is not finite the
references say where that began.

Values inside a program are not looked at: an infinity that a mask puts in and an exponential takes out is
meant. So a check costs one pass over the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.devices.buffer import Buffer
from treadle.devices.reference import compute, leaf_array
from treadle.errors import NumericsError
from treadle.graph.node import Node
from treadle.ops.record import INPUT


class Checked(Executable):
    """A program whose outputs must be finite. It writes over no variable, so that a failed run leaves all as
    it was.
    """

    def __init__(self, program: Executable):
        super().__init__(program.outputs)
        self.program = program

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Buffer | None], poll: bool = True) -> list[Buffer]:
        try:
            buffers = self.program.run(leaves, [None] * len(self.outputs), poll)
        except Committed as late:
            self._check(late.buffers, leaves)
            raise
        self._check(buffers, leaves)
        return buffers

    def memory(self) -> dict[str, int]:
        return self.program.memory()

    def explain(self) -> str:
        return self.program.explain()

    def _check(self, buffers: Sequence[Buffer], leaves: Sequence[Leaf]) -> None:
        for output, buffer in zip(self.outputs, buffers, strict=True):
            if not finite(buffer.view(output.type)):
                self._explain(output, buffer.view(output.type), leaves)

    def _explain(self, output: Node, found: np.ndarray, leaves: Sequence[Leaf]) -> None:
        values: dict[Node, Any] = {
            node: leaf_array(node.type, leaves[node.attributes[0]]) for node in self.order if node.op is INPUT
        }
        compute([output], dict(values), values.__setitem__)
        node = origin(output, values)
        if node is None:
            raise NumericsError(
                f"[check_numerics] {_named(output)} is {ranged(found)}; the references, node by node, find "
                f"nothing wrong: look at it with td.debug()",
                output.line,
            )
        if node.op.leaf and (node.op is not INPUT or node.binding == "scalar"):
            # An infinity that the program itself wrote down.
            return
        scope = f" in {'/'.join(node.scope)}" if node.scope else ""
        inputs = "".join(f"\n  from {_named(child)}: {ranged(values[child])}" for child in node.inputs)
        what = "the first value that is not finite" if node.inputs else "not finite to begin with"
        raise NumericsError(
            f"[check_numerics] {_named(node)}, {node.role}{scope}, is {what}: {ranged(values[node])}{inputs}",
            node.line,
        )


def origin(output: Node, values: dict[Node, Any]) -> Node | None:
    """Where what is not finite in an output began: the first node on the way there that makes it out of
    finite numbers, else the first that makes a NaN, else what the program was given.
    """
    reached: set[Node] = set()
    stack = [output] if output in values and not finite(values[output]) else []
    while stack:
        node = stack.pop()
        if node not in reached:
            reached.add(node)
            stack += [child for child in node.inputs if not finite(values[child])]
    order = [node for node in values if node in reached]
    computed = [node for node in order if node.inputs]
    for node in computed:
        if all(finite(values[child]) for child in node.inputs):
            return node
    for node in computed:
        if _has_nan(values[node]) and not any(_has_nan(values[child]) for child in node.inputs):
            return node
    return order[0] if order else None


def finite(value: Any) -> bool:
    """Whether a value, or all of several results, has neither NaN nor infinity."""
    if isinstance(value, tuple):
        return all(map(finite, value))
    return value.dtype.kind in "biu" or bool(np.isfinite(value).all())


def _has_nan(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_has_nan, value))
    return value.dtype.kind not in "biu" and bool(np.isnan(value).any())


def _named(node: Node) -> str:
    """A node as a person knows it: what the program was given by its name."""
    if node.op is INPUT and node.binding not in (None, "data", "scalar"):
        return f"{node.binding!r} {node.type!r}"
    return f"{'a number' if node.binding == 'scalar' else node.op.name} {node.type!r}"


def ranged(value: Any) -> str:
    """The range of an array's finite numbers, and how many others it has."""
    if isinstance(value, tuple):
        return "(" + "; ".join(map(ranged, value)) + ")"
    if value.dtype.kind in "biu":
        return f"from {value.min()} to {value.max()}" if value.size else "empty"
    # What NumPy says of bfloat16 is best asked of float64.
    wide = value if value.dtype.kind == "c" else value.astype(np.float64)
    nans, finite = int(np.isnan(wide).sum()), wide[np.isfinite(wide)]
    infinities = wide.size - nans - finite.size
    if value.dtype.kind == "c":
        inside = f"up to {np.abs(finite).max():.6g} in size" if finite.size else ""
    else:
        inside = f"from {finite.min():.6g} to {finite.max():.6g}" if finite.size else ""
    others = [f"{n} {what}" for n, what in ((nans, "NaN"), (infinities, "infinite")) if n]
    if not others:
        return inside or "empty"
    first = tuple(int(i) for i in np.argwhere(~np.isfinite(wide))[0])
    place = f", the first at {first}" if first else ""
    return f"{' and '.join(others)} of {wide.size}{place}" + (f"; the others {inside}" if inside else "")
