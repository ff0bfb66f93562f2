"""Runs a loop kernel in NumPy, all points at once: slow, obvious, and what the devices' rendering is tested
against.

Knows nothing of devices.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  # pyright: ignore[reportMissingImports]  (gives NumPy bfloat16 by name)
import numpy as np

from treadle.compiler.kernel import Access, Affine, Fold, Gather, Guard, Instruction, LoopKernel, Stage

THREEFRY_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def interpret(kernel: LoopKernel, buffers: Sequence[np.ndarray]) -> None:
    """Run the kernel on flat arrays, one per operand; written ones are changed in place."""
    with np.errstate(all="ignore"):
        if math.prod(kernel.sizes[: kernel.rows]):
            _Run(kernel, buffers).stages()


class _Run:
    """One run: `points` are the index arrays of all loop axes, broadcast against each other."""

    def __init__(self, kernel: LoopKernel, buffers: Sequence[np.ndarray]):
        self.kernel = kernel
        self.buffers = buffers
        self.points = np.ogrid[tuple(slice(size) for size in kernel.sizes)]
        self.results: dict[tuple[int, int], np.ndarray] = {}

    def stages(self) -> None:
        for number, stage in enumerate(self.kernel.stages):
            shape = self.shape(stage)
            if math.prod(shape) == 0:
                values = [np.zeros(shape, instruction.dtype) for instruction in stage.body]
            else:
                values = []
                for instruction in stage.body:
                    value = self.evaluate(instruction, [values[a] for a in instruction.arguments], stage)
                    values.append(np.broadcast_to(value, shape))
            for position, fold in enumerate(stage.folds):
                self.results[number, position] = self.fold(fold, values)
            for store in stage.stores if math.prod(shape) else ():
                self.store(store.access, values[store.value])

    def shape(self, stage: Stage) -> tuple[int, ...]:
        """What a stage visits: the inner axes have length 1 where it runs once per row."""
        rows = self.kernel.rows
        inner = self.kernel.sizes[rows:]
        return self.kernel.sizes[:rows] + (inner if stage.per == "element" else (1,) * len(inner))

    def affine(self, affine: Affine) -> np.ndarray:
        total = np.full((1,) * len(self.kernel.sizes), affine.offset, np.int64)
        for stride, index in zip(affine.strides, self.points, strict=True):
            total = total + stride * index if stride else total
        return total

    def inside(self, guards: Sequence[Guard]) -> np.ndarray:
        holds = np.ones((1,) * len(self.kernel.sizes), bool)
        for guard in guards:
            index = self.affine(guard.index)
            holds = holds & (index >= 0) & (index < guard.size)
        return holds

    def evaluate(self, instruction: Instruction, arguments: list[np.ndarray], stage: Stage) -> np.ndarray:
        attribute, dtype = instruction.attribute, np.dtype(instruction.dtype)
        match instruction.op:
            case "load":
                return self.read(attribute.operand, self.affine(attribute.index), attribute.guards).astype(
                    dtype
                )
            case "constant":
                return _constant(attribute, dtype)
            case "index":
                return self.affine(attribute).astype(dtype)
            case "inside":
                return self.inside(attribute)
            case "result":
                return self.results[attribute]
            case "gather":
                return self.gather(attribute, arguments).astype(dtype)
            case "checked":
                wrong = (arguments[0] < 0) | (arguments[0] >= attribute.limit)
                if np.any(wrong & self.inside(attribute.guards)):
                    self.buffers[attribute.status][0] = attribute.fault_code
                return arguments[0]
            case "random":
                return threefry(*arguments)[attribute[0]]
        return elementwise(instruction.op, arguments, dtype)

    def read(self, operand: int, index: np.ndarray, guards: Sequence[Guard]) -> np.ndarray:
        holds = self.inside(guards)
        buffer = self.buffers[operand]
        if not holds.any():
            return np.zeros(np.broadcast_shapes(holds.shape, index.shape), buffer.dtype)
        index, holds = np.broadcast_arrays(index, holds)
        assert (index[holds] >= 0).all() and (index[holds] < buffer.size).all(), "a load outside its operand"
        return np.where(holds, buffer[np.where(holds, index, 0)], buffer.dtype.type(0))

    def gather(self, attribute: Gather, arguments: list[np.ndarray]) -> np.ndarray:
        index, live = self.affine(attribute.index), self.inside(attribute.guards)
        valid = live
        for argument, stride, limit in zip(arguments, attribute.strides, attribute.limits, strict=True):
            argument = argument.astype(np.int64)
            valid = valid & (argument >= 0) & (argument < limit)
            index = index + stride * argument
        if np.any(live & ~valid):
            self.buffers[attribute.status][0] = attribute.fault_code
        buffer = self.buffers[attribute.operand]
        if not buffer.size:
            return np.zeros(valid.shape, buffer.dtype)
        return np.where(live, buffer[np.where(valid, index, 0)], buffer.dtype.type(0))

    def store(self, access: Access, value: np.ndarray) -> None:
        buffer = self.buffers[access.operand]
        index, holds = np.broadcast_arrays(self.affine(access.index), self.inside(access.guards))
        index, holds, value = np.broadcast_arrays(index, holds, value)
        assert (index[holds] >= 0).all() and (index[holds] < buffer.size).all(), "a store outside its operand"
        buffer[index[holds]] = value[holds].astype(buffer.dtype)

    def fold(self, fold: Fold, values: list[np.ndarray]) -> np.ndarray:
        rows = self.kernel.rows
        outside = self.kernel.sizes[:rows]
        value = values[fold.value].astype(
            _accumulating(fold.dtype) if fold.position is None else values[fold.value].dtype
        )
        flat = value.reshape(*outside, -1)
        if fold.position is not None:
            where = (np.argmax if fold.combine == "argmax" else np.argmin)(flat, axis=-1, keepdims=True)
            positions = values[fold.position].reshape(*outside, -1)
            folded = np.take_along_axis(positions, where, axis=-1)
        elif flat.shape[-1] == 0:
            folded = np.full((*outside, 1), identity(fold.combine, fold.dtype), flat.dtype)
        else:
            folded = getattr(np, fold.combine).reduce(flat, axis=-1, keepdims=True, dtype=flat.dtype)
        return folded.astype(fold.dtype).reshape(*outside, *(1,) * (len(self.kernel.sizes) - rows))


def _accumulating(dtype: str) -> np.dtype:
    """What a fold of a dtype is computed in: 16-bit floats are rounded once, at the end."""
    return np.dtype("float32" if dtype in ("float16", "bfloat16") else dtype)


def identity(combine: str, dtype: str) -> Any:
    """The number that changes nothing when it is combined."""
    if combine in ("maximum", "minimum"):
        sign = -1 if combine == "maximum" else 1
        if dtype == "bool":
            return combine == "minimum"
        if dtype.startswith(("int", "uint")):
            limits = np.iinfo(dtype)
            return limits.min if sign < 0 else limits.max
        return sign * math.inf
    return {"add": 0, "multiply": 1, "logical_and": True, "logical_or": False}[combine]


def _constant(number: int | float | bool, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        return np.array(int(number) & ((1 << bits) - 1), f"uint{bits}").astype(dtype)
    return np.array(number).astype(dtype)


def threefry(key0: np.ndarray, key1: np.ndarray, counter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32, 20 rounds, of the high and low halves of a 64-bit counter."""
    key0, key1, counter = (np.asarray(v, t) for v, t in ((key0, "u4"), (key1, "u4"), (counter, "u8")))
    keys = [key0, key1, key0 ^ key1 ^ np.uint32(0x1BD11BDA)]
    left = (counter >> np.uint64(32)).astype(np.uint32) + key0
    right = counter.astype(np.uint32) + key1
    for number in range(20):
        rotation = np.uint32(THREEFRY_ROTATIONS[number % 8])
        left = left + right
        right = (right << rotation | right >> (np.uint32(32) - rotation)) ^ left
        if number % 4 == 3:
            group = number // 4 + 1
            left = left + keys[group % 3]
            right = right + keys[(group + 1) % 3] + np.uint32(group)
    return left, right


# -- elementwise ops


def elementwise(op: str, arguments: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """One op by its Array API name; 16-bit floats are computed in float32 and rounded."""
    narrow = dtype.name in ("float16", "bfloat16")
    wide = [a.astype("float32") if a.dtype.name in ("float16", "bfloat16") else a for a in arguments]
    if op == "cast":
        return _astype(arguments[0], dtype)
    if op == "nextafter":
        wide = arguments
    name = SPELLINGS.get(op, op)
    result = OPS[op](*wide) if op in OPS else getattr(np, name)(*wide)
    return result.astype(dtype) if narrow or result.dtype != dtype else result


def _astype(value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Floats outside an integer's range give what x86's conversion gives, on any machine."""
    if value.dtype.kind not in "fV" or dtype.kind not in "iu":
        return value.astype(dtype)
    value = value.astype(np.float64)
    wide = "int64" if dtype.name in ("int64", "uint32", "uint64") else "int32"
    limits = np.iinfo(wide)
    high = (value >= 2.0**63) if dtype.name == "uint64" else np.zeros(value.shape, bool)
    value = np.where(high, value - 2.0**63, value)
    fits = (value > limits.min - 1.0) & (value < -float(limits.min)) if wide == "int32" else (
        (value >= float(limits.min)) & (value < -float(limits.min))
    )  # fmt: skip
    whole = np.where(fits, np.where(fits, value, 0).astype(wide), limits.min)
    return (
        np.where(high, whole ^ np.int64(limits.min), whole).astype(dtype)
        if dtype.name == "uint64"
        else whole.astype(dtype)
    )


def _shift(op: Callable, value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Counts of the width and more, and negative ones, shift everything out."""
    width = 8 * value.dtype.itemsize
    inside = (count >= 0) & (count < width)
    beyond = np.where(value < 0, -1, 0) if op is np.right_shift else np.zeros_like(value)
    return np.where(
        inside, op(value, np.where(inside, count, 0).astype(count.dtype)), beyond.astype(value.dtype)
    )


def _integer_power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Wraps; of a negative exponent, which NumPy refuses, the result is truncated toward zero."""
    if base.dtype.kind not in "iu":
        return np.power(base, exponent)
    unsigned = np.dtype(f"uint{8 * base.dtype.itemsize}")
    wrapped = np.power(base.astype(unsigned), exponent.astype(unsigned)).astype(base.dtype)
    if base.dtype.kind == "u":
        return wrapped
    return np.where((exponent < 0) & (np.abs(base) != 1), 0, wrapped).astype(base.dtype)


def _floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As the Array API says where NumPy does not: with an infinity the floor of the quotient."""
    if a.dtype.kind in "biu":
        return np.floor_divide(a, b)
    special = np.isinf(a) | np.isinf(b) | (b == 0)
    return np.where(special, np.floor(a / b), np.floor_divide(a, b)).astype(a.dtype)


def _erfinv(x: float) -> float:
    if not -1 < x < 1:
        return math.copysign(math.inf, x) if abs(x) == 1 else math.nan
    return statistics.NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)


SPELLINGS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
OPS: dict[str, Callable] = {
    "bitwise_left_shift": lambda x, k: _shift(np.left_shift, x, k),
    "bitwise_right_shift": lambda x, k: _shift(np.right_shift, x, k),
    "erf": lambda x: np.vectorize(math.erf, [np.float64])(x),
    "erfinv": lambda x: np.vectorize(_erfinv, [np.float64])(x),
    "floor_divide": _floor_divide,
    "pow": _integer_power,
    "reciprocal": lambda x: 1 / x,
    "round": lambda x: x if x.dtype.kind in "biu" else np.rint(x),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "where": lambda c, x, y: np.where(c, x, y),
}
