"""Attention, forward and with its gradients, against PyTorch's, and layer-norm and softmax rows with theirs:
one thread, CPU time, both in one process and in turn.

    python bench/attention.py [rounds]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TREADLE_THREADS", "1")

import numpy as np
import torch
from torch.nn import functional

import treadle as td
from treadle import nn

SHAPES = ((16, 4, 64, 32, True), (16, 4, 64, 32, False), (4, 8, 512, 64, True), (1, 4, 1024, 64, False))
"""Batch, heads, places, size, causal; heads inside the features, as projections make them."""
ROWS = ((4096, 1024), (1024, 128))

Sides = tuple[Callable[[], Any], Callable[[], Any]]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def compiled(function: Callable[..., Any], arrays: list[np.ndarray]) -> Callable[[], Any]:
    given = [td.asarray(a) for a in arrays]
    step = td.compile(function)
    return lambda: step(*given)


def with_gradients(function: Callable[..., Any], parameters: Sequence[Any]) -> Callable[..., Any]:
    """The function of all but the last argument, and its gradients by them and by parameters; the last is the
    result's.
    """

    def both(*arrays: Any) -> Any:
        *xs, g = arrays
        y = function(*xs)
        return (y, *td.gradients(td.sum(y * g), [*xs, *parameters]))

    return both


def torch_gradients(function: Callable[..., Any], arrays: list[np.ndarray]) -> Callable[[], Any]:
    *xs, g = [torch.from_numpy(a.copy()) for a in arrays]
    for x in xs:
        x.requires_grad_()

    def both() -> None:
        for x in xs:
            x.grad = None
        function(*xs).backward(g)

    return both


def attention(batch: int, heads: int, places: int, size: int, causal: bool) -> dict[str, Sides]:
    arrays = [drawn(batch, places, heads, size) for _ in range(4)]

    def ours(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (td.permute_dims(x, (0, 2, 1, 3)) for x in (q, k, v))
        y = td.scaled_dot_product_attention(q, k, v, causal=causal)
        return td.permute_dims(y, (0, 2, 1, 3))

    def theirs(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)

    return both_ways(ours, theirs, arrays)


def both_ways(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: list[np.ndarray],
    parameters: Sequence[Any] = (),
    its_parameters: Sequence[np.ndarray] = (),
) -> dict[str, Sides]:
    """`theirs` takes its parameters as arguments behind the others."""
    *given, g = arrays
    forward = [torch.from_numpy(a) for a in (*given, *its_parameters)]

    def without_gradient() -> Any:
        with torch.no_grad():
            return theirs(*forward)

    both = compiled(with_gradients(ours, parameters), arrays)
    its = torch_gradients(theirs, [*given, *its_parameters, g])
    return {"forward": (compiled(ours, given), without_gradient), "and gradients": (both, its)}


def rowwise(rows: int, columns: int) -> dict[str, Sides]:
    arrays = [drawn(rows, columns), drawn(rows, columns)]
    norm = nn.LayerNorm(columns)

    def layer_norm(x: Any, w: Any, b: Any) -> Any:
        return functional.layer_norm(x, (columns,), w, b)

    first = [np.ones(columns, np.float32), np.zeros(columns, np.float32)]
    pairs = {
        "layer-norm": both_ways(norm, layer_norm, arrays, list(norm.parameters().values()), first),
        "softmax": both_ways(td.softmax, lambda x: torch.softmax(x, -1), arrays),
    }
    return {f"{name} {rows} x {columns}: {k}": v for name, pair in pairs.items() for k, v in pair.items()}


def cases() -> dict[str, Sides]:
    found: dict[str, Sides] = {}
    for batch, heads, places, size, causal in SHAPES:
        name = f"attention {batch} x {heads} x {places} x {size}{', causal' if causal else ''}"
        found |= {f"{name}: {k}": v for k, v in attention(batch, heads, places, size, causal).items()}
    for rows, columns in ROWS:
        found |= rowwise(rows, columns)
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    for name, sides in cases().items():
        times: list[list[float]] = [[], []]
        for round in range(rounds + 3):
            for side, run in zip(times, sides, strict=True):
                began = time.process_time()
                run()
                if round >= 3:
                    side.append(time.process_time() - began)
        ours, theirs = (float(np.median(side)) * 1e6 for side in times)
        print(f"{name}: {ours:.0f} us, PyTorch {theirs:.0f} us, {theirs / ours:.2f}x")


if __name__ == "__main__":
    main()
