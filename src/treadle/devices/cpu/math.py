"""The mathematical functions of generated CPU code, by the Array API's names.

`FLOAT32` and `FLOAT64` map a name to a function of the builder and its arguments, all of one type (`float` or
a vector of it; `double` for the second table) that writes the code and returns the result. Code for `float`
is inline and vectorised; its errors are in ``docs/results-ulp.md``. Code for `double` calls the C library
for each lane.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from treadle.devices.cpu import math_exponential as exponential
from treadle.devices.cpu import math_logarithm as logarithm
from treadle.devices.cpu import math_trigonometric as trigonometric
from treadle.devices.cpu.ir import Function, Value, lanes_of

Writer = Callable[..., Value]

EXACT = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "round": "roundeven",
    "abs": "fabs",
    "copysign": "copysign",
}
"""Op names and the LLVM intrinsics of them: an instruction or two (SSE 4.1, NEON), correctly rounded."""

LIBM = (
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "pow", "hypot", "erf"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
)
"""Ops that the C standard's mathematical library has, under the same name."""


def intrinsic(name: str, f: Function, *arguments: Value) -> Value:
    return f.intrinsic(name, *arguments)


def per_lane(symbol: str, f: Function, *arguments: Value) -> Value:
    """Call a C function of doubles once for each lane."""
    type, lanes = arguments[0].type, lanes_of(arguments[0].type)
    if lanes == 1:
        return f.call("double", symbol, *arguments)
    result = Value(type, "poison")
    for lane in range(lanes):
        element = f.call("double", symbol, *(f.extract(argument, lane) for argument in arguments))
        result = f.assign(type, f"insertelement {type} {result.name}, double {element.name}, i32 {lane}")
    return result


def sigmoid_double(f: Function, x: Value) -> Value:
    """exp(x) / (1 + exp(x)) where that does not overflow, else 1 / (1 + exp(-x))."""
    one = f.constant(x.type, 1.0)
    e = per_lane("exp", f, f.fneg(f.intrinsic("fabs", x)))
    numerator = f.select(f.compare("fcmp olt", x, f.constant(x.type, 0.0)), e, one)
    return f.op("fdiv", numerator, f.op("fadd", e, one))


FLOAT32: dict[str, Writer] = {
    **{op: partial(intrinsic, name) for op, name in EXACT.items()},
    **{
        function.__name__: function
        for function in (
            *(exponential.exp, exponential.exp2, exponential.expm1, exponential.sigmoid, exponential.erf),
            *(exponential.sinh, exponential.cosh, exponential.tanh),
            *(logarithm.log, logarithm.log1p, logarithm.log2, logarithm.log10, logarithm.logaddexp),
            *(logarithm.pow, logarithm.hypot, logarithm.asinh, logarithm.acosh, logarithm.atanh),
            *(trigonometric.sin, trigonometric.cos, trigonometric.tan),
            *(trigonometric.asin, trigonometric.acos, trigonometric.atan, trigonometric.atan2),
        )
    },
}

FLOAT64: dict[str, Writer] = {
    **{op: partial(intrinsic, name) for op, name in EXACT.items()},
    **{op: partial(per_lane, op) for op in LIBM},
    "sigmoid": sigmoid_double,
}
