"""The flat list of passes from a graph to a scheduled program, each timed and to be seen with `explain`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from treadle import config
from treadle.compiler.carries import store_carries
from treadle.compiler.checks import check_early
from treadle.compiler.decompose import decompose
from treadle.compiler.folding import fold_scales
from treadle.compiler.fuse import fuse
from treadle.compiler.hoist import hoist
from treadle.compiler.layout import arrange
from treadle.compiler.loops import share_loops, trim_loops
from treadle.compiler.panels import lay_panels
from treadle.compiler.program import Call, Fused
from treadle.compiler.recompute import recompute
from treadle.compiler.schedule import Schedule, schedule
from treadle.compiler.simplify import simplify
from treadle.compiler.verify import verify, verify_fused
from treadle.graph.closed import with_graphs
from treadle.graph.graph import rebuild, rewrite
from treadle.graph.node import Node, surrounded


@dataclass(frozen=True)
class Target:
    """What passes may know of a device: facts, handed down."""

    name: str
    library: Callable[[Node], bool]
    """Whether the device has a kernel of its own for a node's op."""
    epilogues: tuple[str, ...] = ()
    """Ops whose kernels can go on computing with a result."""
    channels_last: Callable[[Node], bool] = lambda node: False
    """Whether a convolution or pooling had better give its result with the channels last."""
    composed: Callable[[Node], bool] = lambda node: False
    """Whether the device has a kernel for a node that could be written out in simpler ops."""

    def takes_epilogue(self, node: Node) -> bool:
        """Whether a library op goes on computing with its result before it stores it."""
        return node.op.name in self.epilogues and node.dtype.kind == "float"


@dataclass
class Passes:
    """What each pass made, and how long it took in milliseconds."""

    graphs: list[tuple[str, float, list[Node]]] = field(default_factory=list)
    fused: Fused = field(default_factory=Fused)
    schedule: Schedule = field(default_factory=lambda: Schedule([], 0, []))
    times_ms: dict[str, float] = field(default_factory=dict)


def strip(outputs: list[Node]) -> list[Node]:
    """Leave out what only meant something to gradients."""
    return rewrite(outputs, lambda node, inputs: inputs[0] if node.op.identity else None)


def expand(outputs: list[Node]) -> list[Node]:
    """Put in place of ops what they are made of."""

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op.made_of is None:
            return None
        with surrounded(line=node.line, scope=node.scope, device=node.device, role=node.role):
            return node.op.made_of(*inputs, **node.keywords())

    return rewrite(outputs, change)


def enter(outputs: list[Node]) -> list[Node]:
    """Take the graphs of loops and branches through these passes, from the innermost outwards."""

    def passed(graph: list[Node]) -> list[Node]:
        for _, change in GRAPH_PASSES:
            graph = change(graph)
        return graph

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not node.op.of_graphs:
            return None
        return rebuild(node, inputs, with_graphs(node, lambda graph: graph.changed(passed)))

    return rewrite(outputs, change)


GRAPH_PASSES: tuple[tuple[str, Callable[[list[Node]], list[Node]]], ...] = (
    ("strip", strip),
    ("share loops", share_loops),
    ("trim loops", trim_loops),
    ("expand", expand),
    ("simplify", simplify),
    ("enter loops", enter),
    ("hoist", hoist),
    ("panels", lay_panels),
    ("carries", store_carries),
)


def run_passes(
    outputs: Sequence[Node],
    donors: Sequence[int | None],
    target: Target,
    can_fail: Callable[[Call], bool],
    lasting: Collection[int] = (),
) -> Passes:
    """Take a detached graph through all passes. `lasting` leaves hold the same from run to run, as a rule."""
    passes = Passes()
    graph = list(outputs)
    passes.graphs.append(("as written", 0.0, graph))
    storing = any(leaf is not None for leaf in donors)
    late = (
        ("check early", lambda graph: check_early(graph) if storing else graph),
        ("fold scales", lambda graph: fold_scales(graph, lasting)),
        ("layout", lambda graph: arrange(graph, target.channels_last, lasting)),
        ("decompose", lambda graph: decompose(graph, target.composed)),
        ("recompute", lambda graph: recompute(graph, target.library)),
    )
    for name, change in (*GRAPH_PASSES, *late):
        began = time.perf_counter()
        graph = change(graph)
        passes.graphs.append((name, _since(began), graph))
        if config.options.check:
            verify(graph, after=name)
    began = time.perf_counter()
    passes.fused = fuse(graph, target.library, target.takes_epilogue, lasting)
    passes.times_ms["fuse"] = _since(began)
    if config.options.check:
        verify_fused(passes.fused, after="fuse")
    began = time.perf_counter()
    passes.schedule = schedule(passes.fused, donors, can_fail)
    passes.times_ms["schedule"] = _since(began)
    return passes


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
