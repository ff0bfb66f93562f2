"""The mathematical functions of generated CPU code, by the Array API's names.

`FLOAT32` and `FLOAT64` map a name to a function of the builder and its arguments, all of one type (`float` or
a vector of it; `double` for the second table) that writes the code and returns the result. Code for `float`
is inline and vectorised, and so is that for `double`, but that sines of huge numbers are the C library's;
errors are in ``docs/results-ulp.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from treadle.devices.cpu import math_double_exponential as double_exponential
from treadle.devices.cpu import math_double_logarithm as double_logarithm
from treadle.devices.cpu import math_double_power as double_power
from treadle.devices.cpu import math_double_trigonometric as double_trigonometric
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


def circular(name: str, f: Function, x: Value) -> Value:
    """A function whose large arguments are the C library's."""
    return getattr(double_trigonometric, name)(f, x, partial(per_lane, name, f))


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
    **{
        function.__name__: function
        for function in (
            *(double_exponential.exp, double_exponential.exp2, double_exponential.expm1),
            *(double_exponential.sigmoid, double_exponential.sinh, double_exponential.cosh),
            *(double_exponential.tanh, double_exponential.erf),
            *(double_logarithm.log, double_logarithm.log1p, double_logarithm.log2, double_logarithm.log10),
            *(double_logarithm.asinh, double_logarithm.acosh, double_logarithm.atanh),
            *(double_logarithm.hypot, double_logarithm.logaddexp, double_power.pow),
            *(double_trigonometric.asin, double_trigonometric.acos, double_trigonometric.atan),
            double_trigonometric.atan2,
        )
    },
    **{name: partial(circular, name) for name in ("sin", "cos", "tan")},
}
