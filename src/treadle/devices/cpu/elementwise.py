"""The elementwise ops in registers: one table per kind of dtype, from an op's Array API name to what writes
its instructions.

A writer takes the builder and its arguments, all of one type, scalar or vector, and returns the result. What
a dtype's table has no row for is not rendered. Mathematical functions of floats come from
`treadle.devices.cpu.math`. Knows nothing of memory or loops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from treadle.devices.cpu import floats, integers
from treadle.devices.cpu.ir import Function, Value, lanes_of, vector
from treadle.devices.cpu.math import FLOAT32, FLOAT64
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    Unsupported,
    cast,
    from_storage,
    round_narrow,
    to_storage,
)
from treadle.devices.cpu.target import Isa

Writer = Callable[..., Value]


def compare(predicate: str, f: Function, left: Value, right: Value) -> Value:
    return f.compare(predicate, left, right)


def instruction(opcode: str, f: Function, left: Value, right: Value) -> Value:
    return f.op(opcode, left, right)


def identity(f: Function, value: Value) -> Value:
    return value


def square(opcode: str, f: Function, value: Value) -> Value:
    return f.op(opcode, value, value)


def always(answer: bool, f: Function, value: Value) -> Value:
    return f.compare("icmp eq" if answer else "icmp ne", value, value)


def in_double(row: Writer, f: Function, *values: Value) -> Value:
    """A function of `float` by way of the one of `double`."""
    type = values[0].type
    double = vector("double", lanes_of(type))
    return f.cast("fptrunc", row(f, *(f.cast("fpext", value, double) for value in values)), type)


def complement(f: Function, value: Value) -> Value:
    return f.op("xor", value, f.constant(value.type, -1))


def _comparisons(prefix: str, equal: str, not_equal: str, sign: str) -> dict[str, Writer]:
    """The six comparisons; `sign` tells how order is asked for (``o``, ``s`` or ``u``)."""
    predicates = {
        "equal": equal,
        "not_equal": not_equal,
        "less": f"{sign}lt",
        "less_equal": f"{sign}le",
        "greater": f"{sign}gt",
        "greater_equal": f"{sign}ge",
    }
    return {op: partial(compare, f"{prefix} {predicate}") for op, predicate in predicates.items()}


FLOAT: dict[str, Writer] = {
    "add": partial(instruction, "fadd"),
    "subtract": partial(instruction, "fsub"),
    "multiply": partial(instruction, "fmul"),
    "divide": partial(instruction, "fdiv"),
    "negative": lambda f, x: f.fneg(x),
    "positive": identity,
    "copied": identity,
    "square": partial(square, "fmul"),
    "reciprocal": lambda f, x: f.op("fdiv", f.constant(x.type, 1), x),
    "rsqrt": lambda f, x: f.op("fdiv", f.constant(x.type, 1), f.intrinsic("sqrt", x)),
    "abs": lambda f, x: f.intrinsic("fabs", x),
    "sqrt": lambda f, x: f.intrinsic("sqrt", x),
    "floor": lambda f, x: f.intrinsic("floor", x),
    "ceil": lambda f, x: f.intrinsic("ceil", x),
    "trunc": lambda f, x: f.intrinsic("trunc", x),
    "round": lambda f, x: f.intrinsic("roundeven", x),
    "copysign": lambda f, x, y: f.intrinsic("copysign", x, y),
    "sign": floats.sign,
    "maximum": floats.maximum,
    "minimum": floats.minimum,
    "floor_divide": floats.floor_divide,
    "remainder": floats.remainder,
    "logaddexp": floats.logaddexp,
    "nextafter": floats.nextafter,
    "isnan": lambda f, x: f.compare("fcmp uno", x, x),
    "isinf": lambda f, x: f.compare("fcmp oeq", f.intrinsic("fabs", x), f.constant(x.type, float("inf"))),
    "isfinite": lambda f, x: f.compare("fcmp olt", f.intrinsic("fabs", x), f.constant(x.type, float("inf"))),
    "signbit": floats.signbit,
    **_comparisons("fcmp", "oeq", "une", "o"),
}


def _integer(sign: str) -> dict[str, Writer]:
    """The rows that signed (``s``) and unsigned (``u``) integers share."""
    return {
        "add": partial(instruction, "add"),
        "subtract": partial(instruction, "sub"),
        "multiply": partial(instruction, "mul"),
        "negative": lambda f, x: f.op("sub", f.constant(x.type, 0), x),
        "square": partial(square, "mul"),
        "pow": integers.power,
        "maximum": lambda f, x, y: f.intrinsic(f"{sign}max", x, y),
        "minimum": lambda f, x, y: f.intrinsic(f"{sign}min", x, y),
        "bitwise_and": partial(instruction, "and"),
        "bitwise_or": partial(instruction, "or"),
        "bitwise_xor": partial(instruction, "xor"),
        "bitwise_invert": complement,
        "bitwise_left_shift": integers.left_shift,
        "isfinite": partial(always, True),
        "isinf": partial(always, False),
        "isnan": partial(always, False),
        **dict.fromkeys(("positive", "copied", "floor", "ceil", "trunc", "round"), identity),
        **_comparisons("icmp", "eq", "ne", sign),
    }


SIGNED: dict[str, Writer] = {
    **_integer("s"),
    "abs": lambda f, x: f.intrinsic("smax", x, f.op("sub", f.constant(x.type, 0), x)),
    "sign": integers.sign,
    "signbit": lambda f, x: f.compare("icmp slt", x, f.constant(x.type, 0)),
    "floor_divide": integers.signed_floor_divide,
    "remainder": integers.signed_remainder,
    "bitwise_right_shift": integers.signed_right_shift,
    "pow": integers.signed_power,
}

UNSIGNED: dict[str, Writer] = {
    **_integer("u"),
    "abs": identity,
    "sign": lambda f, x: f.intrinsic("umin", x, f.constant(x.type, 1)),
    "signbit": partial(always, False),
    "floor_divide": integers.unsigned_floor_divide,
    "remainder": integers.unsigned_remainder,
    "bitwise_right_shift": integers.unsigned_right_shift,
}

BOOL: dict[str, Writer] = {
    **dict.fromkeys(("add", "maximum", "logical_or", "bitwise_or"), partial(instruction, "or")),
    **dict.fromkeys(("multiply", "minimum", "logical_and", "bitwise_and"), partial(instruction, "and")),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), partial(instruction, "xor")),
    **dict.fromkeys(("logical_not", "bitwise_invert"), complement),
    **dict.fromkeys(("abs", "copied"), identity),
    "isfinite": partial(always, True),
    "isinf": partial(always, False),
    "isnan": partial(always, False),
    **_comparisons("icmp", "eq", "ne", "u"),
}

TABLES = {"float": FLOAT, "signed": SIGNED, "unsigned": UNSIGNED, "bool": BOOL}
LOGICAL = ("logical_and", "logical_or", "logical_xor", "logical_not")
CONVERTED = ("where", "cast")
"""Written here for every dtype."""


def writer(op: str, dtype: str) -> Writer:
    """What writes `op` for arguments of a dtype. Raises `Unsupported` where nothing does."""
    kind = KIND.get(dtype)
    if kind is not None:
        row = TABLES[kind].get(op)
        if row is None and kind == "float":
            row = FLOAT64.get(op)
            if ITEMSIZE[dtype] < 8:
                row = FLOAT32.get(op) or (row and partial(in_double, row))
        if row is not None:
            return row
    raise Unsupported(f"{op} of {dtype}")


def elementwise(
    f: Function, isa: Isa, op: str, dtypes: tuple[str, ...], dtype: str, values: list[Value]
) -> Value:
    """Write one elementwise op. `dtypes` are the arguments', `dtype` the result's; all `values` have the
    same lanes.
    """
    if op == "cast":
        return cast(f, isa, values[0], dtypes[0], dtype)
    if op == "where":
        branches = [cast(f, isa, v, d, dtype) for v, d in zip(values[1:], dtypes[1:], strict=True)]
        return f.select(cast(f, isa, values[0], dtypes[0], "bool"), *branches)
    if op in LOGICAL:
        values, dtypes = [cast(f, isa, v, d, "bool") for v, d in zip(values, dtypes, strict=True)], ("bool",)
    row = writer(op, dtypes[0])
    if op == "nextafter" and dtype in NARROW:  # The neighbour among the 16-bit floats.
        return floats.nextafter(
            f,
            *values,
            to_bits=lambda f, value: to_storage(f, isa, dtype, value),
            from_bits=lambda f, bits: from_storage(f, isa, dtype, bits),
        )
    result = row(f, *values)
    return round_narrow(f, isa, dtype, result) if dtype in NARROW and op not in KEEPS_NARROW else result


KEEPS_NARROW = frozenset(
    [
        "negative",
        "positive",
        "copied",
        "abs",
        "floor",
        "ceil",
        "trunc",
        "round",
        "copysign",
        "sign",
        "maximum",
        "minimum",
    ]
)
"""Ops whose result a 16-bit type holds whenever it holds the arguments."""


def supported(op: str, dtypes: tuple[str, ...]) -> bool:
    """Whether the elementwise op `op` is rendered for arguments of these dtypes (for ``cast``, its
    argument's and the result's).
    """
    if not all(dtype in KIND for dtype in dtypes):
        return False
    if op in LOGICAL or op in CONVERTED:
        return True
    try:
        writer(op, dtypes[0])
    except Unsupported:
        return False
    return True
