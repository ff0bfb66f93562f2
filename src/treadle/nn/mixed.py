"""Mixed precision: products in 16 bits, what is delicate in float32, by the name of the operation.

Parameters stay float32: a product takes them, and what it is applied to, as 16-bit values, and gradients come
back to them in float32. Knows nothing of modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import treadle as td
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError
from treadle.graph.node import surrounded, surroundings
from treadle.structure import fill, take_outputs

NARROW = ("matmul", "tensordot", "einsum", "conv", "scaled_dot_product_attention")
"""What computes in 16 bits: it adds up in float32 and rounds once."""
WIDE = (
    "exp", "expm1", "log", "log1p", "log2", "log10", "logaddexp", "pow", "square", "hypot", "sinh", "cosh",
    "tan", "asin", "acos", "asinh", "acosh", "atanh", "sum", "prod", "mean", "var", "std", "cumulative_sum",
    "cumulative_prod", "softmax", "log_softmax", "logsumexp", "vector_norm", "matrix_norm", "vecdot",
)  # fmt: skip
"""What computes in float32: sums, and functions whose range or precision is more than 16 bits hold."""
HALVES = (td.float16, td.bfloat16)


@cache
def policy(dtype: DType) -> dict[str, DType] | None:
    """The dtype of each operation that does not compute in that of its operands; None where all do."""
    if dtype is td.float32:
        return None
    return {**dict.fromkeys(NARROW, dtype), **dict.fromkeys(WIDE, td.float32)}


def checked_dtype(dtype: Any) -> DType:
    """A dtype to compute in.

    Raises:
        ArgumentError: it is not bfloat16, float16 or float32.
    """
    found = as_dtype(dtype)
    if found not in (*HALVES, td.float32):
        raise ArgumentError(f"[mixed] dtype={found}; products are computed in bfloat16, float16 or float32")
    return found


@contextmanager
def mixed(dtype: Any = "bfloat16") -> Iterator[None]:
    """A block in which products and convolutions of float32 arrays are computed in 16 bits (Micikevicius et
    al. 2018, arXiv:1710.03740).

    Sums, softmax, exponentials, logarithms and the like take 16-bit operands as float32; everything else
    computes in the dtype of its operands. Gradients follow the types of what they are gradients of, wherever
    they are taken. float16, whose range is small, wants a `loss_scale` in the optimizer. For a whole module,
    set its `compute_dtype`.

    Args:
        dtype: "bfloat16" or "float16"; "float32" for a block inside another in which nothing is mixed.

    Raises:
        ArgumentError: it is another dtype.

    >>> import treadle as td
    >>> x = td.ones((2, 3))
    >>> with td.nn.mixed("bfloat16"):
    ...     y = x @ td.ones((3, 4))
    ...     y.dtype, td.softmax(y).dtype
    (bfloat16, float32)
    """
    with surrounded(mixed=policy(checked_dtype(dtype))):
        yield


def called(dtype: DType, function: Callable[..., Any], inputs: Any, keywords: Any) -> Any:
    """A function's result, computed in a dtype: outermost, what comes out is float32."""
    if dtype is td.float32:
        inputs, keywords = widened(inputs), widened(keywords)
    outermost = surroundings.mixed is None
    with surrounded(mixed=policy(dtype)):
        result = function(*inputs, **keywords)
    return widened(result) if outermost else result


def widened(structure: Any) -> Any:
    """A structure with its 16-bit arrays in float32; all else as it is."""
    leaves: list[Any] = []
    shape = take_outputs(structure, leaves)
    if not any(node.dtype in HALVES for node in leaves):
        return structure
    return fill(shape, iter([wide(td.Array(node)) for node in leaves]))


def wide(x: td.Array) -> td.Array:
    """A 16-bit array in float32, any other as it is."""
    return td.astype(x, td.float32) if x.dtype in HALVES else x


def as_narrow(y: td.Array, x: td.Array) -> td.Array:
    """What was computed of `wide(x)`, as narrow as x."""
    return td.astype(y, x.dtype) if x.dtype in HALVES else y
