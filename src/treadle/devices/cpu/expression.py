"""Renders straight-line bodies of loop kernels: what one place in the code computes, for a scalar or for
many lanes.

The body of an epilogue is rendered by ::

    site = Site(f, isa, operands, pointers, index=(m, n), lanes=16, mask=mask, accumulator=value)
    values = render_body(site, body)
    render_store(site, body, store, values)

where ``accumulator`` instructions stand for the value that is in registers already. Knows nothing of how
loops are arranged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from treadle.compiler.kernel import Instruction, Store
from treadle.devices.cpu import elementwise as ops
from treadle.devices.cpu.access import Site, checked, checked_offset, gather, inside, load, load_moved, store
from treadle.devices.cpu.elements import finished
from treadle.devices.cpu.ir import Function, Module, Value, lanes_of, vector
from treadle.devices.cpu.registers import (
    KIND,
    Unsupported,
    cast,
    register_type,
    scalar_constant,
    widen,
)
from treadle.devices.cpu.target import Isa

__all__ = ["Site", "Unsupported", "evaluate", "module_for", "render_body", "render_store", "supported"]


def module_for(isa: Isa) -> Module:
    """An empty module whose functions use the instruction set in full."""
    fma = "fma" in isa.features or isa.name == "neon"
    return Module(isa.attributes, fma=fma, scalef=isa.name == "avx512")


def render_body(
    site: Site, body: Sequence[Instruction], known: Mapping[int, Value] | None = None
) -> list[Value]:
    """Write all instructions of a body but those whose values are known; their values in order. What is the
    same in all lanes is a scalar: see `widen`.
    """
    values: list[Value] = []
    for position, instruction in enumerate(body):
        if known and position in known:
            values.append(known[position])
            continue
        dtypes = tuple(body[a].dtype for a in instruction.arguments)
        values.append(evaluate(site, instruction, dtypes, [values[a] for a in instruction.arguments]))
    return values


def render_store(
    site: Site, body: Sequence[Instruction], target: Store, values: Sequence[Value] | Mapping[int, Value]
) -> None:
    """Write one store of a body whose values are computed."""
    dtype = site.operands[target.access.operand].dtype
    store(site, target.access, cast(site.f, site.isa, values[target.value], body[target.value].dtype, dtype))


def evaluate(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    """Write one instruction; `dtypes` are its arguments'."""
    special = SPECIAL.get(instruction.op)
    if special is not None:
        return special(site, instruction, dtypes, arguments)
    lanes = max((lanes_of(argument.type) for argument in arguments), default=1)
    arguments = [widen(site.f, argument, lanes) for argument in arguments]
    return ops.elementwise(site.f, site.isa, instruction.op, dtypes, instruction.dtype, arguments)


def supported(op: str, dtypes: tuple[str, ...]) -> bool:
    """Whether an instruction is rendered for arguments of these dtypes (for ``cast``, its argument's and the
    result's).
    """
    if op in SPECIAL:
        return all(dtype in KIND for dtype in dtypes)
    return ops.supported(op, dtypes)


def _load(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    source = site.operands[instruction.attribute.operand].dtype
    return cast(site.f, site.isa, load(site, instruction.attribute), source, instruction.dtype)


def _constant(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    return scalar_constant(site.f, instruction.dtype, instruction.attribute)


def _index(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    f, type = site.f, register_type(instruction.dtype)
    if KIND[instruction.dtype] not in ("signed", "unsigned"):
        raise Unsupported(f"index as {instruction.dtype}")
    base, stride = site.place(instruction.attribute), site.stride(instruction.attribute)
    if isinstance(base, int):
        first = scalar_constant(f, instruction.dtype, base)
    else:
        first = f.cast("trunc", base, type)
    if stride == 0:
        return first
    bits = int(type[1:])
    steps = [
        (stride * lane + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1)) for lane in range(site.lanes)
    ]
    return f.op("add", widen(f, first, site.lanes), f.constants(vector(type, site.lanes), steps))


def _inside(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    uniform, by_lane = inside(site, instruction.attribute)
    if isinstance(uniform, bool):
        uniform = site.f.constant("i1", uniform)
    return uniform if by_lane is None else site.f.op("and", by_lane, widen(site.f, uniform, site.lanes))


def _result(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    return site.results[instruction.attribute]


def _gather(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    source = site.operands[instruction.attribute.operand].dtype
    value = gather(site, instruction.attribute, dtypes, arguments)
    return cast(site.f, site.isa, value, source, instruction.dtype)


def _checked_offset(
    site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]
) -> Value:
    return checked_offset(site, instruction.attribute, dtypes, arguments)


def _checked(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    return checked(site, instruction.attribute, dtypes[0], arguments[0])


def _load_moved(
    site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]
) -> Value:
    source = site.operands[instruction.attribute.operand].dtype
    return cast(
        site.f, site.isa, load_moved(site, instruction.attribute, arguments[0]), source, instruction.dtype
    )


def _accumulator(
    site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]
) -> Value:
    if site.accumulator is None:
        raise AssertionError("the body of an epilogue is rendered where there is no accumulator")
    return finished(site.f, site.isa, instruction.dtype, site.accumulator)


def _random(site: Site, instruction: Instruction, dtypes: tuple[str, ...], arguments: list[Value]) -> Value:
    key = ("threefry", *arguments)
    if key not in site.known:
        lanes = max(lanes_of(argument.type) for argument in arguments)
        site.known[key] = threefry(site.f, *(widen(site.f, argument, lanes) for argument in arguments))
    return site.known[key][instruction.attribute[0]]


ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(f: Function, key0: Value, key1: Value, counter: Value) -> tuple[Value, Value]:
    """Both words of Threefry-2x32 with 20 rounds (Salmon et al., 2011) for the high and low halves of a
    64-bit counter.
    """
    type = key0.type
    parity = f.constant(type, PARITY)
    keys = [key0, key1, f.op("xor", f.op("xor", key0, key1), parity)]
    high = f.op("lshr", counter, f.constant(counter.type, 32))
    left = f.op("add", f.cast("trunc", high, type), keys[0])
    right = f.op("add", f.cast("trunc", counter, type), keys[1])
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            left = f.op("add", left, right)
            amount = f.constant(type, rotation)
            right = f.op("xor", f.intrinsic("fshl", right, right, amount), left)
        left = f.op("add", left, keys[(group + 1) % 3])
        right = f.op("add", f.op("add", right, keys[(group + 2) % 3]), f.constant(type, group + 1))
    return left, right


SPECIAL: dict[str, Callable[[Site, Instruction, tuple[str, ...], list[Value]], Value]] = {
    "load": _load,
    "constant": _constant,
    "index": _index,
    "inside": _inside,
    "result": _result,
    "gather": _gather,
    "checked_offset": _checked_offset,
    "checked": _checked,
    "load_moved": _load_moved,
    "random": _random,
    "accumulator": _accumulator,
}
