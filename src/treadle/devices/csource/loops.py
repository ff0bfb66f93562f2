"""Loop kernels in C: which work item does what, and the loops inside of it.

Four forms: *points*, one work item a point, where nothing is folded; *serial*, one work item a row;
*grouped*, a group of work items a row, whose folds are trees in shared memory; *split*, the inner points of a
row cut in chunks, folded apart by a first kernel, and by a second one together. The form, and with it the
order of every sum, is a function of the kernel and the device's facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.compiler.interpret import identity
from treadle.compiler.kernel import (
    Access,
    Affine,
    Fold,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    with_affines,
)
from treadle.devices.csource.axes import coalesced
from treadle.devices.csource.body import Site, store, write
from treadle.devices.csource.kernel import Facts, Launch, Lowered, SourceKernel, product
from treadle.devices.csource.text import index_type, indices, kernel_text, unravelled
from treadle.devices.csource.types import ITEMSIZE, NARROW, cast, computed, kind, literal

LONG = 1024
"""Rows with so many inner points are folded by several work items."""
MOST_CHUNKS = 1024
GROUP_LANES = 256
MOST_INSTRUCTIONS = 32
"""Of a body that is written for several points of a work item."""
WAVES = 8
"""So many times the groups that run at once are plenty."""
ROWS_ENOUGH = 64
"""So many work items for each unit of a device keep it busy."""


def render(kernel: LoopKernel, facts: Facts) -> Lowered:
    """The kernel in C; operand i is ``("in", i)`` in the launches."""
    kernel = coalesced(kernel)
    rows = product(kernel.sizes[: kernel.rows])
    if rows == 0:
        return Lowered(())
    everything = tuple([("in", i) for i in range(len(kernel.operands))])
    if kernel.rows == len(kernel.sizes):
        return Lowered((Launch(_points(kernel, facts), everything),))
    inner = product(kernel.sizes[kernel.rows :])
    positions = any(fold.position is not None for stage in kernel.stages for fold in stage.folds)
    if (
        _splits(kernel)
        and inner >= 2 * LONG
        and rows < ROWS_ENOUGH * facts.units * (GROUP_LANES if facts.barriers else 1)
    ):
        return _split(kernel, facts)
    if facts.barriers and not positions and inner >= 32 and not folds_columns(kernel):
        return Lowered((Launch(_grouped(kernel, facts), everything),))
    return Lowered((Launch(_serial(kernel, facts), everything),))


def folds_columns(kernel: LoopKernel) -> bool:
    """Whether rows are neighbours in memory and the points of one are not: then a work item a row reads
    memory as it lies, and a group a row would not.
    """
    if not kernel.rows:
        return False
    for stage in kernel.stages:
        for i in stage.body:
            if stage.per == "element" and i.op == "load":
                strides = i.attribute.index.strides
                inner = [
                    abs(s)
                    for s, n in zip(strides[kernel.rows :], kernel.sizes[kernel.rows :], strict=True)
                    if n > 1
                ]
                outer = [
                    abs(s)
                    for s, n in zip(strides[: kernel.rows], kernel.sizes[: kernel.rows], strict=True)
                    if n > 1
                ]
                if 1 in outer and inner and min(inner) > 1:
                    return True
    return False


# -- forms


def _points(kernel: LoopKernel, facts: Facts) -> SourceKernel:
    total = product(kernel.sizes)
    type = index_type(kernel.operands, kernel.sizes)
    lanes, each = facts.lanes, _points_each(kernel, facts)
    site = Site(kernel.operands, indices(kernel.sizes), [], {})
    lines = site.lines
    groups = -(-total // (lanes * each))
    if each > 1:
        _several_points(site, kernel.stages[0], kernel.sizes, type, lanes, each)
    else:
        lines += _place(total, lanes, type)
        lines += ["  " + line for line in unravelled("point", type, _names(kernel.sizes), kernel.sizes)]
        for number, stage in enumerate(kernel.stages):
            site.prefix = f"v{number}_"
            _row_stage(site, stage)
    return kernel_text(kernel.label, kernel.operands, site.functions, lines, groups, lanes, _flops(kernel))


def _points_each(kernel: LoopKernel, facts: Facts) -> int:
    """How many points a work item has: several, where there are plenty, so that it waits for what it loads
    for all of them at once.
    """
    stage, *others = kernel.stages
    if not facts.barriers or others or len(stage.body) > MOST_INSTRUCTIONS:
        return 1
    widest = max(ITEMSIZE[operand.dtype] for operand in kernel.operands)
    each = 8 if widest <= 2 else 4
    return each if product(kernel.sizes) >= facts.units * WAVES * GROUP_LANES * each else 1


def _several_points(site: Site, stage: Stage, sizes: Sequence[int], type: str, lanes: int, each: int) -> None:
    """Compute at points that lie a group's lanes apart, all of them before anything is stored: what is stored
    might be what is loaded, as far as a compiler knows.
    """
    total, lines = product(sizes), site.lines
    whole = total % (lanes * each) == 0
    values, names = [], []
    for i in range(each):
        names.append([f"{name}_{i}" for name in _names(sizes)])
        place = f"({type})((GROUP * {each} + {i}) * {lanes} + LANE)"
        lines.append(f"  const {type} place{i} = {place};")
        inside = f"place{i}" if whole else f"place{i} < {total} ? place{i} : {total - 1}"
        lines.append(f"  const {type} point{i} = {inside};")
        lines += ["  " + line for line in unravelled(f"point{i}", type, names[i], sizes)]
        site.indices = [None if size == 1 else name for size, name in zip(sizes, names[i], strict=True)]
        site.prefix = f"v{i}_"
        values.append(write(site, stage.body))
    for i in range(each):
        site.indices = [None if size == 1 else name for size, name in zip(sizes, names[i], strict=True)]
        if not whole:
            lines.append(f"  if (place{i} < {total}) {{")
        for target in stage.stores:
            store(site, stage.body, target, values[i])
        if not whole:
            lines.append("  }")


def _serial(kernel: LoopKernel, facts: Facts) -> SourceKernel:
    """A work item a row."""
    sizes, rows = kernel.sizes, product(kernel.sizes[: kernel.rows])
    type, lanes = index_type(kernel.operands, sizes), min(facts.lanes, 64)
    site = Site(kernel.operands, indices(sizes), [], {})
    site.lines += _place(rows, lanes, type)
    outer = sizes[: kernel.rows]
    site.lines += ["  " + line for line in unravelled("point", type, _names(sizes), outer)]
    results: dict[tuple[int, int], str] = {}
    for number, stage in enumerate(kernel.stages):
        site.results, site.prefix = results, f"v{number}_"
        if stage.per == "row":
            _row_stage(site, stage)
            continue
        folds = _begin(site, number, stage)
        depth = 0
        for axis in range(kernel.rows, len(sizes)):
            if sizes[axis] != 1:
                depth += 1
                site.lines.append(
                    f"{'  ' * depth}for ({type} at{axis} = 0; at{axis} < {sizes[axis]}; ++at{axis}) {{"
                )
        site.indent = "  " * (depth + 1)
        if product(sizes[kernel.rows :]):
            _element(site, stage, folds)
        site.lines += ["  " * d + "}" for d in range(depth, 0, -1)]
        site.indent = "  "
        results |= {(number, i): fold.finished(site, i) for i, fold in enumerate(folds)}
    return kernel_text(
        kernel.label, kernel.operands, site.functions, site.lines, -(-rows // lanes), lanes, _flops(kernel)
    )


def _grouped(kernel: LoopKernel, facts: Facts) -> SourceKernel:
    """A group of work items a row."""
    sizes, rows = kernel.sizes, product(kernel.sizes[: kernel.rows])
    inner_sizes = sizes[kernel.rows :]
    inner = product(inner_sizes)
    type = index_type(kernel.operands, sizes)
    lanes = 32
    while lanes < GROUP_LANES and lanes * 2 <= inner:
        lanes *= 2
    site = Site(kernel.operands, indices(sizes), [], {})
    lines = site.lines
    lines += ["  const i32 lane = LANE;", f"  const {type} point = ({type})GROUP;"]
    lines += ["  " + line for line in unravelled("point", type, _names(sizes), sizes[: kernel.rows])]
    results: dict[tuple[int, int], str] = {}
    for number, stage in enumerate(kernel.stages):
        site.results, site.prefix = results, f"v{number}_"
        if stage.per == "row":
            site.indent = "  "
            values = write(site, stage.body)
            if stage.stores:
                lines.append("  if (lane == 0) {")
                site.indent = "    "
                for target in stage.stores:
                    store(site, stage.body, target, values)
                lines.append("  }")
            continue
        folds = _begin(site, number, stage)
        lines.append(f"  for ({type} inner = lane; inner < {inner}; inner += {lanes}) {{")
        names = _names(sizes)[kernel.rows :]
        lines += ["    " + line for line in unravelled("inner", type, names, inner_sizes)]
        site.indent = "    "
        _element(site, stage, folds)
        lines.append("  }")
        site.indent = "  "
        for i, fold in enumerate(folds):
            shared = f"shared{number}_{i}"
            mine = f"{shared}[lane]"
            held = fold.type if fold.type != "bool" else "u8"
            lines += [
                f"  SHARED {held} {shared}[{lanes}];",
                f"  {shared}[lane] = {fold.name};",
                "  BARRIER;",
                f"  for (i32 step = {lanes // 2}; step > 0; step >>= 1) {{",
                f"    if (lane < step) {mine} = {fold.combined(mine, f'{shared}[lane + step]')};",
                "    BARRIER;",
                "  }",
                f"  {fold.name} = {shared}[0];",
            ]
            results[number, i] = fold.finished(site, i)
    return kernel_text(kernel.label, kernel.operands, site.functions, lines, rows, lanes, _flops(kernel))


def _splits(kernel: LoopKernel) -> bool:
    """Whether all inner points are visited by the first stage alone."""
    first, *rest = kernel.stages
    return first.per == "element" and bool(first.folds) and all(stage.per == "row" for stage in rest)


def _split(kernel: LoopKernel, facts: Facts) -> Lowered:
    """A kernel that folds chunks, and one that folds what they gave."""
    sizes, count = kernel.sizes, len(kernel.operands)
    rows, inner = product(sizes[: kernel.rows]), product(sizes[kernel.rows :])
    wanted = min(MOST_CHUNKS, max(-(-inner // LONG), 1))
    chunk = -(-inner // wanted)
    chunks = -(-inner // chunk)
    first = kernel.stages[0]
    parts = [
        Operand(dtype, rows * chunks, written=True) for fold in first.folds for dtype in _kept(first, fold)
    ]
    operands = (*kernel.operands, *parts)
    type, lanes = index_type(operands, (*sizes, chunks)), min(facts.lanes, 64)
    site = Site(operands, indices(sizes), [], {}, prefix="v0_")
    lines = site.lines
    lines += _place(rows * chunks, lanes, type)
    # Neighbouring work items have neighbouring rows of one chunk.
    lines.append(f"  const {type} chunk = point / {rows}, row = point - chunk * {rows};")
    lines += ["  " + line for line in unravelled("row", type, _names(sizes), sizes[: kernel.rows])]
    folds = _begin(site, 0, first)
    lines += [
        f"  const {type} first = chunk * {chunk};",
        f"  const {type} last = first + {chunk} < {inner} ? first + {chunk} : {inner};",
        f"  for ({type} inner = first; inner < last; ++inner) {{",
    ]
    names = _names(sizes)[kernel.rows :]
    lines += ["    " + line for line in unravelled("inner", type, names, sizes[kernel.rows :])]
    site.indent = "    "
    _element(site, first, folds)
    lines.append("  }")
    place, number = f"chunk * {rows} + row", count
    for fold in folds:
        for name in fold.names:
            lines.append(f"  p{number}[{place}] = {name};")
            number += 1
    chunked = kernel_text(
        f"{kernel.label} parts",
        operands,
        site.functions,
        lines,
        -(-rows * chunks // lanes),
        lanes,
        _flops(kernel),
    )
    whole = second(kernel, parts, chunks)
    everything = (*[("in", i) for i in range(count)], *[("temp", i) for i in range(len(parts))])
    return Lowered(
        (Launch(chunked, everything), Launch(_serial(whole, facts), everything)),
        tuple([ITEMSIZE[part.dtype] * part.size for part in parts]),
    )


def second(kernel: LoopKernel, parts: list[Operand], chunks: int) -> LoopKernel:
    """The kernel that folds what the chunks gave, and goes on from there."""
    first, *rest = kernel.stages
    outer = kernel.sizes[: kernel.rows]
    rows, steps, total = product(outer), [], 1
    for size in reversed(outer):
        steps.insert(0, total)
        total *= size
    body: list[Instruction] = []
    folds: list[Fold] = []
    operand = len(kernel.operands)
    for fold in first.folds:
        found = []
        for dtype in _kept(first, fold):
            found.append(len(body))
            body.append(Instruction("load", (), dtype, Access(operand, Affine(0, (*steps, rows)))))
            operand += 1
        folds.append(replace(fold, value=found[0], position=found[1] if len(found) > 1 else None))

    def trimmed(affine: Affine) -> Affine:
        return Affine(affine.offset, (*affine.strides[: kernel.rows], 0))

    stages = [Stage("element", tuple(body), tuple(folds))]
    stages += [with_affines(stage, trimmed) for stage in rest]
    operands = (*kernel.operands, *[replace(part, written=False) for part in parts])
    return LoopKernel((*outer, chunks), kernel.rows, operands, tuple(stages), f"{kernel.label} whole")


# -- parts of them


@dataclass
class _Folding:
    """A fold on its way: the C name of what it has so far, and of its position."""

    fold: Fold
    name: str
    type: str
    dtype: str
    position: str | None = None

    @property
    def names(self) -> list[str]:
        return [self.name] if self.position is None else [self.name, self.position]

    def combined(self, left: str, right: str) -> str:
        """Two parts as one."""
        match self.fold.combine:
            case "add":
                return f"({self.type})({self._wide(left)} + {self._wide(right)})"
            case "multiply":
                return f"({self.type})({self._wide(left)} * {self._wide(right)})"
            case "logical_and":
                return f"({left} && {right})"
            case "logical_or":
                return f"({left} || {right})"
            case "maximum" | "minimum" as which:
                sign = ">" if which == "maximum" else "<"
                nan = f"{left} != {left} || " if kind(self.dtype) == "float" else ""
                return f"({nan}{left} {sign} {right} ? {left} : {right})"
        raise AssertionError(self.fold.combine)

    def _wide(self, value: str) -> str:
        """What wraps: signed numbers in C need not."""
        what = kind(self.dtype)
        if what in ("int", "uint"):
            return f"({'u64' if self.type.endswith('64') else 'u32'}){value}"
        return value

    def update(self, site: Site, value: str, position: str | None) -> None:
        """Take one more value in."""
        lines, indent = site.lines, site.indent
        if self.position is None:
            lines.append(f"{indent}{self.name} = {self.combined(self.name, value)};")
            return
        sign = ">" if self.fold.combine == "argmax" else "<"
        better = f"{value} {sign} {self.name}"
        if kind(self.dtype) == "float":
            better = f"({better} || {value} != {value}) && {self.name} == {self.name}"
        lines.append(
            f"{indent}if ({self.position} < 0 || ({better})) {{ {self.name} = {value}; "
            f"{self.position} = {position}; }}"
        )

    def finished(self, site: Site, number: int) -> str:
        """The C name of the result, in the fold's own dtype."""
        if self.position is not None:
            return self.position
        return f"round_{NARROW[self.fold.dtype]}({self.name})" if self.fold.dtype in NARROW else self.name


def _kept(stage: Stage, fold: Fold) -> list[str]:
    """The dtypes of what a fold has while it is under way."""
    if fold.position is not None:
        return [_accumulating(stage.body[fold.value].dtype), "int64"]
    return [_accumulating(fold.dtype)]


def _begin(site: Site, number: int, stage: Stage) -> list[_Folding]:
    """Write what folds begin with."""
    found = []
    for i, fold in enumerate(stage.folds):
        name = f"fold{number}_{i}"
        if fold.position is None:
            type = computed(fold.dtype)
            site.lines.append(f"  {type} {name} = {literal(identity(fold.combine, fold.dtype), fold.dtype)};")
            found.append(_Folding(fold, name, type, fold.dtype))
            continue
        dtype = stage.body[fold.value].dtype
        type = computed(dtype)
        site.lines.append(f"  {type} {name} = 0; i64 {name}_at = -1;")
        found.append(_Folding(fold, name, type, dtype, f"{name}_at"))
    return found


def _element(site: Site, stage: Stage, folds: Sequence[_Folding]) -> None:
    """Write what is done at one inner point."""
    values = write(site, stage.body)
    for fold in folds:
        value = values[fold.fold.value]
        if fold.position is None:
            value = cast(value, stage.body[fold.fold.value].dtype, _accumulating(fold.fold.dtype))
            fold.update(site, value, None)
        else:
            assert fold.fold.position is not None
            fold.update(site, value, values[fold.fold.position])
    for target in stage.stores:
        store(site, stage.body, target, values)


def _accumulating(dtype: str) -> str:
    return "float32" if dtype in NARROW else dtype


def _row_stage(site: Site, stage: Stage) -> None:
    values = write(site, stage.body)
    for target in stage.stores:
        store(site, stage.body, target, values)


def _place(total: int, lanes: int, type: str) -> list[str]:
    """Lines by which a work item finds its number."""
    return [
        f"  const {type} point = ({type})(GROUP * {lanes} + LANE);",
        f"  if (point >= {total}) return;",
    ]


def _names(sizes: Sequence[int]) -> list[str]:
    return [f"at{axis}" for axis in range(len(sizes))]


def _flops(kernel: LoopKernel) -> int:
    moving = ("load", "constant", "index", "inside", "result", "cast")
    inner, outer = product(kernel.sizes), product(kernel.sizes[: kernel.rows])
    return sum(
        (len([i for i in stage.body if i.op not in moving]) + len(stage.folds))
        * (inner if stage.per == "element" else outer)
        for stage in kernel.stages
    )
