"""Straight-line bodies of loop kernels in C: what one work item computes at one point.

A `Site` knows the operands, the C names of the loop's indices and what earlier stages folded; `write` writes
a body's instructions, one assignment each, and `store` one store. Knows nothing of how loops are arranged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from treadle.compiler.kernel import Access, Affine, Guard, Instruction, Operand, Store
from treadle.devices.csource import elementwise
from treadle.devices.csource.kernel import Unsupported
from treadle.devices.csource.types import NARROW, cast, computed, kind, literal

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))

_ROUNDS = "\n".join(
    "".join(
        f"  left += right; right = ((right << {r}) | (right >> {32 - r})) ^ left;\n"
        for r in ROTATIONS[group % 2]
    )
    + f"  left += keys[{(group + 1) % 3}]; right += keys[{(group + 2) % 3}] + {group + 1}u;"
    for group in range(5)
)
THREEFRY = f"""\
INLINE u64 threefry(u32 key0, u32 key1, u64 counter) {{
  u32 keys[3] = {{key0, key1, key0 ^ key1 ^ 0x1bd11bdau}};
  u32 left = (u32)(counter >> 32) + keys[0], right = (u32)counter + keys[1];
{_ROUNDS}
  return ((u64)left << 32) | right;
}}"""
"""Threefry-2x32 with 20 rounds (Salmon et al., 2011): both words of the counter's halves under the key."""


@dataclass
class Site:
    """A place in the code. `indices` are the C expressions of the loop axes, None where an axis has one
    point.
    """

    operands: Sequence[Operand]
    indices: Sequence[str | None]
    lines: list[str]
    functions: dict[str, str]
    """The C functions that the code calls, by name: what the text begins with."""
    results: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """By stage and fold, what was folded."""
    accumulator: str | None = None
    """What ``accumulator`` instructions stand for: the result of the op whose epilogue a body is."""
    pointers: Sequence[str] = ()
    """The C names of the operands; empty: p0, p1 ..."""
    prefix: str = "v"
    """What the names of values begin with."""
    indent: str = "  "

    def pointer(self, operand: int) -> str:
        """The C name of an operand."""
        return self.pointers[operand] if self.pointers else f"p{operand}"

    def affine(self, affine: Affine) -> str:
        """An index in C."""
        terms = [
            (index if stride == 1 else f"{index} * {stride}")
            for stride, index in zip(affine.strides, self.indices, strict=True)
            if stride and index is not None
        ]
        if affine.offset or not terms:
            terms.append(str(affine.offset))
        return " + ".join(terms)

    def inside(self, guards: Sequence[Guard]) -> str:
        """Whether all guards hold, as C; empty where there are none."""
        parts = []
        for guard in guards:
            index = self.affine(guard.index)
            parts.append(f"(u64)(i64)({index}) < {guard.size}ul")
        return " && ".join(parts)


def write(site: Site, body: Sequence[Instruction], known: Mapping[int, str] | None = None) -> list[str]:
    """Write the instructions of a body but those whose values are known; the C names of all, in order."""
    values: list[str] = []
    for position, instruction in enumerate(body):
        if known and position in known:
            values.append(known[position])
            continue
        dtypes = tuple([body[a].dtype for a in instruction.arguments])
        text = _value(site, instruction, dtypes, [values[a] for a in instruction.arguments])
        if instruction.op in ("constant", "result", "accumulator"):
            values.append(text)
            continue
        name = f"{site.prefix}{position}"
        site.lines.append(f"{site.indent}const {computed(instruction.dtype)} {name} = {text};")
        values.append(name)
    return values


def store(site: Site, body: Sequence[Instruction], target: Store, values: Sequence[str]) -> None:
    """Write one store of a body whose values are computed."""
    dtype = site.operands[target.access.operand].dtype
    value = cast(values[target.value], body[target.value].dtype, dtype)
    text = stored_at(site.pointer(target.access.operand), site.affine(target.access.index), dtype, value)
    guards = site.inside(target.access.guards)
    site.lines.append(f"{site.indent}if ({guards}) {text}" if guards else site.indent + text)


def stored_at(pointer: str, index: str, dtype: str, value: str) -> str:
    """A statement that writes an element."""
    if dtype in NARROW:
        return f"store_{NARROW[dtype]}({pointer}, {index}, {value});"
    return f"{pointer}[{index}] = {value};"


def loaded_from(pointer: str, index: str, dtype: str) -> str:
    """An expression that reads an element."""
    if dtype in NARROW:
        return f"load_{NARROW[dtype]}({pointer}, {index})"
    return f"({pointer}[{index}] != 0)" if dtype == "bool" else f"{pointer}[{index}]"


def supported(op: str, dtypes: tuple[str, ...]) -> bool:
    """Whether an instruction is rendered for arguments of these dtypes (for ``cast``, its argument's and the
    result's).
    """
    return elementwise.supported(op, dtypes)


def _value(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[str]) -> str:
    attribute, dtype = instruction.attribute, instruction.dtype
    match instruction.op:
        case "load":
            return _load(site, attribute, dtype)
        case "constant":
            return literal(attribute, dtype)
        case "index":
            return f"({computed(dtype)})({site.affine(attribute)})"
        case "inside":
            return site.inside(attribute) or "true"
        case "result":
            return site.results[attribute]
        case "accumulator":
            if site.accumulator is None:
                raise AssertionError("the body of an epilogue is rendered where there is no accumulator")
            return site.accumulator
        case "gather":
            return _gather(site, instruction, arguments)
        case "checked":
            limit, inside = attribute.limit, site.inside(attribute.guards)
            wrong = f"(u64)(i64){arguments[0]} >= {limit}ul"
            _report(site, f"{wrong} && {inside}" if inside else wrong, attribute)
            return arguments[0]
        case "random":
            site.functions["threefry"] = THREEFRY
            word = f"threefry({', '.join(arguments)})"
            return f"(u32)({word} >> 32)" if attribute[0] == 0 else f"(u32){word}"
    text = elementwise.expression(instruction.op, dtypes, dtype, arguments)
    for given in {*dtypes, dtype}:
        for name, function in elementwise.functions(given).items():
            if name in text:
                _need(site, name, function, given)
    return text


def _need(site: Site, name: str, function: str, dtype: str) -> None:
    """Let the text begin with a function, and what that calls in turn."""
    if name in site.functions:
        return
    for other, text in elementwise.functions(dtype).items():
        if other != name and other in function:
            _need(site, other, text, dtype)
    site.functions[name] = function


def _load(site: Site, access: Access, dtype: str) -> str:
    operand = site.operands[access.operand]
    value = cast(
        loaded_from(site.pointer(access.operand), site.affine(access.index), operand.dtype),
        operand.dtype,
        dtype,
    )
    guards = site.inside(access.guards)
    if not guards:
        return value
    return f"{guards} ? {value} : {literal(0, dtype)}"


def _gather(site: Site, instruction: Instruction, arguments: list[str]) -> str:
    gather = instruction.attribute
    dtype = site.operands[gather.operand].dtype
    valid = (
        " && ".join(
            f"(u64)(i64){argument} < {limit}ul"
            for argument, limit in zip(arguments, gather.limits, strict=True)
        )
        or "true"
    )
    guards = site.inside(gather.guards)
    name = f"{site.prefix}_ok{len(site.lines)}"
    site.lines.append(f"{site.indent}const bool {name} = {valid};")
    _report(site, f"!{name} && {guards}" if guards else f"!{name}", gather)
    place = " + ".join(
        [
            f"({site.affine(gather.index)})",
            *(f"(i64){a} * {s}" for a, s in zip(arguments, gather.strides, strict=True)),
        ]
    )
    value = cast(loaded_from(site.pointer(gather.operand), place, dtype), dtype, instruction.dtype)
    holds = f"{name} && {guards}" if guards else name
    if not site.operands[gather.operand].size:
        return literal(0, instruction.dtype)
    return f"{holds} ? {value} : {literal(0, instruction.dtype)}"


def _report(site: Site, wrong: str, fault: object) -> None:
    """Write down a fault where something is wrong."""
    status, code = fault.status, fault.fault_code  # type: ignore[attr-defined]
    site.lines.append(f"{site.indent}if ({wrong}) {site.pointer(status)}[0] = {code};")


__all__ = ["Site", "Unsupported", "kind", "loaded_from", "store", "stored_at", "supported", "write"]
