"""A network as a table: what each module gives, learns, computes and keeps. Nothing is computed for it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import treadle as td
from treadle import random
from treadle.array import as_node
from treadle.compiler.flops import flops_by_node
from treadle.errors import ArgumentError, TreadleError
from treadle.graph.dimension import Dimension, substitute
from treadle.graph.graph import ordered, rewrite, with_sizes
from treadle.graph.node import Node, surrounded
from treadle.nn.footprint import alive, kept_values, nbytes
from treadle.nn.module import Module, Statistic, members, observed
from treadle.ops.expectation import EXPECT_SIZE
from treadle.structure import take_outputs

if TYPE_CHECKING:
    from rich.table import Table

Scope = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A module: all that is its own, not that of the modules below, which have rows of their own.

    `output` is the shape of its result, or several; None if it was not called. `flops` are those of one
    forward pass; `kept` the bytes of the values that the gradient needs; `alive` the most bytes of values
    that are alive at once while it computes without a gradient.
    """

    path: str
    kind: str
    output: tuple[Any, ...] | None = None
    parameters: int = 0
    frozen: int = 0
    statistics: int = 0
    flops: int = 0
    kept: int = 0
    alive: int = 0

    def with_more(self, other: Row) -> Row:
        """This one and what another one has."""
        added = ("parameters", "frozen", "statistics", "flops", "kept")
        sums = {name: getattr(self, name) + getattr(other, name) for name in added}
        return replace(self, alive=max(self.alive, other.alive), **sums)


@dataclass
class Summary:
    """What `summary` finds; printed, a table. `rows` are the modules in the order of the tree, the network
    itself first, as "". `sizes` are the numbers that sizes were counted as which are not known.
    """

    rows: list[Row]
    sizes: dict[str, int]
    parameter_bytes: int
    kept_unknown: str | None = None
    """Why it is not known what the gradient needs."""
    uncounted: list[str] = field(default_factory=list)
    """Operations that are not counted."""

    def __getitem__(self, path: str) -> Row:
        """The row of a module."""
        for row in self.rows:
            if row.path == path:
                return row
        raise ArgumentError(f"there is no module {path!r}; there are {', '.join(r.path for r in self.rows)}")

    @property
    def total(self) -> Row:
        """All rows together."""
        first, *rest = self.rows
        for row in rest:
            first = first.with_more(row)
        return first

    def to_depth(self, depth: int) -> Summary:
        """The same with everything below a depth of the tree counted where it belongs at that depth."""
        if depth < 0:
            raise ArgumentError(f"[summary] depth={depth} is negative")
        found: list[Row] = []
        at: dict[str, int] = {}
        levels: dict[str, int] = {}
        for row in self.rows:
            above = max((p for p in at if not p or row.path.startswith(p + ".")), key=len, default=None)
            level = 0 if above is None else levels[above] + 1
            if above is not None and level > depth:
                found[at[above]] = found[at[above]].with_more(row)
            else:
                at[row.path], levels[row.path] = len(found), level
                found.append(row)
        return replace(self, rows=found)

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        total = self.total
        table = Table(box=box.SIMPLE_HEAD, show_footer=True, caption=self._caption(), caption_justify="left")
        table.add_column("layer", "total")
        table.add_column("type")
        table.add_column("output", _shapes(total.output))
        columns = {
            "parameters": (str, "parameters", True),
            "frozen": (str, "frozen", bool(total.frozen)),
            "FLOPs": (_short, "flops", True),
            "kept for gradient": (_bytes, "kept", self.kept_unknown is None),
            "alive without": (_bytes, "alive", True),
        }
        shown = [(title, show, name) for title, (show, name, there) in columns.items() if there]
        for title, show, name in shown:
            table.add_column(title, show(getattr(total, name)), justify="right")
        for row in self.rows:
            numbers = [show(value) if (value := getattr(row, name)) else "" for _, show, name in shown]
            table.add_row(row.path or "(itself)", row.kind, _shapes(row.output), *numbers)
        return table

    def _caption(self) -> str:
        total = self.total
        said = [f"parameters take {_bytes(self.parameter_bytes)}"]
        if total.statistics:
            said.append(f"{total.statistics} statistics are kept besides")
        if self.sizes:
            counted = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
            said.append(f"FLOPs and memory are for {counted}")
        if self.kept_unknown is not None:
            said.append(f"what the gradient keeps is not known: {self.kept_unknown}")
        if self.uncounted:
            said.append(f"not counted: {', '.join(self.uncounted)}")
        return "; ".join(said)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=140, color_system=None)
        console.print(self)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]

    __repr__ = __str__


def _shapes(output: tuple[Any, ...] | None) -> str:
    if output is None:
        return "not called"
    several = bool(output) and all(isinstance(shape, tuple) for shape in output)
    shapes = output if several else (output,)
    return ", ".join(f"({', '.join(map(str, shape))})" for shape in shapes)


def _short(count: int, unit: str = "", step: int = 1000) -> str:
    """A number with three digits and a prefix."""
    value, prefixes = float(count), ["", "k", "M", "G", "T", "P"]
    while value >= step and len(prefixes) > 1:
        value /= step
        prefixes.pop(0)
    digits = f"{value:.0f}" if prefixes[0] == "" or value >= 100 else f"{value:.3g}"
    return f"{digits} {prefixes[0]}{unit}".rstrip()


def _bytes(count: int) -> str:
    return _short(count, "B")


def summary(
    module: Module,
    *inputs: Any,
    dtype: Any = td.float32,
    sizes: Mapping[str, int] | None = None,
    depth: int | None = None,
    **keywords: Any,
) -> Summary:
    """A network as a table: of each module its result's shape, parameters, floating-point operations and
    memory. Nothing is computed: it is called on placeholders.

    A multiplication and an addition are two operations; the table `compiler.flops` says what others are.
    Each module has its own: columns add up to the totals, but for memory without a gradient, whose total is
    the most of them. Memory is estimated; `td.memory` says what a compiled program takes.

    Args:
        module: the network.
        inputs: what it is called with: a shape, with names or None for sizes that are not known, or an array
            or placeholder, of which shape and dtype count; anything else is passed on.
        dtype: of the inputs given as shapes.
        sizes: what FLOPs and memory are counted for where sizes are names; 1 without.
        depth: how deep in the tree modules have rows of their own; None for all.
        keywords: passed on, arrays as placeholders.

    Returns:
        `Summary`, which prints as a table; `rows`, `total` and ``[path]`` have the numbers.

    Raises:
        ShapeError: the inputs do not fit; the message says in which module.

    >>> import treadle as td
    >>> from treadle import nn
    >>> found = nn.summary(nn.Sequential(nn.Dense(4, 8), td.relu, nn.Dense(8, 2)), ("batch", 4))
    >>> found["0"].output, found["0"].parameters, found["0"].flops
    ((batch, 8), 40, 72)
    """
    names = [f"input {i}" for i in range(len(inputs))]
    given = [_placeholder(value, name, dtype) for value, name in zip(inputs, names, strict=True)]
    named = {
        name: _placeholder(value, name, dtype) if isinstance(value, (td.Array, np.ndarray)) else value
        for name, value in keywords.items()
    }
    leaves = [value.node for value in (*given, *named.values()) if isinstance(value, td.Array)]
    known = dict(sizes or {})
    for leaf in leaves:
        for size in leaf.shape:
            for symbol in size.symbols if isinstance(size, Dimension) else ():
                known.setdefault(symbol, 1)
    with _as_it_was(module):
        _set_modes(module, False)
        seen, outputs = _called(module, given, named)
        counted = _Counted(module, seen)
        (outputs, leaves_there) = _sized(outputs, leaves, known)
        for node in ordered(outputs):
            counted.add_flops(node)
        for node, size in alive(outputs, leaves_there):
            counted.add_alive(node, size)
        try:
            for node in _kept(module, given, named, leaves, known):
                counted.add_kept(node)
            unknown = None
        except TreadleError as error:
            unknown = error.message
    found = Summary(
        counted.rows(), known, counted.parameter_bytes, unknown, list(dict.fromkeys(counted.uncounted))
    )
    return found if depth is None else found.to_depth(depth)


def _placeholder(value: Any, name: str, dtype: Any) -> Any:
    """What stands for an input; the first size that is not known is the batch's."""
    if isinstance(value, (td.Array, np.ndarray)):
        array = td.asarray(value) if isinstance(value, np.ndarray) else value
        return td.placeholder(array.shape, array.dtype, name=name)
    if isinstance(value, (tuple, list)) and all(
        size is None or isinstance(size, (int, str, Dimension)) for size in value
    ):
        shape: list[Any] = list(value)
        if shape and shape[0] is None:
            shape[0] = "batch"
        return td.placeholder(shape, dtype, name=name)
    return value


@contextmanager
def _as_it_was(module: Module) -> Iterator[None]:
    """Leave modes and the generator of random numbers as they were."""
    modes = [(part, part._training) for part in module.modules().values()]
    drawn = random.get_state()
    try:
        yield
    finally:
        random.set_state(drawn)
        for part, training in modes:
            part._training = training


def _set_modes(module: Module, training: bool) -> None:
    for part in module.modules().values():
        part._training = training


def _called(
    module: Module, given: Sequence[Any], named: Mapping[str, Any]
) -> tuple[dict[Scope, tuple[Module, Any]], list[Node]]:
    """Which modules were called, by scope, with their results; and the results of all."""
    seen: dict[Scope, tuple[Module, Any]] = {}

    def note(part: Module, scope: Scope, result: Any) -> None:
        seen.setdefault(scope, (part, result))

    with surrounded(scope=()), observed(note):
        result = module(*given, **named)
    outputs: list[Node] = []
    take_outputs(result, outputs)
    return seen, outputs


def _sized(
    outputs: Sequence[Node], leaves: Sequence[Node], sizes: Mapping[str, int]
) -> tuple[list[Node], list[Node]]:
    """A graph and its leaves with numbers in place of names of sizes."""
    if not sizes:
        return list(outputs), list(leaves)
    there = {
        leaf: as_node(td.placeholder(substitute(leaf.shape, sizes), leaf.dtype))  # type: ignore[arg-type]
        for leaf in leaves
    }
    # Counting for a batch of one is no batch of one.
    free = rewrite(outputs, lambda node, inputs: inputs[0] if node.op is EXPECT_SIZE else None)
    return with_sizes(free, sizes, there), list(there.values())


def _kept(
    module: Module,
    given: Sequence[Any],
    named: Mapping[str, Any],
    leaves: Sequence[Node],
    sizes: Mapping[str, int],
) -> set[Node]:
    """The values that the gradient by the parameters needs, in training."""
    parameters = module.parameters()
    if not parameters:
        return set()
    _set_modes(module, True)
    _, outputs = _called(module, given, named)
    floating = [td.Array(node) for node in outputs if node.dtype.kind == "float"]
    seeds = [td.placeholder(y.shape, y.dtype) for y in floating]
    found = td.gradients(floating, list(parameters.values()), seeds, unconnected="zero")
    nodes, there = _sized([g.node for g in found], [*leaves, *[seed.node for seed in seeds]], sizes)
    return kept_values(nodes, there[len(leaves) :], there[: len(leaves)])


class _Counted:
    """Numbers by module, found by the scopes of nodes."""

    def __init__(self, module: Module, seen: Mapping[Scope, tuple[Module, Any]]):
        self.paths = {id(part): path for path, part in module.modules().items()}
        self.found: dict[str, Row] = {}
        self.parameter_bytes = 0
        self.uncounted: list[str] = []
        self.of_scope: dict[Scope, str] = {}
        results: dict[str, Any] = {}
        for scope, (part, result) in seen.items():
            if id(part) in self.paths:
                self.of_scope[scope] = self.paths[id(part)]
                results.setdefault(self.paths[id(part)], result)
        known: set[int] = set()
        for path, part in module.modules().items():
            output = _output(results[path]) if path in results else None
            self.found[path] = Row(path, part._summary(), output, **self._variables(part, known))

    def _variables(self, part: Module, known: set[int]) -> dict[str, int]:
        counts = {"parameters": 0, "frozen": 0, "statistics": 0}
        for _, variable in members(part):
            if isinstance(variable, td.Variable) and id(variable.cell) not in known:
                known.add(id(variable.cell))
                size = int(np.prod(variable.shape, dtype=np.int64))
                if isinstance(variable, Statistic):
                    counts["statistics"] += size
                    continue
                counts["parameters"] += size
                counts["frozen"] += 0 if variable.trainable else size
                self.parameter_bytes += size * variable.dtype.itemsize
        return counts

    def _path(self, node: Node) -> str:
        """The module that made a node."""
        scope = node.scope
        while scope and scope not in self.of_scope:
            scope = scope[:-1]
        return self.of_scope.get(scope, "")

    def _more(self, node: Node, **changes: int) -> None:
        path = self._path(node)
        self.found[path] = self.found[path].with_more(Row(path, "", None, **changes))

    def add_flops(self, node: Node) -> None:
        for inner, count in flops_by_node(node).items():
            if count is None:
                self.uncounted.append(inner.op.name)
            else:
                self._more(inner, flops=count)

    def add_kept(self, node: Node) -> None:
        self._more(node, kept=nbytes(node))

    def add_alive(self, node: Node, size: int) -> None:
        self._more(node, alive=size)

    def rows(self) -> list[Row]:
        return list(self.found.values())


def _output(result: Any) -> tuple[Any, ...] | None:
    nodes: list[Node] = []
    take_outputs(result, nodes)
    shapes = tuple([node.shape for node in nodes])
    return shapes[0] if len(shapes) == 1 else shapes
