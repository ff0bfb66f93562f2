"""How each call becomes launches of kernels in C: one row a library op. What has none runs its reference on
the host.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.compiler.looped import is_apart
from treadle.compiler.pipeline import Target, run_passes
from treadle.compiler.program import Call, LibraryCall, LoopCall
from treadle.devices.csource import convolutions, loops, pooling
from treadle.devices.csource.body import supported
from treadle.devices.csource.cumulative import cumulative
from treadle.devices.csource.kernel import Facts, Lowered, Unsupported
from treadle.devices.csource.products import product_of_matrices
from treadle.devices.csource.scatter import scatter
from treadle.devices.csource.types import ITEMSIZE
from treadle.graph.closed import Closed
from treadle.graph.node import Node
from treadle.ops.channels_last import CHANNELS_FIRST
from treadle.ops.control import COND

LIBRARY: dict[str, Callable[[LibraryCall, Facts], Lowered]] = {
    "matmul": product_of_matrices,
    "conv": convolutions.convolution,
    "conv_input_gradient": convolutions.input_gradient,
    "conv_weight_gradient": convolutions.weight_gradient,
    "max_pool": pooling.max_pool,
    "max_pool_gradient": pooling.max_pool_gradient,
    "max_pool_select": pooling.max_pool_select,
    "average_pool": pooling.average_pool,
    "average_pool_gradient": pooling.average_pool_gradient,
    "scatter_add": scatter,
    "scatter_set": scatter,
    "cumulative_sum": cumulative,
    "cumulative_prod": cumulative,
}
"""Ops with generated kernels of their own, besides those that loop kernels express."""
LIBRARY |= {twin: LIBRARY[name] for twin, name in CHANNELS_FIRST.items()}

EPILOGUES = (
    "matmul", "conv", "conv_channels_last", "conv_input_gradient", "conv_input_gradient_channels_last",
)  # fmt: skip
"""Ops whose kernels can go on computing with a result before they store it."""

NEVER_FAIL = frozenset(LIBRARY) - {"scatter_add", "scatter_set"}
"""Library ops whose kernels look nothing up."""


def is_whole(node: Node) -> bool:
    """Whether a node that could be written out in simpler ops runs as it is: attention without elements, on
    the host.
    """
    return node.op.name.startswith("attention") and any(0 in child.shape for child in node.inputs)


class Generator:
    """How a device of the C family makes launches of calls: by generated kernels alone."""

    def __init__(self, facts: Facts):
        self.facts = facts

    @property
    def target(self) -> Target:
        """What passes may know of the device."""
        return Target("accelerator", self.is_library, EPILOGUES, composed=is_whole)

    def is_library(self, node: Node) -> bool:
        """Whether a node is not for the fusion pass to write a loop for."""
        return is_apart(node, LIBRARY, supported)

    def lower(self, call: Call) -> Lowered | None:
        """The launches of a call, or None where its reference must run on the host."""
        if isinstance(call, LoopCall):
            return loops.render(call.kernel, self.facts)
        lower = LIBRARY.get(call.node.op.name)
        types = [type for value in (call.node, *call.node.inputs) for type in value.types]
        if lower is None or any(type.dtype.name not in ITEMSIZE for type in types):
            return None
        try:
            return lower(call, self.facts)
        except Unsupported:
            return None

    def can_fail(self, call: Call) -> bool:
        """Whether a call may report a failure: it looks values up, or runs on the host."""
        if isinstance(call, LibraryCall):
            if call.node.op is COND:
                return any(self._graph_can_fail(call.node.attribute(name)) for name in ("true", "false"))
            return call.node.op.name not in NEVER_FAIL
        return any(i.op in ("gather", "checked") for stage in call.kernel.stages for i in stage.body)

    def _graph_can_fail(self, graph: Closed) -> bool:
        passes = run_passes(graph.outputs, [None] * len(graph.outputs), self.target, self.can_fail)
        return any(self.can_fail(call) for call in passes.schedule.calls)
