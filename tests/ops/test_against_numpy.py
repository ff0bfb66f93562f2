"""What users call of the elementwise, reduction and movement families, against NumPy: by references, and as
one compiled program.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.errors import ArgumentError, DTypeError, ShapeError

X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
M = X[0]
V = M[0]
B = X > 0
I = np.random.default_rng(1).integers(-9, 9, (3, 5))


def erf(x):
    return np.vectorize(math.erf, [np.float32])(x)


def numpy_softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def numpy_log_softmax(x):
    wide = x.astype(np.float64)
    return (wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True)).astype(np.float32)


CASES = {
    # elementwise
    "gelu": (lambda: td.gelu(td.asarray(X)), lambda: X * (1 + erf(X / np.sqrt(2))) / 2),
    "gelu by tanh": (
        lambda: td.gelu(td.asarray(X), approximate=True),
        lambda: X * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (X + 0.044715 * X**3))) / 2,
    ),
    "silu": (lambda: td.silu(td.asarray(X)), lambda: X / (1 + np.exp(-X))),
    "softplus": (lambda: td.softplus(td.asarray(X)), lambda: np.log1p(np.exp(X))),
    "relu": (lambda: td.relu(td.asarray(X)), lambda: np.maximum(X, 0)),
    "clip": (lambda: td.clip(td.asarray(X), -0.5, 0.5), lambda: np.clip(X, -0.5, 0.5)),
    "clip from below": (lambda: td.clip(td.asarray(X), 0.1), lambda: np.maximum(X, np.float32(0.1))),
    "clip by arrays": (
        lambda: td.clip(td.asarray(M), td.asarray(-(V**2)), td.asarray(V**2)),
        lambda: np.clip(M, -(V**2), V**2),
    ),
    "where": (lambda: td.where(td.asarray(B), td.asarray(X), 0.0), lambda: np.where(B, X, 0)),
    "operators": (
        lambda: (2 - td.asarray(X)) / (1 + td.asarray(X) ** 2) - (-td.asarray(V)),
        lambda: (2 - X) / (1 + X**2) + V,
    ),
    "integer operators": (
        lambda: (td.asarray(I) // 4) * 3 + td.asarray(I) % 5 - (td.asarray(I) << 1) + (7 & td.asarray(I)),
        lambda: (I // 4) * 3 + I % 5 - (I << 1) + (7 & I),
    ),
    "true division of integers by a number": (
        lambda: td.asarray(I) / 2.0,
        lambda: (I / 2).astype(np.float32),
    ),
    # reductions
    "std": (lambda: td.std(td.asarray(X), axis=1), lambda: X.std(axis=1)),
    "std as a method": (
        lambda: td.asarray(X).std(axis=(0, 2), correction=1.0, keepdims=True),
        lambda: X.std(axis=(0, 2), ddof=1, keepdims=True),
    ),
    "var": (lambda: td.var(td.asarray(X), axis=-1, correction=1.0), lambda: X.var(axis=-1, ddof=1)),
    "mean of all": (lambda: td.mean(td.asarray(X)), lambda: X.mean()),
    "sum of integers": (lambda: td.sum(td.asarray(I.astype(np.int8)), axis=0), lambda: I.sum(axis=0)),
    "prod": (lambda: td.prod(td.asarray(M), axis=0), lambda: M.prod(axis=0)),
    "max keeping dimensions": (
        lambda: td.max(td.asarray(X), axis=(0, 2), keepdims=True),
        lambda: X.max(axis=(0, 2), keepdims=True),
    ),
    "min": (lambda: td.min(td.asarray(X), axis=1), lambda: X.min(axis=1)),
    "argmax of all": (lambda: td.argmax(td.asarray(X)), lambda: np.int64(X.argmax())),
    "argmin": (lambda: td.argmin(td.asarray(X), axis=1), lambda: X.argmin(axis=1)),
    "any": (lambda: td.any(td.asarray(B), axis=2), lambda: B.any(axis=2)),
    "all": (lambda: td.all(td.asarray(B)), lambda: B.all()),
    "count_nonzero": (lambda: td.count_nonzero(td.asarray(I), axis=1), lambda: np.count_nonzero(I, axis=1)),
    "logsumexp": (
        lambda: td.logsumexp(td.asarray(100 * X), axis=1),
        lambda: np.logaddexp.reduce(100 * X, axis=1),
    ),
    "softmax": (lambda: td.softmax(td.asarray(50 * X), axis=0), lambda: numpy_softmax(50 * X, 0)),
    "log_softmax": (lambda: td.log_softmax(td.asarray(50 * X)), lambda: numpy_log_softmax(50 * X)),
    # movement
    "broadcast_arrays": (
        lambda: td.broadcast_arrays(td.asarray(M), td.asarray(V))[1],
        lambda: np.broadcast_to(V, M.shape),
    ),
    "unstack": (lambda: td.unstack(td.asarray(X), axis=1)[2], lambda: X[:, 2]),
    "stack": (lambda: td.stack([td.asarray(M), td.asarray(-M)], axis=1), lambda: np.stack([M, -M], axis=1)),
    "concat": (
        lambda: td.concat([td.asarray(M), td.asarray(M * 2)], axis=1),
        lambda: np.concatenate([M, M * 2], axis=1),
    ),
    "concat flattened": (
        lambda: td.concat([td.asarray(M), td.asarray(V)], axis=None),
        lambda: np.concatenate([M, V], axis=None),
    ),
    "matrix transposes": (
        lambda: td.asarray(X).mT + td.matrix_transpose(td.asarray(X)),
        lambda: 2 * X.transpose(0, 2, 1),
    ),
    "moveaxis": (lambda: td.moveaxis(td.asarray(X), 0, -1), lambda: np.moveaxis(X, 0, -1)),
    "roll": (lambda: td.roll(td.asarray(M), (1, -2), axis=(0, 1)), lambda: np.roll(M, (1, -2), axis=(0, 1))),
    "roll flattened": (lambda: td.roll(td.asarray(M), 3), lambda: np.roll(M, 3)),
    "tile": (lambda: td.tile(td.asarray(M), (2, 1, 3)), lambda: np.tile(M, (2, 1, 3))),
    "repeat": (lambda: td.repeat(td.asarray(M), 3, axis=1), lambda: np.repeat(M, 3, axis=1)),
    "flip": (lambda: td.flip(td.asarray(X)), lambda: np.flip(X)),
    "squeeze and expand": (
        lambda: td.squeeze(td.expand_dims(td.asarray(M), (0, 3)), 0),
        lambda: M[:, :, None],
    ),
    "newaxis": (lambda: td.asarray(M)[:, td.newaxis], lambda: M[:, None]),
    "reshape": (lambda: td.reshape(td.asarray(X), (4, -1)), lambda: X.reshape(4, -1)),
    **{
        f"pad {mode}": (
            lambda mode=mode: td.pad(td.asarray(M), ((1, 2), (3, 0)), mode=mode),
            lambda mode=mode: np.pad(M, ((1, 2), (3, 0)), mode=mode),
        )
        for mode in ("constant", "edge", "reflect", "wrap")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_by_references(name: str):
    made, expected = CASES[name]
    with td.device("reference"):
        found = made().numpy()
    check(found, expected())


def test_all_in_one_compiled_program(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    arrays = {name: made() for name, (made, _) in CASES.items()}
    with config.configured(check=True):
        td.evaluate(*arrays.values())
    for name, array in arrays.items():
        check(array.numpy(), CASES[name][1]())


def check(found, expected) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.asarray(M) + td.asarray(X[:, :3]), ShapeError, r"cannot be broadcast together"),
        (lambda: td.exp(td.asarray(I)), DTypeError, r"\[exp\] x is int64\[3, 5\].*astype"),
        (lambda: td.mean(td.asarray(I)), DTypeError, r"\[mean\] x is int64"),
        (lambda: td.sum(td.asarray(M), axis=2), ArgumentError, r"axis=2 is out of range .* 2 dimensions"),
        (lambda: td.sum(td.asarray(M), axis=(0, -2)), ArgumentError, "names a dimension twice"),
        (lambda: td.max(td.asarray(np.zeros((0, 3), np.float32)), axis=0), ShapeError, "no elements"),
        (lambda: td.argmax(td.asarray(np.zeros(0, np.float32))), ShapeError, "no elements"),
        (lambda: td.reshape(td.asarray(M), (3, 7)), ShapeError, "20 elements, the shape .* 21"),
        (lambda: td.reshape(td.asarray(M), (-1, 7)), ShapeError, "not a multiple of 7"),
        (lambda: td.reshape(td.asarray(M), (-1, -1)), ShapeError, "only one size may be -1"),
        (lambda: td.permute_dims(td.asarray(M), (0, 0)), ShapeError, "is not an order"),
        (lambda: td.squeeze(td.asarray(M), 0), ShapeError, "squeeze"),
        (lambda: td.broadcast_to(td.asarray(M), (5,)), ShapeError, "does not broadcast|larger"),
        (lambda: td.stack([td.asarray(M), td.asarray(V)]), ShapeError, r"arrays\[1\] has shape"),
        (lambda: td.concat([td.asarray(M), td.asarray(X[0, :, :2])], axis=0), ShapeError, r"arrays\[1\]"),
        (lambda: td.pad(td.asarray(V), 9, mode="reflect"), ArgumentError, "needs more elements"),
        (lambda: td.clip(td.asarray(V), 2.0, 1.0), ArgumentError, "min=2.0 is larger than max=1.0"),
        (lambda: td.where(td.asarray(M), 1.0, 0.0), DTypeError, "compare first"),
        (lambda: td.asarray(M) & 1, DTypeError, "bitwise_and"),
        (lambda: td.asarray(I.astype(np.uint8)) + 300, DTypeError, "300 does not fit uint8"),
    ],
)
def test_wrong_use_names_the_operation_and_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
