"""Example operands and attributes for every op record: the tests over all records need no list of ops.

A new elementwise op is covered by its arity and, where the default operands lie outside its domain, by one
row of `DOMAINS`. Every other record needs one row of `EXAMPLES`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import treadle  # noqa: F401  so that every family has registered its records
from treadle import dtypes
from treadle.dtypes import DType
from treadle.errors import DTypeError
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.channels_last import CHANNELS_FIRST
from treadle.ops.record import OPS, results

REAL = tuple(dtype for dtype in dtypes.ALL if dtype.kind != "complex")


@dataclass(frozen=True)
class Example:
    """One application of a record: NumPy arrays and attributes, and which of several results is meant."""

    op: Op
    arrays: tuple[np.ndarray, ...]
    attributes: tuple[Any, ...] = ()
    result: int = 0

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(zip(self.op.attributes, self.attributes, strict=True))

    def node(self, *inputs: Node) -> Node:
        return results(make(self.op, inputs, self.attributes))[self.result]

    def expected(self) -> np.ndarray:
        """The reference's value, which must be of the shape and dtype that the record infers."""
        assert self.op.reference is not None
        types = [Type(a.shape, dtypes.as_dtype(a.dtype)) for a in self.arrays]
        inferred = self.op.infer(*types, **self.keywords)
        with np.errstate(all="ignore"):
            value = self.op.reference(*self.arrays, **self.keywords)
        if type(inferred) is Types:
            inferred, value = inferred[self.result], value[self.result]
        value = np.asarray(value)
        assert (value.shape, value.dtype) == (inferred.shape, inferred.dtype.numpy), (self, value.dtype)
        return value

    def __repr__(self) -> str:
        operands = [f"{a.dtype}{list(a.shape)}" for a in self.arrays]
        return f"{self.op.name}({', '.join(operands)}){self.attributes or ''}"


class Draw:
    """Operands of one dtype, the same in every run."""

    def __init__(self, name: str, dtype: DType):
        self.dtype = dtype
        self.generator = np.random.default_rng(list(f"{name} {dtype.name}".encode()))

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
        """Numbers between low and high; of an integer dtype those between ten times as much."""
        return self.of(self.dtype, shape, low, high)

    def of(self, dtype: DType, shape: Sequence[int], low: float = -2.0, high: float = 2.0) -> np.ndarray:
        if dtype.kind == "bool":
            return self.generator.integers(0, 2, shape).astype(bool)
        if dtype.kind in ("int", "uint"):
            least = 0 if dtype.kind == "uint" else round(10 * low)
            return self.generator.integers(max(least, round(10 * low)), round(10 * high) + 1, shape).astype(
                dtype.numpy
            )
        values = np.asarray(self.generator.uniform(low, high, shape))
        if dtype.kind == "complex":
            values = values + 1j * self.generator.uniform(low, high, shape)
        return values.astype(dtype.numpy)

    def apart(self, *shape: int) -> np.ndarray:
        """Numbers of which no two are near each other, as differentiating a maximum needs."""
        count = int(np.prod(shape))
        values = self.generator.permutation(count).reshape(shape)
        if self.dtype.kind == "float":
            return (values * (4 / max(count, 1)) - 2).astype(self.dtype.numpy)
        return (values % (2 if self.dtype.kind == "bool" else 100)).astype(self.dtype.numpy)

    def indices(self, shape: Sequence[int], size: int, dtype: DType = dtypes.int64) -> np.ndarray:
        return self.generator.integers(0, size, shape).astype(dtype.numpy)


# -- elementwise records

DOMAINS: dict[str, tuple[tuple[float, float], ...]] = {
    "sqrt": ((0.1, 3),), "log": ((0.1, 3),), "log1p": ((-0.9, 3),), "log2": ((0.1, 3),), "log10": ((0.1, 3),),
    "asin": ((-0.9, 0.9),), "acos": ((-0.9, 0.9),), "atanh": ((-0.9, 0.9),), "acosh": ((1.1, 3),),
    "reciprocal": ((0.2, 3),), "tan": ((-1.4, 1.4),),
    "divide": ((-2, 2), (0.2, 3)), "floor_divide": ((-9, 9), (0.2, 3)), "remainder": ((-9, 9), (0.2, 3)),
    "pow": ((0.1, 1.2), (-0.3, 0.5)), "bitwise_left_shift": ((-2, 2), (0, 7)),
    "bitwise_right_shift": ((-9, 9), (0, 7)),
}  # fmt: skip
"""From where to where the operands of an elementwise record go, if not from -2 to 2."""

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-3, 40.0, np.inf, -np.inf, np.nan)
CAST_KINDS = {"float": REAL, "int": REAL, "uint": REAL, "bool": REAL, "complex": dtypes.ALL[-2:]}


def arity(op: Op) -> int:
    """How many operands a record of fixed arity takes."""
    return len(inspect.signature(op.infer).parameters) - len(op.attributes)


def elementwise(op: Op, dtype: DType) -> list[Example]:
    """Operands in the domain, of a size that no vector divides; without dimensions; none; special values."""
    draw = Draw(op.name, dtype)
    count = arity(op)
    kinds = [dtypes.bool if op.name == "where" and i == 0 else dtype for i in range(count)]
    domains = DOMAINS.get(op.name, ())
    domains += ((-2.0, 2.0),) * (count - len(domains))
    shapes = ((3, 19), (), (0, 2))
    sets = [
        [draw.of(kind, shape, *domain) for kind, domain in zip(kinds, domains, strict=True)]
        for shape in shapes
    ]
    if dtype.kind == "float" and count <= 2:
        rows = np.array(list(itertools.product(SPECIAL, repeat=count))).T
        sets.append([row.astype(dtype.numpy) for row in rows])
    return [Example(op, tuple(arrays)) for arrays in sets]


def _astype(op: Op, dtype: DType) -> list[Example]:
    draw = Draw("astype", dtype)
    examples = []
    for target in CAST_KINDS[dtype.kind]:
        # What a negative or huge float is as an unsigned integer is not defined.
        low = 0.0 if target.kind == "uint" and dtype.kind == "float" else -9.0
        examples.append(Example(op, (draw(3, 19, low=low, high=9.0),), (target,)))
    return examples


# -- the others: what a record's function takes beyond the dtype


def reductions(*shapes_and_axes: tuple[tuple[int, ...], Any]) -> Callable[[Op, DType], list[Example]]:
    def examples(op: Op, dtype: DType) -> list[Example]:
        draw = Draw(op.name, dtype)
        low, high = (0.8, 1.2) if op.name == "prod" and dtype.kind == "float" else (-2.0, 2.0)
        chooses = op.name in ("max", "min", "argmax", "argmin") and dtype.kind == "float"
        return [
            Example(op, (draw.apart(*shape) if chooses else draw(*shape, low=low, high=high),), (axes,))
            for shape, axes in shapes_and_axes
        ]

    return examples


ALONG = (((3, 19), (1,)), ((3, 19), (0,)), ((2, 3, 5), (0, 2)), ((17,), (0,)), ((2, 3), ()))
EMPTY = (((3, 0), (1,)), ((0, 3), (1,)), ((0,), (0,)))


def plain(
    *cases: tuple[tuple[tuple[int, ...], ...], tuple[Any, ...]],
) -> Callable[[Op, DType], list[Example]]:
    """Examples that are operands of given shapes, and attributes."""

    def examples(op: Op, dtype: DType) -> list[Example]:
        draw = Draw(op.name, dtype)
        return [Example(op, tuple(draw(*s) for s in shapes), attributes) for shapes, attributes in cases]

    return examples


def _running(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    cases = (((3, 19), 1, False), ((3, 5, 4), 1, True), ((0, 2), 0, False), ((7,), 0, True))
    return [
        Example(op, (draw(*shape, low=0.5, high=1.5),), tuple(attributes)) for shape, *attributes in cases
    ]


def _sorting(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    return [Example(op, (draw.apart(3, 7),), (1, False)), Example(op, (draw.apart(5, 2),), (0, True))]


def _gelu(op: Op, dtype: DType) -> list[Example]:
    """Where the sum of 1 and what is near -1 does not lose the digits that are compared."""
    draw = Draw(op.name, dtype)
    return [
        Example(op, (draw(*shape, low=-0.5, high=2.0),), (approximate,))
        for shape in ((3, 19), (), (0, 2))
        for approximate in (False, True)
    ]


def _gather(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    return [
        Example(op, (draw(5, 7), draw.indices((3, 4), 5)), ((0,),)),
        Example(op, (draw(5, 7), draw.indices((9,), 7, dtypes.int32)), ((1,),)),
        Example(op, (draw(3, 4, 5), draw.indices((6,), 5), draw.indices((6,), 3)), ((2, 0),)),
        Example(op, (draw(5, 7), draw.indices((0,), 5)), ((0,),)),
        Example(op, (draw(5), draw.indices((), 5)), ((0,),)),
    ]


def _class_number(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    if dtype.kind not in ("int", "uint"):
        return []
    return [Example(op, (draw.indices(shape, 7, dtype),), (7,)) for shape in ((3, 19), (5,), (0,), ())]


def _scatter(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    return [
        Example(op, (draw(5, 7), draw(6, 7), draw.indices((6,), 5)), ((0,),)),
        Example(op, (draw(5, 7), draw(9, 5), draw.indices((9,), 7, dtypes.int32)), ((1,),)),
        Example(op, (draw(3, 4, 5), draw(6, 4), draw.indices((6,), 5), draw.indices((6,), 3)), ((2, 0),)),
        Example(op, (draw(5, 7), draw(0, 7), draw.indices((0,), 5)), ((0,),)),
    ]


def _iota(op: Op, dtype: DType) -> list[Example]:
    return [Example(op, (), (size, dtype)) for size in (0, 2, 19)][: 2 if dtype.kind == "bool" else 3]


def _random_bits(op: Op, dtype: DType) -> list[Example]:
    key = np.array([12345, 67890], np.uint32)
    return [Example(op, (key,), (shape, word)) for shape in ((), (5, 7), (0, 2)) for word in (0, 1)]


def _random_at(op: Op, dtype: DType) -> list[Example]:
    key = np.array([12345, 67890], np.uint32)
    counters = [
        np.array(3, np.uint64),
        np.arange(19, dtype=np.uint64) + (1 << 63),
        np.zeros((0, 2), np.uint64),
    ]
    return [Example(op, (key, counter), (word,)) for counter in counters for word in (0, 1)]


def _concat(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    return [
        Example(op, (draw(2, 3), draw(4, 3), draw(0, 3)), (0,)),
        Example(op, (draw(3, 5), draw(3, 2)), (1,)),
        Example(op, (draw(4),), (0,)),
    ]


# (sizes of x, sizes of the window, stride, padding, dilation, groups, channels in, channels out)
WINDOWS = (
    ((9,), (3,), (2,), ((1, 0),), (1,), 1, 2, 3),
    ((6, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, 3, 4),
    ((8, 7), (3, 2), (2, 1), ((0, 1), (1, 0)), (1, 2), 2, 4, 6),
    ((5, 5), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3, 3, 3),
    ((4, 5, 4), (2, 2, 2), (1, 2, 1), ((0, 0), (1, 0), (0, 0)), (1, 1, 1), 1, 2, 2),
)


def _convolution(op: Op, dtype: DType) -> list[Example]:
    """All three directions: a convolution has an input, a weight and an output, of which each takes two."""
    draw = Draw(op.name, dtype)
    examples = []
    for sizes, window, *shared, in_channels, out_channels in WINDOWS:
        x = Type((2, in_channels, *sizes), dtype)
        w = Type((out_channels, in_channels // shared[-1], *window), dtype)
        named = dict(zip(OPS["conv"].attributes, shared, strict=True))
        y = OPS["conv"].infer(x, w, **named)
        operands, extra = {
            "conv": ((x, w), ()),
            "conv_input_gradient": ((y, w), (sizes,)),
            "conv_weight_gradient": ((x, y), (window,)),
        }[op.name]
        arrays = tuple(draw(*operand.shape, low=-1, high=1) for operand in operands)
        examples.append(Example(op, arrays, (*extra, *shared)))
    return examples


def _matrices(op: Op, dtype: DType) -> list[Example]:
    """Stacks of matrices far from singular, whose values differ, and matrices without elements."""
    draw = Draw(op.name, dtype)
    if dtype.kind not in ("float", "complex"):
        return [Example(op, (draw(2, 2),) * arity(op), (False,) * len(op.attributes))]

    def square(*shape: int) -> np.ndarray:
        ladder = np.diag(np.arange(2, 2 + shape[-1])).astype(dtype.numpy)
        return (draw(*shape, low=-0.5, high=0.5) + ladder).astype(dtype.numpy)

    known = {"cholesky": ((False,), (True,)), "qr": (("reduced",),), "svd": ((False,),)}
    shapes = [(2, 3, 3), (1, 1), (0, 2, 2), (0, 0)]
    if op.name in ("qr", "svd", "svdvals", "pinv"):
        shapes += [(4, 3), (3, 5)]
    found = []
    for shape in shapes:
        x = square(*shape) if shape[-1] == shape[-2] else draw(*shape)
        others: tuple[np.ndarray, ...] = ()
        if op.name == "solve":
            others = (draw(*shape[:-1], 2),)
        elif op.name == "pinv":
            others = (np.full(shape[:-2], 1e-6, x.real.dtype),)
        for given in known.get(op.name, ((),)):
            types = [Type(a.shape, dtypes.as_dtype(a.dtype)) for a in (x, *others)]
            inferred = op.infer(*types, **dict(zip(op.attributes, given, strict=True)))
            count = len(inferred) if type(inferred) is Types else 1
            found += [Example(op, (x, *others), given, i) for i in range(count)]
    return found


def _spectra(op: Op, dtype: DType) -> list[Example]:
    """Lines of even and odd length, one value, several dimensions, a stack without lines; every norm."""
    draw = Draw(op.name, dtype)
    cases = {
        "fft": (
            ((3, 8), (1,), False, "backward"), ((5, 3), (0,), True, "ortho"), ((1,), (0,), False, "ortho"),
            ((2, 3, 4), (2, 0), True, "forward"), ((0, 4), (1,), False, "backward"),
        ),
        "rfft": (
            ((3, 8), 1, "backward"), ((5, 3), 0, "ortho"), ((2, 7), 1, "forward"), ((1,), 0, "ortho"),
            ((0, 4), 1, "backward"),
        ),
        "irfft": (
            ((3, 5), 8, 1, "backward"), ((3, 3), 5, 0, "ortho"), ((2, 4), 7, 1, "forward"),
            ((1,), 1, 0, "ortho"), ((0, 3), 4, 1, "backward"),
        ),
    }[op.name]  # fmt: skip
    return [Example(op, (draw(*shape),), tuple(attributes)) for shape, *attributes in cases]


POOLS = (
    ((9,), (3,), (2,), ((1, 1),)),
    ((6, 6), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((7, 6), (3, 2), (1, 2), ((1, 0), (0, 1))),
    ((3, 4, 4), (2, 2, 2), (1, 2, 2), ((0, 0),) * 3),
)


def _pooling(op: Op, dtype: DType) -> list[Example]:
    draw = Draw(op.name, dtype)
    examples = []
    for sizes, *place in POOLS:
        x = draw.apart(2, 3, *sizes)
        named = dict(zip(("window", "stride", "padding"), place, strict=True))
        pooled = OPS["max_pool"].infer(Type(x.shape, dtypes.float32), **named)
        if op.name == "max_pool":
            examples.append(Example(op, (x,), tuple(place)))
        elif op.name == "max_pool_gradient":
            examples.append(Example(op, (x, draw(*pooled.shape)), tuple(place)))
        elif op.name == "max_pool_select":
            examples.append(Example(op, (x, draw(*x.shape)), tuple(place)))
        else:
            back = op.name == "average_pool_gradient"
            for include in (True, False):
                operand = draw(*pooled.shape) if back else x
                examples.append(Example(op, (operand,), ((sizes,) if back else ()) + (*place, include)))
    return examples


def _channels_last(op: Op, dtype: DType) -> list[Example]:
    """Those of the record whose results have the channels in dimension 1."""
    return [replace(example, op=op) for example in examples(OPS[CHANNELS_FIRST[op.name]], dtype)]


ATTENDED = (
    (2, 3, 5, 2, 4, 4, False, False),
    (1, 19, 19, 1, 3, 17, True, False),
    (2, 4, 7, 3, 5, 2, True, True),
    (1, 3, 2, 1, 1, 1, False, True),
)


def _attention(op: Op, dtype: DType) -> list[Example]:
    """Self- and cross-attention, causal or masked; in one row nothing is seen."""
    draw = Draw(op.name, dtype)
    examples = []
    for batch, targets, sources, heads, size, features, causal, masked in ATTENDED:
        q, k = draw(batch, targets, heads, size), draw(batch, sources, heads, size)
        v = draw(batch, sources, heads, features)
        mask: tuple[np.ndarray, ...] = ()
        if masked and dtype.kind == "float":
            mask = (draw(batch, heads, targets, sources),)
            mask[0][:, :, :, -1] = -np.inf
            mask[0][0, 0, 1] = -np.inf
        attributes = (causal, 0.7)
        if op.name == "attention":
            examples += [Example(op, (q, k, v, *mask), attributes, result) for result in (0, 1)]
            continue
        g, worth = draw(batch, targets, heads, features), draw(batch, heads, targets)
        normalizer = draw(batch, heads, targets, low=3.0, high=4.0)
        operands = (g, worth, normalizer, q, k, v, *mask)
        examples += [Example(op, operands, attributes, result) for result in (0, 1, 2)]
    return examples


def _moments(op: Op, dtype: DType) -> list[Example]:
    """Both results, over dimensions that are neighbours or not; of a size that has a kernel of its own."""
    draw = Draw(op.name, dtype)
    shapes = [((3, 4, 5), (0, 1)), ((3, 4, 5), (0, 2)), ((19,), (0,)), ((2, 3), ()), ((1, 3), (0,))]
    if dtype in (dtypes.float32, dtypes.float64):
        shapes.append(((3, 700, 37), (0, 1)))
    return [Example(op, (draw(*shape),), (axes,), i) for shape, axes in shapes for i in (0, 1)]


EXAMPLES: dict[str, Callable[[Op, DType], list[Example]]] = {
    "astype": _astype,
    "broadcast_to": plain((((3, 1),), ((2, 3, 19),)), (((),), ((4,),)), (((1, 0),), ((5, 0),))),
    "reshape": plain((((3, 20),), ((5, 12),)), (((2, 0),), ((0, 3),)), (((1,),), ((),))),
    "permute_dims": plain((((3, 4, 5),), ((2, 0, 1),)), (((3, 19),), ((1, 0),)), (((0, 2),), ((1, 0),))),
    "slice": plain((((5, 19),), ((1, 3), (5, 18), (2, 3))), (((4,),), ((2,), (2,), (1,)))),
    "flip": plain((((3, 19),), ((1,),)), (((3, 4),), ((0, 1),)), (((0, 2),), ((0,),))),
    "pad": plain(
        (((3, 4), ()), (((1, 2, 0), (0, 1, 2)),)), (((5,), ()), (((-1, 2, 0),),)),
        (((0, 2), ()), (((1, 1, 0), (0, 0, 1)),)),
    ),
    "concat": _concat,
    "sum": reductions(*ALONG, *EMPTY), "prod": reductions(*ALONG, *EMPTY),
    "any": reductions(*ALONG, *EMPTY), "all": reductions(*ALONG, *EMPTY),
    "max": reductions(*ALONG), "min": reductions(*ALONG),
    "moments": _moments,
    "argmax": reductions(((3, 19), 1), ((3, 19), 0), ((5,), 0)),
    "argmin": reductions(((3, 19), 1), ((3, 19), 0)),
    "matmul": plain(
        (((5, 7), (7, 19)), ()), (((2, 3, 4), (2, 4, 5)), ()),
        (((1, 33), (33, 1)), ()), (((3, 0), (0, 2)), ()),
    ),
    "gelu": _gelu, "attention": _attention, "attention_gradient": _attention,
    "cumulative_sum": _running, "cumulative_prod": _running,
    "iota": _iota, "random_bits": _random_bits, "random_at": _random_at,
    "gather": _gather, "class_number": _class_number, "scatter_add": _scatter, "scatter_set": _scatter,
    "sort": _sorting, "argsort": _sorting,
    "conv": _convolution, "conv_input_gradient": _convolution, "conv_weight_gradient": _convolution,
    "max_pool": _pooling, "max_pool_gradient": _pooling, "max_pool_select": _pooling,
    "average_pool": _pooling, "average_pool_gradient": _pooling,
    **dict.fromkeys(CHANNELS_FIRST, _channels_last),
    "remark": plain((((3, 4),), ("a remark",))),
    "expect_size": plain((((3, 4),), (3, 2, "too few"))),
    **dict.fromkeys(
        ("solve", "inv", "pinv", "cofactors", "det", "slogdet", "cholesky", "qr", "svd", "svdvals", "eigh",
         "eigvalsh", "eig", "eigvals"), _matrices),
    "fft": _spectra, "rfft": _spectra, "irfft": _spectra,
    "keep": plain((((3, 4), (2,)), ())),
    "start": plain((((3, 4),), ())), "barrier": plain((((3, 4), (2,)), ())),
    "update": plain((((3, 4),), ())),
    "to": plain((((3, 4),), ("cpu",))),
    "checkpoint": plain((((3, 4), (2,)), (1,))), "custom_vjp": plain((((3, 4), (2,)), (1,))),
}  # fmt: skip

MATRICES = {"solving", "determinants", "decompositions", "eigen"}
"""Families of LAPACK's, which run their references and take matrices in the last two dimensions."""

ONLY = {"random_bits": (dtypes.uint32,), "random_at": (dtypes.uint32,)}
"""Records whose dtype is not the caller's choice."""


def examples(op: Op, dtype: DType) -> list[Example]:
    """What to try a record with in a dtype; nothing if the record refuses it.

    Raises:
        LookupError: the record is not elementwise and has no row here.
    """
    if dtype not in ONLY.get(op.name, (dtype,)):
        return []
    make_examples = EXAMPLES.get(op.name)
    if make_examples is None:
        if not op.elementwise:
            raise LookupError(f"{op.name} is not elementwise: give it a row in EXAMPLES")
        make_examples = elementwise
    try:
        found = make_examples(op, dtype)
        for example in found:
            types = [Type(a.shape, dtypes.as_dtype(a.dtype)) for a in example.arrays]
            op.infer(*types, **example.keywords)
    except DTypeError:
        return []
    return found


def family(op: Op) -> str:
    """The file that a record is from."""
    return op.infer.__module__.rsplit(".", 1)[1]
