"""Random graphs: a recipe is a list of small numbers, which hypothesis shrinks, and every recipe is a graph.

Values that are whole numbers are told from others: only of these are results compared bit for bit, and only
they are compared, rounded, sorted or used as indices, since a last bit must not change what is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

import treadle as td
from treadle import dtypes
from treadle.autodiff import gradients
from treadle.errors import TreadleError
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.elementwise import add, cast, tanh
from treadle.ops.reduction import sum as total

MOST_ELEMENTS = 200
MOST_WHOLE = 1e5
"""Above this, whole numbers of float32 are not added and multiplied further, so that none is rounded."""
MOST = 50.0
"""Above this, other numbers are brought back by tanh."""

Step = tuple[int, int, int, int]
RECIPES = st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=14)


@dataclass(frozen=True)
class Item:
    """An array, whether its values are whole numbers, and what they do not exceed."""

    x: td.Array
    whole: bool
    bound: float


@dataclass
class Pool:
    items: list[Item] = field(default_factory=list)

    def pick(self, number: int, whole: bool | None = None, kind: str = "") -> Item:
        """One of the latest items, of the wanted sort; `LookupError` if there is none."""
        fitting = [
            item
            for item in self.items
            if (whole is None or item.whole is whole) and (not kind or item.x.dtype.kind[0] in kind)
        ]
        if not fitting:
            raise LookupError
        return fitting[-1 - number % min(len(fitting), 5)]


def leaves() -> list[Item]:
    """Arrays with sizes 0, 1 and such that no vector divides."""
    generator = np.random.default_rng(0)

    def whole(*shape: int, dtype: str = "float32") -> Item:
        return Item(td.asarray(generator.integers(-3, 4, shape).astype(dtype)), True, 3)

    def real(*shape: int, dtype: str = "float32") -> Item:
        return Item(td.asarray(generator.uniform(-2, 2, shape).astype(dtype)), False, 2)

    return [
        Item(td.asarray(generator.integers(0, 2, (5,)).astype(bool)), True, 1),
        whole(2, 3, dtype="int64"), real(3, 1, dtype="float64"), whole(0, 3), real(3, 0), real(), whole(1, 5),
        real(2, 3, 5), whole(17), real(3, 5),
    ]  # fmt: skip


SMOOTH = (
    td.tanh, td.sigmoid, td.sin, td.cos, td.erf,
    lambda x: td.exp(-td.abs(x)), lambda x: td.log1p(td.abs(x)),
)  # fmt: skip
WHOLE = (td.abs, td.negative, td.relu, td.sign, td.floor, td.square)
BINARY = (td.add, td.subtract, td.multiply, td.maximum, td.minimum)
COMPARISONS = (td.less, td.equal, td.greater_equal, td.not_equal)


def unary(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a, kind="iuf")
    if not item.whole:
        return Item(SMOOTH[b % len(SMOOTH)](item.x), False, max(1.0, item.bound))
    return Item(WHOLE[b % len(WHOLE)](item.x), True, item.bound**2 if b % len(WHOLE) == 5 else item.bound)


def binary(pool: Pool, a: int, b: int, c: int) -> Item:
    left, right = pool.pick(a, kind="iuf"), pool.pick(b, kind="iuf")
    whole = left.whole and right.whole
    bound = max(left.bound * right.bound, left.bound + right.bound)
    return Item(BINARY[c % len(BINARY)](left.x, right.x), whole, bound)


def with_number(pool: Pool, a: int, b: int, c: int) -> Item:
    item, number = pool.pick(a, kind="f"), (0.0, 1.0, -1.0, 2.0, 3.0, 0.5)[b % 6]
    whole = item.whole and number != 0.5
    return Item(BINARY[c % 3](item.x, number), whole, item.bound * 3 + 3)


def affine(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a, kind="f")
    return Item(item.x * 0.25 + 0.125 * (b % 4), False, item.bound)


def movement(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a)
    x, axis = item.x, c % max(1, item.x.ndim)
    size = x.shape[axis] if x.ndim else 0
    change: Callable[[], td.Array] = (
        lambda: td.permute_dims(x, tuple(np.roll(range(x.ndim), c))),
        lambda: td.reshape(x, (-1,)) if x.size else td.reshape(x, (*x.shape, 1)),
        lambda: td.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])),
        lambda: td.flip(x, axis=axis),
        lambda: x[(slice(None),) * axis + (slice(c % 3 % (size + 1), None, 1 + c % 2),)],
        lambda: td.pad(x, [(1, 2) if i == axis else (0, c % 2) for i in range(x.ndim)]),
        lambda: td.broadcast_to(td.expand_dims(x, 0), (1 + c % 3, *x.shape)),
        lambda: td.concat([x, td.flip(x, axis=axis)], axis=axis),
        lambda: td.roll(x, 1 + c % 3, axis=axis),
        lambda: x[..., 0] if c % 2 else td.tile(x, (2,) * x.ndim),
    )[b % 10]
    return Item(change(), item.whole, item.bound)


def reduction(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a, kind="iuf")
    x, keepdims = item.x, bool(c & 8)
    axes = tuple(axis for axis in range(x.ndim) if c >> axis & 1) or None
    if b % 4 == 0:
        return Item(td.sum(x, axis=axes, keepdims=keepdims), item.whole, item.bound * max(1, x.size))
    if b % 4 == 1:
        return Item(td.max(x, axis=axes, keepdims=keepdims), item.whole, item.bound)
    if b % 4 == 2:
        return Item(td.min(x, axis=axes, keepdims=keepdims), item.whole, item.bound)
    return Item(td.mean(x, axis=axes, keepdims=keepdims), False, item.bound)


def normalized(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a, kind="f")
    x, axis = item.x, c % max(1, item.x.ndim)
    if b % 3 == 0:
        return Item(td.softmax(x, axis=axis), False, 1)
    if b % 3 == 1:
        return Item(td.logsumexp(x, axis=axis), False, item.bound + 6)
    apart = x - td.mean(x, axis=axis, keepdims=True)
    return Item(apart / (1 + td.var(x, axis=axis, keepdims=True)), False, item.bound * 2)


def product(pool: Pool, a: int, b: int, c: int) -> Item:
    left, right = pool.pick(a, kind="f"), pool.pick(b, kind="f")
    x = td.reshape(left.x, (left.x.shape[0], -1)) if left.x.ndim > 2 else left.x
    y = td.reshape(right.x, (right.x.shape[0], -1)) if right.x.ndim > 2 else right.x
    if x.ndim != 2 or y.ndim != 2:
        raise LookupError
    for p, q in ((x, y), (x, y.T), (x.T, y), (x, x.T)):
        if p.shape[1] == q.shape[0]:
            z = p @ q
            if c % 2:
                z = td.relu(z + 1)
            bound = max(left.bound, right.bound) ** 2 * max(1, p.shape[1]) + 1
            return Item(z, left.whole and right.whole, bound)
    raise LookupError


def choice(pool: Pool, a: int, b: int, c: int) -> Item:
    condition = COMPARISONS[c % len(COMPARISONS)](pool.pick(a, True, "iuf").x, pool.pick(b, True, "iuf").x)
    if c & 4:
        return Item(condition, True, 1)
    left, right = pool.pick(b, kind="iuf"), pool.pick(c, kind="iuf")
    return Item(
        td.where(condition, left.x, right.x), left.whole and right.whole, max(left.bound, right.bound)
    )


def logical(pool: Pool, a: int, b: int, c: int) -> Item:
    x, y = pool.pick(a, kind="b").x, pool.pick(b, kind="b").x
    if c % 4 == 0:
        return Item(td.any(x, axis=None if c & 4 else -1), True, 1)
    return Item((td.logical_and, td.logical_or, td.logical_xor)[c % 4 - 1](x, y), True, 1)


def indexing(pool: Pool, a: int, b: int, c: int) -> Item:
    item, axis = pool.pick(a), 0
    size = item.x.shape[axis] if item.x.ndim else 0
    if not size:
        raise LookupError
    if c % 2:
        index = pool.pick(b, True, "iuf")
        places = td.abs(td.astype(index.x, td.int64)) % size
    else:
        places = td.asarray(np.arange(b % 7) % size)
    if c % 3:
        return Item(td.take(item.x, places, axis=axis), item.whole, item.bound)
    y = td.flip(item.x, axis=0)
    y[places] = item.x[0]
    return Item(y, item.whole, item.bound)


def conversion(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a)
    targets = (td.float32, td.int64, td.int32, td.float64) if item.whole else (td.float32, td.float64)
    return Item(td.astype(item.x, targets[b % len(targets)]), item.whole, item.bound)


def ordering(pool: Pool, a: int, b: int, c: int) -> Item:
    item = pool.pick(a, True, "iuf")
    axis = c % max(1, item.x.ndim)
    if b % 3 == 0:
        return Item(td.argmax(item.x, axis=axis), True, 200)
    if b % 3 == 1:
        return Item(td.cumulative_sum(item.x, axis=axis), True, item.bound * 200)
    return Item(td.sort(item.x, axis=axis), True, item.bound)


STEPS = (
    unary, binary, movement, reduction, with_number, product, movement, choice, binary, normalized, indexing,
    conversion, affine, ordering, logical, movement,
)  # fmt: skip


def build(recipe: Sequence[Step], given: Sequence[Item] | None = None) -> tuple[list[Node], list[bool]]:
    """The outputs of a recipe's graph, and which of them are whole numbers: the last values, and one more."""
    pool = Pool(leaves() if given is None else list(given))
    count = len(pool.items)
    for kind, a, b, c in recipe:
        try:
            item = STEPS[kind % len(STEPS)](pool, a, b, c)
        except (TreadleError, LookupError):
            continue
        if item.x.size > MOST_ELEMENTS or item.x.ndim > 4:
            continue
        if item.bound > (MOST_WHOLE if item.whole else MOST):
            item = Item(td.tanh(td.astype(item.x, td.float32) / item.bound), False, 1)
        pool.items.append(item)
    made = pool.items[count:] or pool.items[-1:]
    chosen = [*made[-2:], made[recipe[0][1] % len(made)]]
    nodes = list(dict.fromkeys(item.x.node for item in chosen))
    whole = {item.x.node: item.whole for item in chosen}
    return nodes, [whole[node] for node in nodes]


def with_gradients(recipe: Sequence[Step]) -> list[Node]:
    """A loss of a recipe's real outputs, and its gradients by the real leaves; empty where there is none."""
    outputs, _ = build(recipe)
    outputs = [node for node in outputs if node.dtype.kind == "float"]
    if not outputs:
        return []
    loss = add_up([total(tanh(cast(node, dtypes.float32))) for node in outputs])
    leaves = [node for node in ordered(outputs) if node.op.leaf and node.dtype.kind == "float" and node.ndim]
    reached = [leaf for leaf in leaves if leaf.op.name == "data"]
    try:
        return [loss, *gradients([loss], reached, unconnected="zero")]
    except TreadleError:
        return []


def add_up(nodes: Sequence[Node]) -> Node:
    result = nodes[0]
    for node in nodes[1:]:
        result = add(result, node)
    return result
