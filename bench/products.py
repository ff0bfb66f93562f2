"""Square matrix products against NumPy's BLAS and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from case import OURS, Calls, Case
from peers import torch

import treadle as td

SIZES = (512, 1024, 2048)


def cases() -> list[Case]:
    return [Case(f"matmul, {n}", partial(product, n), ("numpy", "torch"), 1 / 1.2) for n in SIZES]


def product(n: int) -> Calls:
    a, b = np.random.default_rng(0).standard_normal((2, n, n), dtype=np.float32)
    given = td.asarray(a), td.asarray(b)
    ours = td.compile(lambda a, b: a @ b)
    out = np.empty_like(a)
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours(*given),
        "numpy": lambda: np.matmul(a, b, out=out),
    }
    if torch is not None:
        tensors = torch.from_numpy(a), torch.from_numpy(b)
        torch_out = torch.empty(n, n)
        calls["torch"] = lambda: torch.mm(*tensors, out=torch_out)
    return calls
