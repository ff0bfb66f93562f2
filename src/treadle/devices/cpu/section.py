"""The calls of one graph, of a program or of a body inside it: their kernels, and where their values are in a
block of the arena. Knows not where the block is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from treadle.compiler.checks import SCATTERS, is_checked
from treadle.compiler.memory import Span, place
from treadle.compiler.pipeline import Target, run_passes
from treadle.compiler.program import Call, LibraryCall, LoopCall
from treadle.compiler.schedule import overwritten
from treadle.devices.cpu.lowering import EPILOGUES, has_kernel, is_library, lower_call, runs_channels_last
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.prologue import prologue
from treadle.devices.cpu.target import Isa
from treadle.dtypes import uint8
from treadle.graph.closed import Closed
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type
from treadle.ops.control import COND

if TYPE_CHECKING:
    from treadle.devices.cpu.nests import Nest

TARGET = Target("cpu", is_library, EPILOGUES, runs_channels_last, has_kernel)
NEVER_FAIL = frozenset(
    """
    matmul conv conv_input_gradient conv_weight_gradient conv_channels_last conv_input_gradient_channels_last
    conv_weight_gradient_channels_last attention attention_gradient
    """.split()  # noqa: SIM905
)
"""Library ops whose kernels look nothing up."""
_BYTE_TYPE = Type((), uint8)


class Section:
    """A graph that went through the passes. `lowered` has the kernels of each call, or the loop or branch it
    is; None where it runs on the host.
    """

    def __init__(
        self,
        outputs: Sequence[Node],
        donors: Sequence[int | None],
        isa: Isa,
        lasting: Collection[int] = (),
        known: Callable[[Iterable[NativeKernel]], None] | None = None,
    ):
        """`known` is told of kernels as they are written."""
        self.outputs = outputs
        self.passes = run_passes(outputs, donors, TARGET, can_fail, lasting)
        self.fused = self.passes.fused
        self.calls = self.passes.schedule.calls
        self.lowered: list[Lowered | Nest | None] = []
        for call in self.calls:
            self.lowered.append(lowered := _lowered(call, isa))
            if known is not None and isinstance(lowered, Lowered):
                known([step.kernel for step in lowered.steps])
        self.leaves = _leaf_types(
            outputs, [info.index for info in self.fused.buffers if info.source == "input"]
        )
        failing = [can_fail(call) for call in self.calls]
        self.prologue = prologue(self.fused, self.calls, self.lowered, lasting, failing) if lasting else None
        """What is not done in every run."""
        self._place()

    def _place(self) -> None:
        """The offset in the block of every temporary value, and the block's size."""
        units = () if self.prologue is None else self.prologue.units
        kept = {} if self.prologue is None else self.prologue.kept
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        touched = [unit.buffers for unit in units]
        # Calls that are all in the prologue touch nothing later.
        whole = {unit.call for unit in units if unit.whole}
        touched += [() if i in whole else (*c.reads, *c.writes) for i, c in enumerate(self.calls)]
        for step, buffers in enumerate(touched):
            for buffer in buffers:
                first.setdefault(buffer, step)
                last[buffer] = step
        spans: list[Span] = []
        owners: list[Any] = []
        over = self._overwriting(first, last, {*kept}, whole, len(units))
        ends = {**last, **{old: last[new] for new, old in over.items()}}
        for b, info in enumerate(self.fused.buffers):
            if info.source == "temporary" and b in first and b not in kept and b not in over:
                spans.append(Span(info.nbytes, first[b], ends[b]))
                owners.append(b)
        moments = {i: len(units) + i for i in range(len(self.calls))}
        moments.update({unit.call: i for i, unit in enumerate(units) if unit.whole})
        for call, lowered in enumerate(self.lowered):
            for i, nbytes in enumerate(lowered.temporaries if lowered else ()):
                if ("temp", call, i) not in kept:
                    spans.append(Span(nbytes, moments[call], moments[call]))
                    owners.append(("temp", call, i))
        offsets, self.nbytes = place(spans)
        self.offsets = dict(zip(owners, offsets, strict=True))
        """By number of the buffer, or ("temp", call, i); of what is kept, see `prologue`."""
        self.offsets.update({new: self.offsets[old] for new, old in over.items()})

    def _overwriting(
        self, first: dict[int, int], last: dict[int, int], kept: set[Any], whole: set[int], start: int
    ) -> dict[int, int]:
        """Temporary values that take the memory of others, which end where they begin and are read element by
        element there: by each the first in a chain of such. Calls begin at moment `start`.
        """
        found: dict[int, int] = {}
        taken: set[int] = set()
        for i, (call, lowered) in enumerate(zip(self.calls, self.lowered, strict=True)):
            usable = isinstance(lowered, Lowered) and (lowered.in_place or isinstance(call, LoopCall))
            for new, old in overwritten(call) if usable and i not in whole else ():
                pair = [self.fused.buffers[b] for b in (new, old)]
                temporary = all(info.source == "temporary" for info in pair) and kept.isdisjoint((new, old))
                ends = last[old] == first[new] == start + i and first[old] < last[old]
                same = pair[0].nbytes == pair[1].nbytes
                if temporary and ends and same and new not in found and old not in taken:
                    taken.add(old)
                    found[new] = found.get(old, old)
        return found

    def steps_of(self, call: int) -> Sequence[Step]:
        """The kernels of a call that run every time."""
        lowered = self.lowered[call]
        rest = None if self.prologue is None else self.prologue.rest[call]
        assert isinstance(lowered, Lowered)
        return lowered.steps if rest is None else rest

    def on_the_host(self) -> list[str]:
        """The ops that have no native form, of what is inside too."""
        return [
            call.node.op.name
            for call, lowered in zip(self.calls, self.lowered, strict=True)
            if lowered is None and isinstance(call, LibraryCall)
        ]


def _lowered(call: Call, isa: Isa) -> Lowered | Nest | None:
    if isinstance(call, LibraryCall) and call.node.op.of_graphs:
        from treadle.devices.cpu.nests import nest

        return nest(call, isa)
    return lower_call(call, isa)


def _leaf_types(outputs: Sequence[Node], used: Sequence[int]) -> list[Type]:
    """The types of the graph's leaves by number; of one that is in no graph, any small one."""
    inputs = {node.attributes[0]: node.type for node in ordered(outputs) if node.op.name == "input"}
    count = 1 + max([*used, *inputs], default=-1)
    return [inputs.get(i, _BYTE_TYPE) for i in range(count)]


def can_fail(call: Call) -> bool:
    """Whether a call may report a failure: it looks values up, or runs on the host."""
    if isinstance(call, LibraryCall):
        if call.node.op is COND:
            return any(_graph_can_fail(call.node.attribute(name)) for name in ("true", "false"))
        if call.node.op in SCATTERS:
            return not is_checked(call.node)
        return call.node.op.name not in NEVER_FAIL
    return any(i.op in ("gather", "checked") for stage in call.kernel.stages for i in stage.body)


@lru_cache(maxsize=64)
def _graph_can_fail(graph: Closed) -> bool:
    """Whether a call of a graph may report a failure."""
    passes = run_passes(graph.outputs, [None] * len(graph.outputs), TARGET, can_fail)
    return any(can_fail(call) for call in passes.schedule.calls)
