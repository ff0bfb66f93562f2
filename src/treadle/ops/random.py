"""Random numbers as functions of a key and a position: counter-based, so the same for any number of threads.

Bits are Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy
as 1, 2, 3"). Element i of a draw is the cipher of counter i under the key. Keys derived from a key use
counters above 2**63, which no element has, so that a key may be split and drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.dimension import Shape, Size
from treadle.graph.node import Node, Op, Type, make, new
from treadle.ops.batch import Flags
from treadle.ops.creation import known
from treadle.ops.elementwise import (
    add,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    cos,
    less,
    log,
    log1p,
    minimum,
    multiply,
    negative,
    remainder,
    sqrt,
    where,
)
from treadle.ops.gather import take
from treadle.ops.movement import stack, unstack
from treadle.ops.record import (
    Operand,
    broadcast,
    cast,
    expect_kind,
    expect_node,
    filled,
    normal_axis,
    register,
)
from treadle.ops.reduction import argmax
from treadle.ops.sort import argsort

Key = tuple[int, int]

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
"""Xored into the third word of the key schedule: of Skein, whose cipher Threefry is."""
ROUNDS = 20
SPLIT, FOLD, FOLD_HIGH = 1 << 31, (1 << 31) + 1, (1 << 31) + 2
"""High words of the counters from which keys are derived."""

_MASK = 0xFFFFFFFF


def threefry(key: Sequence[Any], counter: Sequence[Any]) -> tuple[Any, Any]:
    """Both words of the cipher of a counter (high word, low word): Python ints, or arrays of uint64."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    left, right = (counter[0] + key[0]) & _MASK, (counter[1] + key[1]) & _MASK
    for number in range(ROUNDS):
        rotation = ROTATIONS[number % 8]
        left = (left + right) & _MASK
        right = ((right << rotation | right >> (32 - rotation)) & _MASK) ^ left
        if number % 4 == 3:
            group = number // 4 + 1
            left = (left + schedule[group % 3]) & _MASK
            right = (right + schedule[(group + 1) % 3] + group) & _MASK
    return left, right


# -- keys


def split(key: Key, count: int = 2) -> list[Key]:
    """Keys independent of each other and of the one they come from."""
    if not isinstance(count, int) or not 0 < count <= 1 << 32:
        raise ArgumentError(f"[split] count={count!r} is not a positive integer")
    return [threefry(key, (SPLIT, i)) for i in range(count)]


def fold_in(key: Key, data: int) -> Key:
    """The key of an integer, of up to 64 bits, under a key."""
    low, high = data & _MASK, data >> 32 & _MASK
    folded = threefry(key, (FOLD, low))
    return threefry(folded, (FOLD_HIGH, high)) if high else folded


KEY = register(
    Op(
        "key",
        infer=lambda: Type((2,), dtypes.uint32),
        reference=None,
        leaf=True,
        doc="A random key given at run time.",
    )
)


def key_node(k0: int, k1: int) -> Node:
    """A key as a node: an input of the graph, so that another key is no other graph."""
    node = new(KEY, (), (), Type((2,), dtypes.uint32))
    node.binding = (k0, k1)
    return node


# -- bits


def _infer_bits(key: Type, shape: Shape, word: int) -> Type:
    if key is not Type((2,), dtypes.uint32):
        raise DTypeError(f"[random_bits] key is {key!r}; expected uint32[2]")
    if word not in (0, 1):
        raise ArgumentError(f"[random_bits] word={word}; a cipher has the words 0 and 1")
    return Type(shape, dtypes.uint32)


def _bits_reference(key: Any, shape: tuple[int, ...], word: int) -> Any:
    counter = np.arange(math.prod(shape), dtype=np.uint64).reshape(shape)
    words = threefry(key.astype(np.uint64), (counter >> np.uint64(32), counter & np.uint64(_MASK)))
    return words[word].astype(np.uint32)


def _bits_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node | None:
    """One draw for all examples, of the key that was drawn for them; not where each has its own."""
    if inputs[0].ndim == 2:
        return None
    shape, word = y.attributes
    return make(RANDOM_BITS, tuple(inputs), ((size, *shape), word))


RANDOM_BITS = register(
    Op("random_bits", _infer_bits, _bits_reference, attributes=("shape", "word"), batch=_bits_batch,
       no_gradient="random bits depend on no floating-point value",
       doc="Word 0 or 1 of Threefry-2x32-20 of each element's row-major position under a key.")
)  # fmt: skip


def _infer_at(key: Type, counter: Type, word: int) -> Type:
    if key is not Type((2,), dtypes.uint32) or counter.dtype is not dtypes.uint64:
        raise DTypeError(f"[random_at] key is {key!r} and counter {counter!r}; expected uint32[2] and uint64")
    return Type(counter.shape, dtypes.uint32)


def _at_reference(key: Any, counter: Any, word: int) -> Any:
    words = threefry(key.astype(np.uint64), (counter >> np.uint64(32), counter & np.uint64(_MASK)))
    return words[word].astype(np.uint32)


def _at_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node | None:
    return None if batched[0] else make(RANDOM_AT, tuple(inputs), y.attributes)


RANDOM_AT = register(
    Op("random_at", _infer_at, _at_reference, attributes=("word",), batch=_at_batch,
       no_gradient="random bits depend on no floating-point value",
       doc="Word 0 or 1 of Threefry-2x32-20 of given counters under a key.")
)  # fmt: skip


def fold_key(key: Node, number: Node) -> Node:
    """`fold_in` as nodes, for a 0-d uint64 number below 2**32: the key of one iteration of a loop."""
    counter = add(number, known(FOLD << 32, number))
    return stack([make(RANDOM_AT, (key, counter), (word,)) for word in (0, 1)])


def _words(key: Node, shape: Shape) -> tuple[Node, Node]:
    return make(RANDOM_BITS, (key,), (shape, 0)), make(RANDOM_BITS, (key,), (shape, 1))


def _drawn_in(name: str, dtype: DType) -> DType:
    """The dtype that a distribution is computed in: 16-bit floats are rounded once, at the end."""
    if dtype.kind != "float":
        raise DTypeError(f"[{name}] dtype={dtype}; expected a real floating dtype")
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _wide(key: Node, shape: Shape) -> Node:
    """53 random bits as a whole float64."""
    high, low = (cast(word, dtypes.float64) for word in _split_53(*_words(key, shape)))
    return add(multiply(high, known(2.0**26, high)), low)


def _split_53(first: Node, second: Node) -> tuple[Node, Node]:
    """27 bits of one word and 26 of another."""
    return bitwise_right_shift(first, known(5, first)), bitwise_right_shift(second, known(6, second))


def _unit(key: Node, shape: Shape, bits: int) -> Node:
    """Multiples of 2**-bits in [0, 1), each equally likely: float64 for more than 24 bits, else float32."""
    if bits > 24:
        x = _wide(key, shape)
    else:
        word = make(RANDOM_BITS, (key,), (shape, 0))
        # By way of int32, which every instruction set converts to float at once.
        x = cast(cast(bitwise_right_shift(word, known(32 - bits, word)), dtypes.int32), dtypes.float32)
    return multiply(x, known(2.0**-bits, x))


def _positive(whole: Node, bits: int) -> Node:
    """Whole numbers below 2**bits as numbers in (0, 1), fine near 0: for logarithms, which open there."""
    precision = 24 if whole.dtype is dtypes.float32 else 53
    x = multiply(add(whole, known(0.5, whole)), known(2.0**-bits, whole))
    return minimum(x, known(1 - 2.0**-precision, x))


# -- distributions

MANTISSAS = {dtypes.float64: 53, dtypes.float32: 24, dtypes.float16: 11, dtypes.bfloat16: 8}
"""How many bits a uniform number of each dtype has: what is exact in [0, 1)."""


def uniform(
    key: Node, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DType = dtypes.float32
) -> Node:
    """Uniform in [low, high)."""
    wide = _drawn_in("uniform", dtype)
    if not low <= high:
        raise ArgumentError(f"[uniform] low={low} is larger than high={high}")
    x = _unit(key, shape, MANTISSAS[dtype])
    if (low, high) == (0, 1):
        return cast(x, dtype)
    x = add(multiply(x, filled(float(high) - float(low), shape, wide)), filled(float(low), shape, wide))
    x = cast(x, dtype)
    # Rounding may reach the upper bound.
    return where(less(x, filled(float(high), shape, dtype)), x, filled(float(low), shape, dtype))


def normal(key: Node, shape: Shape, dtype: DType = dtypes.float32) -> Node:
    """Standard normal, by the method of Box and Muller (1958)."""
    if _drawn_in("normal", dtype) is dtypes.float64:
        radius, turn = unstack(_wide(key, (2, *shape)))
        radius, turn = _positive(radius, 53), multiply(turn, known(2.0**-53, turn))
    else:
        first, second = _words(key, shape)
        radius = _positive(cast(first, dtypes.float32), 32)
        turn = cast(cast(bitwise_right_shift(second, known(8, second)), dtypes.int32), dtypes.float32)
        turn = multiply(turn, known(2.0**-24, turn))
    radius = sqrt(multiply(log(radius), known(-2.0, radius)))
    return cast(multiply(radius, cos(multiply(turn, known(2 * math.pi, turn)))), dtype)


def exponential(key: Node, shape: Shape, dtype: DType = dtypes.float32) -> Node:
    """Exponential of rate 1; never 0 nor infinite in float32 and float64."""
    if _drawn_in("exponential", dtype) is dtypes.float64:
        x = _positive(_wide(key, shape), 53)
    else:
        x = _positive(cast(make(RANDOM_BITS, (key,), (shape, 0)), dtypes.float32), 32)
    return cast(negative(log1p(negative(x))), dtype)


def gumbel(key: Node, shape: Shape, dtype: DType = dtypes.float32) -> Node:
    """Standard Gumbel: minus the logarithm of an exponential."""
    return cast(negative(log(exponential(key, shape, _drawn_in("gumbel", dtype)))), dtype)


def bernoulli(key: Node, p: Operand, shape: Shape | None = None) -> Node:
    """True with probability p, which broadcasts to the shape; None for that of p."""
    if isinstance(p, (int, float)) and not 0 <= p <= 1:
        raise ArgumentError(f"[bernoulli] p={p} is not between 0 and 1")
    p = expect_node("bernoulli", "p", float(p) if isinstance(p, int) else p)
    expect_kind("bernoulli", "p", p, "real floating")
    shape = p.shape if shape is None else shape
    dtype = _drawn_in("bernoulli", p.dtype)
    return less(uniform(key, shape, dtype=dtype), broadcast(cast(p, dtype), shape))


def categorical(key: Node, logits: Operand, axis: int = -1, shape: Shape = ()) -> Node:
    """Indices along a dimension with probabilities softmax(logits); `shape` draws of each, as leading
    dimensions.

    The largest of the logits with Gumbel noise added is so distributed (Gumbel 1954).
    """
    logits = expect_node("categorical", "logits", logits)
    expect_kind("categorical", "logits", logits, "real floating")
    axis = normal_axis("categorical", axis, logits.ndim) + len(shape)
    wide = _drawn_in("categorical", logits.dtype)
    drawn = (*shape, *logits.shape)
    return argmax(add(broadcast(cast(logits, wide), drawn), gumbel(key, drawn, wide)), axis=axis)


def _u64(word: Node) -> Node:
    return cast(word, dtypes.uint64)


def randint(key: Node, low: int, high: int, shape: Shape, dtype: DType = dtypes.int64) -> Node:
    """Integers uniform in [low, high), from 64 bits each."""
    if dtype.kind not in ("int", "uint"):
        raise DTypeError(f"[randint] dtype={dtype}; expected an integer dtype")
    limits = np.iinfo(dtype.numpy)
    if (
        not (isinstance(low, int) and isinstance(high, int))
        or not limits.min <= low < high <= int(limits.max) + 1
    ):
        raise ArgumentError(
            f"[randint] low={low} and high={high}: expected integers of {dtype}, low below high"
        )
    first, second = map(_u64, _words(key, shape))
    # All are equally likely, up to (high - low) / 2**64.
    count, half = high - low, known(32, first)
    if count < 1 << 32:
        # floor(bits * count / 2**64), as a product of halves that never overflows.
        size = known(count, first)
        carried = bitwise_right_shift(multiply(second, size), half)
        x = bitwise_right_shift(add(multiply(first, size), carried), half)
    else:
        x = bitwise_or(bitwise_left_shift(first, half), second)
        x = remainder(x, known(count, x)) if count < 1 << 64 else x
    if low:
        x = add(x, known(low % 2**64, x))
    return cast(cast(x, dtypes.int64) if dtype.kind == "int" else x, dtype)


def permutation(key: Node, x: Node | int, axis: int = 0) -> Node:
    """0 to x - 1 in random order, or the slices of an array along a dimension."""
    if isinstance(x, Node):
        axis = normal_axis("permutation", axis, x.ndim)
        return take(x, permutation(key, x.shape[axis]), axis=axis)  # type: ignore[arg-type]
    if x < 0:
        raise ArgumentError(f"[permutation] x={x} is negative")
    first, second = map(_u64, _words(key, (x,)))
    return argsort(bitwise_or(bitwise_left_shift(first, known(32, first)), second))
