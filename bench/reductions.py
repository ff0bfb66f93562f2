"""Reductions, transposed copies and gathers of rows against NumPy and PyTorch: what reads much and computes
little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from case import OURS, Calls, Case
from memory_bound import MILLION, random
from peers import torch

import treadle as td

SHAPES: dict[str, tuple[tuple[int, ...], int | None]] = {
    # name: (shape, axis)
    "all of 16 M": ((16 * MILLION,), None),
    "last axis of [4096, 4096]": ((4096, 4096), 1),
    "first axis of [4096, 4096]": ((4096, 4096), 0),
    "middle axis of [64, 512, 512]": ((64, 512, 512), 1),
}
FOLDS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None, Callable[..., Any] | None]] = {
    # name: (ours, NumPy's, PyTorch's)
    "sum": (td.sum, np.sum, lambda x, a: x.sum() if a is None else x.sum(a)),
    "mean": (td.mean, np.mean, lambda x, a: x.mean() if a is None else x.mean(a)),
    "max": (td.max, np.max, lambda x, a: x.amax() if a is None else x.amax(a)),
    "var": (td.var, np.var, lambda x, a: x.var(correction=0) if a is None else x.var(a, correction=0)),
    "argmax": (td.argmax, np.argmax, lambda x, a: x.argmax() if a is None else x.argmax(a)),
}
QUANTIFIERS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "any": (td.any, np.any, lambda x, a: x.any() if a is None else x.any(a)),
    "all": (td.all, np.all, lambda x, a: x.all() if a is None else x.all(a)),
}
TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "[4096, 4096]": ((4096, 4096), (1, 0)),
    "[64, 512, 512] to [512, 64, 512]": ((64, 512, 512), (1, 0, 2)),
    "[64, 512, 512] to [64, 512, 512]": ((64, 512, 512), (0, 2, 1)),
    "[32, 64, 56, 56] to channels last": ((32, 64, 56, 56), (0, 2, 3, 1)),
}
TAKEN = {"64": (50_000, 64), "768": (30_000, 768)}


def cases() -> list[Case]:
    both = ("numpy", "torch")
    found = []
    for fold in FOLDS:
        for shape in SHAPES:
            found.append(Case(f"{fold}, {shape}", partial(reduction, fold, shape), both, 1 / 1.2))
    for fold in QUANTIFIERS:
        for shape in ("all of 16 M", "last axis of [4096, 4096]"):
            found.append(Case(f"{fold}, {shape}", partial(quantifier, fold, shape), both, 1 / 1.2))
    for name in TRANSPOSED:
        found.append(Case(f"transposed copy, {name}", partial(transposed, name), both, 1 / 1.2))
    for name in TAKEN:
        found.append(Case(f"32768 rows of {name}", partial(taken, name), both, 1 / 1.2))
    return found


def _calls(ours, in_numpy, in_torch, array: np.ndarray) -> Calls:
    compiled = td.compile(ours)
    given = td.asarray(array)
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: compiled(given), "numpy": lambda: in_numpy(array)}
    if torch is not None:
        tensor = torch.from_numpy(array)
        calls["torch"] = lambda: in_torch(tensor)
    return calls


def reduction(fold: str, name: str) -> Calls:
    shape, axis = SHAPES[name]
    ours, in_numpy, in_torch = FOLDS[fold]
    return _calls(
        lambda x: ours(x, axis=axis),
        lambda x: in_numpy(x, axis=axis),
        lambda x: in_torch(x, axis),
        random(*shape),
    )


def quantifier(fold: str, name: str) -> Calls:
    """Over booleans that make it look at all of them."""
    shape, axis = SHAPES[name]
    ours, in_numpy, in_torch = QUANTIFIERS[fold]
    array = np.full(shape, fold == "all")
    return _calls(
        lambda x: ours(x, axis=axis), lambda x: in_numpy(x, axis=axis), lambda x: in_torch(x, axis), array
    )


def transposed(name: str) -> Calls:
    shape, order = TRANSPOSED[name]
    return _calls(
        lambda x: td.permute_dims(x, order) + 0,
        lambda x: np.ascontiguousarray(x.transpose(order)),
        lambda x: x.permute(order).contiguous(),
        random(*shape),
    )


def taken(name: str) -> Calls:
    """The rows of a table that 32768 indices choose."""
    rows, columns = TAKEN[name]
    table = random(rows, columns)
    chosen = np.random.default_rng(1).integers(0, rows, 32768)
    ours = td.compile(lambda t, i: td.take(t, i, axis=0))
    given = td.asarray(table), td.asarray(chosen)
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours(*given),
        "numpy": lambda: np.take(table, chosen, axis=0),
    }
    if torch is not None:
        tensors = torch.from_numpy(chosen), torch.from_numpy(table)
        calls["torch"] = lambda: torch.nn.functional.embedding(*tensors)
    return calls
