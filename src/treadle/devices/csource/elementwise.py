"""The elementwise ops in C: one table per kind of dtype, from an op's Array API name to an expression.

In the expressions ``{x}`` and ``{y}`` are the arguments, names or literals; ``{T}`` is the C type they have,
``{f}`` the suffix of its literals, ``{U}`` the unsigned type of its width, ``{t}`` its short name, by which
functions of `FUNCTIONS` are told apart. What a dtype's table has no row for is not rendered.
"""

from __future__ import annotations

from treadle.devices.csource.kernel import Unsupported
from treadle.devices.csource.types import NARROW, bits, cast, computed, kind

COMPARISONS = {
    "equal": "({x} == {y})", "not_equal": "({x} != {y})", "less": "({x} < {y})",
    "less_equal": "({x} <= {y})", "greater": "({x} > {y})", "greater_equal": "({x} >= {y})",
}  # fmt: skip

SAME_NAME = (
    "sqrt", "floor", "ceil", "trunc", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf",
)  # fmt: skip
"""What C calls as the Array API does."""

FLOAT: dict[str, str] = {
    **COMPARISONS,
    **{name: f"{name}({{x}})" for name in SAME_NAME},
    "add": "({x} + {y})",
    "subtract": "({x} - {y})",
    "multiply": "({x} * {y})",
    "divide": "({x} / {y})",
    "negative": "(-{x})",
    **dict.fromkeys(("positive", "copied"), "{x}"),
    "square": "({x} * {x})",
    "reciprocal": "(1.0{f} / {x})",
    "rsqrt": "(1.0{f} / sqrt({x}))",
    "abs": "fabs({x})",
    "round": "rint({x})",
    "copysign": "copysign({x}, {y})",
    "atan2": "atan2({x}, {y})",
    "hypot": "hypot({x}, {y})",
    "pow": "power_{t}({x}, {y})",
    "sigmoid": "(1.0{f} / (1.0{f} + exp(-{x})))",
    "sign": "({x} != {x} ? {x} : ({T})(({x} > 0.0{f}) - ({x} < 0.0{f})))",
    "maximum": "({x} != {x} || {x} > {y} ? {x} : {y})",
    "minimum": "({x} != {x} || {x} < {y} ? {x} : {y})",
    "floor_divide": "floor_divide_{t}({x}, {y})",
    "remainder": "remainder_{t}({x}, {y})",
    "logaddexp": "logaddexp_{t}({x}, {y})",
    "nextafter": "nextafter_{t}({x}, {y})",
    "isnan": "({x} != {x})",
    "isinf": "(fabs({x}) == INFINITY_{t})",
    "isfinite": "(fabs({x}) < INFINITY_{t})",
    "signbit": "((as_{S}({x}) >> {top}) != 0)",
}


def _integer() -> dict[str, str]:
    """The rows that signed and unsigned integers share; sums wrap, which signed numbers in C need not."""
    return {
        **COMPARISONS,
        "add": "({T})(({U}){x} + ({U}){y})",
        "subtract": "({T})(({U}){x} - ({U}){y})",
        "multiply": "({T})(({W}){x} * ({W}){y})",
        "negative": "({T})(0 - ({U}){x})",
        "square": "({T})(({W}){x} * ({W}){x})",
        "pow": "power_{t}({x}, {y})",
        "maximum": "({x} > {y} ? {x} : {y})",
        "minimum": "({x} < {y} ? {x} : {y})",
        "bitwise_and": "({T})({x} & {y})",
        "bitwise_or": "({T})({x} | {y})",
        "bitwise_xor": "({T})({x} ^ {y})",
        "bitwise_invert": "({T})(~{x})",
        "bitwise_left_shift": "(({U}){y} < {bits} ? ({T})(({W}){x} << ({y} & {last})) : ({T})0)",
        "isfinite": "true",
        "isinf": "false",
        "isnan": "false",
        **dict.fromkeys(("positive", "copied", "floor", "ceil", "trunc", "round"), "{x}"),
    }


SIGNED: dict[str, str] = {
    **_integer(),
    "abs": "({x} < 0 ? ({T})(0 - ({U}){x}) : {x})",
    "sign": "({T})(({x} > 0) - ({x} < 0))",
    "signbit": "({x} < 0)",
    "floor_divide": "floor_divide_{t}({x}, {y})",
    "remainder": "remainder_{t}({x}, {y})",
    "bitwise_right_shift": "({T})({x} >> (({U}){y} < {bits} ? {y} : ({T}){last}))",
}

UNSIGNED: dict[str, str] = {
    **_integer(),
    "abs": "{x}",
    "sign": "({T})({x} != 0)",
    "signbit": "false",
    "floor_divide": "({y} == 0 ? ({T})0 : ({T})({x} / ({y} + ({T})({y} == 0))))",
    "remainder": "({y} == 0 ? ({T})0 : ({T})({x} % ({y} + ({T})({y} == 0))))",
    "bitwise_right_shift": "({y} < {bits} ? ({T})({x} >> ({y} & {last})) : ({T})0)",
}

BOOL: dict[str, str] = {
    **COMPARISONS,
    **dict.fromkeys(("add", "maximum", "logical_or", "bitwise_or"), "({x} || {y})"),
    **dict.fromkeys(("multiply", "minimum", "logical_and", "bitwise_and"), "({x} && {y})"),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "({x} != {y})"),
    **dict.fromkeys(("logical_not", "bitwise_invert"), "(!{x})"),
    **dict.fromkeys(("abs", "copied"), "{x}"),
    "isfinite": "true",
    "isinf": "false",
    "isnan": "false",
}

TABLES = {"float": FLOAT, "int": SIGNED, "uint": UNSIGNED, "bool": BOOL}
LOGICAL = ("logical_and", "logical_or", "logical_xor", "logical_not")
CONVERTED = ("where", "cast")
"""Written here for every dtype."""
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
        "nextafter",
    ]
)
"""Ops whose result a 16-bit type holds whenever it holds the arguments."""

_FLOAT_FUNCTIONS = {
    "power": """\
INLINE {T} power_{t}({T} x, {T} y) {{
  return x == 1.0{f} || y == 0.0{f} ? 1.0{f} : pow(x, y);
}}""",
    "remainder": """\
INLINE {T} remainder_{t}({T} x, {T} y) {{
  {T} rest = fmod(x, y);
  if (rest == 0.0{f}) return copysign(0.0{f}, y);
  return (rest < 0.0{f}) != (y < 0.0{f}) ? rest + y : rest;
}}""",
    "floor_divide": """\
INLINE {T} floor_divide_{t}({T} x, {T} y) {{
  if (y == 0.0{f} || fabs(x) == INFINITY_{t} || fabs(y) == INFINITY_{t}) return floor(x / y);
  {T} rest = fmod(x, y);
  {T} quotient = (x - rest) / y;
  if (rest != 0.0{f} && (rest < 0.0{f}) != (y < 0.0{f})) quotient -= 1.0{f};
  if (quotient == 0.0{f}) return copysign(0.0{f}, x / y);
  {T} down = floor(quotient);
  return quotient - down > 0.5{f} ? down + 1.0{f} : down;
}}""",
    "logaddexp": """\
INLINE {T} logaddexp_{t}({T} x, {T} y) {{
  if (x == y) return x + {log2}{f};
  return (x > y ? x : y) + log1p(exp(-fabs(x - y)));
}}""",
    "nextafter": """\
INLINE {T} nextafter_{t}({T} x, {T} y) {{
  if (x != x || y != y) return x + y;
  if (x == y) return y;
  {S} bits = as_{S}(x);
  if (x == 0.0{f}) return as_{T}((as_{S}(y) & (({S})1 << {top})) | 1u);
  return as_{T}((x < y) != (x < 0.0{f}) ? bits + 1u : bits - 1u);
}}""",
}
_NARROW_NEXTAFTER = """\
INLINE f32 nextafter_{t}(f32 x, f32 y) {{
  if (x != x || y != y) return x + y;
  if (x == y) return y;
  u16 bits = narrow_{t}(x);
  if (x == 0.0f) return widen_{t}((u16)((narrow_{t}(y) & 0x8000u) | 1u));
  return widen_{t}((u16)((x < y) != (x < 0.0f) ? bits + 1u : bits - 1u));
}}"""
_SIGNED_FUNCTIONS = {
    "power": """\
INLINE {T} power_{t}({T} x, {T} y) {{
  if (y < 0 && x != 1 && x != -1) return 0;
  {W} result = 1, base = ({W})x;
  for ({U} left = ({U})y; left; left >>= 1) {{ if (left & 1) result *= base; base *= base; }}
  return ({T})result;
}}""",
    "floor_divide": """\
INLINE {T} floor_divide_{t}({T} x, {T} y) {{
  if (y == 0) return 0;
  if (y == -1) return ({T})(0 - ({U})x);
  {T} quotient = x / y;
  return x % y != 0 && ((x % y) ^ y) < 0 ? quotient - 1 : quotient;
}}""",
    "remainder": """\
INLINE {T} remainder_{t}({T} x, {T} y) {{
  if (y == 0 || y == -1) return 0;
  {T} rest = x % y;
  return rest != 0 && (rest ^ y) < 0 ? rest + y : rest;
}}""",
}
_UNSIGNED_FUNCTIONS = {
    "power": """\
INLINE {T} power_{t}({T} x, {T} y) {{
  {W} result = 1, base = ({W})x;
  for ({T} left = y; left; left >>= 1) {{ if (left & 1) result *= base; base *= base; }}
  return ({T})result;
}}""",
}
INFINITIES = {
    "f32": "#define INFINITY_f32 as_f32(0x7f800000u)",
    "f64": "#define INFINITY_f64 as_f64(0x7ff0000000000000ul)",
}


def _names(dtype: str) -> dict[str, object]:
    """What the tables' expressions need to know of a dtype."""
    type, width = computed(dtype), bits(dtype)
    what = kind(dtype)
    short = type
    unsigned = f"u{width}" if what in ("int", "uint") else type
    return {
        "T": type, "t": short, "f": "" if type == "f64" else "f", "U": unsigned,
        "W": "u64" if width == 64 else "u32", "bits": width, "last": width - 1,
        "S": "u64" if type == "f64" else "u32", "top": 63 if type == "f64" else 31,
        "log2": "0.6931471805599453",
    }  # fmt: skip


def functions(dtype: str) -> dict[str, str]:
    """The C functions and macros that a dtype's expressions may call, by the name that calls them."""
    names, what = _names(dtype), kind(dtype)
    t = names["t"]
    if what == "float":
        found = {f"{name}_{t}": text.format(**names) for name, text in _FLOAT_FUNCTIONS.items()}
        found[f"INFINITY_{t}"] = INFINITIES[str(t)]
        if dtype in NARROW:
            short = NARROW[dtype]
            found[f"nextafter_{short}"] = _NARROW_NEXTAFTER.format(t=short)
        return found
    table = {"int": _SIGNED_FUNCTIONS, "uint": _UNSIGNED_FUNCTIONS}.get(what, {})
    return {f"{name}_{t}": text.format(**names) for name, text in table.items()}


def expression(op: str, dtypes: tuple[str, ...], dtype: str, values: list[str]) -> str:
    """One elementwise op in C. `dtypes` are the arguments', `dtype` the result's.

    Raises:
        Unsupported: there is none.
    """
    if op == "cast":
        return cast(values[0], dtypes[0], dtype)
    if op == "where":
        first, second = (cast(v, d, dtype) for v, d in zip(values[1:], dtypes[1:], strict=True))
        return f"({cast(values[0], dtypes[0], 'bool')} ? {first} : {second})"
    if op in LOGICAL:
        values, dtypes = [cast(v, d, "bool") for v, d in zip(values, dtypes, strict=True)], ("bool",)
    given = dtypes[0]
    row = TABLES[kind(given)].get(op)
    if row is None:
        raise Unsupported(f"{op} of {given}")
    names = _names(given)
    if op == "nextafter" and given in NARROW:
        names["t"] = NARROW[given]
    text = row.format(x=values[0], y=values[-1], **names)
    return f"round_{NARROW[dtype]}({text})" if dtype in NARROW and op not in KEEPS_NARROW else text


def supported(op: str, dtypes: tuple[str, ...]) -> bool:
    """Whether an elementwise op is rendered for arguments of these dtypes (for ``cast``, its argument's and
    the result's).
    """
    try:
        for dtype in dtypes:
            kind(dtype)
        return op in LOGICAL or op in CONVERTED or op in TABLES[kind(dtypes[0])]
    except Unsupported:
        return False
