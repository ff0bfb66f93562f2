"""What moves bytes: fused elementwise chains against a plain copy, softmax, layer-norm and Adam against
PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from case import OURS, Calls, Case
from peers import torch

import treadle as td

MILLION = 1 << 20
CHAINS: dict[str, tuple[int, Callable[..., Any]]] = {
    # name: (operands, the chain)
    "relu(a * b + c)": (3, lambda a, b, c: td.relu(a * b + c)),
    "a * 0.5 + sqrt(abs(a))": (1, lambda a: a * 0.5 + td.sqrt(td.abs(a))),
    "sigmoid(a) * tanh(b)": (2, lambda a, b: td.sigmoid(a) * td.tanh(b)),
}
IN_TORCH: dict[str, Callable[..., Any]] = {
    "relu(a * b + c)": lambda a, b, c: torch.relu(a * b + c),
    "a * 0.5 + sqrt(abs(a))": lambda a: a * 0.5 + torch.sqrt(torch.abs(a)),
    "sigmoid(a) * tanh(b)": lambda a, b: torch.sigmoid(a) * torch.tanh(b),
}
ROWS, COLUMNS = 4096, 1024
PARAMETERS = 10_000_000
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def cases() -> list[Case]:
    copies = ("copy by numpy", "copy by torch")
    chains = [
        Case(f"{name}, {millions} M", partial(chain, name, millions * MILLION), copies, 1 / 1.2)
        for name in CHAINS
        for millions in (4, 16)
    ]
    whole = [Case(name, make, ("torch",), 1.0) for name, make in ROWWISE.items()]
    return [*chains, *whole, Case("Adam, 10 M parameters", adam, ("torch",), 1.0, tolerance=None)]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def chain(name: str, count: int) -> Calls:
    """The chain, and copies that move as many bytes: half of them read, half written."""
    arity, function = CHAINS[name]
    operands = [random(count) for _ in range(arity)]
    ours = td.compile(function)
    given = [td.asarray(a) for a in operands]
    source = np.ones((arity + 1) * count // 2, np.float32)
    target = np.zeros_like(source)
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours(*given),
        "copy by numpy": lambda: np.copyto(target, source),
    }
    if torch is not None:
        tensors = [torch.from_numpy(a) for a in operands]
        torch_source, torch_target = torch.from_numpy(source), torch.from_numpy(target)

        def copy() -> None:
            torch_target.copy_(torch_source)

        calls["copy by torch"] = copy
        calls["torch"] = lambda: IN_TORCH[name](*tensors)
    return calls


def softmax() -> Calls:
    ours = td.compile(lambda x: td.softmax(x, axis=-1))
    return _rowwise(ours, lambda x: torch.softmax(x, -1), random(ROWS, COLUMNS))


def layer_norm() -> Calls:
    def ours(x, weight, bias):
        centred = x - td.mean(x, axis=-1, keepdims=True)
        variance = td.mean(td.square(centred), axis=-1, keepdims=True)
        return centred / td.sqrt(variance + 1e-5) * weight + bias

    def theirs(x, weight, bias):
        return torch.nn.functional.layer_norm(x, (COLUMNS,), weight, bias)

    return _rowwise(td.compile(ours), theirs, random(ROWS, COLUMNS), random(COLUMNS), random(COLUMNS))


ROWWISE = {
    f"softmax, [{ROWS}, {COLUMNS}]": softmax,
    f"layer-norm, [{ROWS}, {COLUMNS}]": layer_norm,
}


def _rowwise(ours: Callable[..., Any], theirs: Callable[..., Any], *operands: np.ndarray) -> Calls:
    given = [td.asarray(a) for a in operands]
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: ours(*given)}
    if torch is not None:
        tensors = [torch.from_numpy(a) for a in operands]
        calls["torch"] = lambda: theirs(*tensors)
        compiled = torch.compile(theirs)
        calls["torch.compile"] = lambda: compiled(*tensors)
    return calls


def adam() -> Calls:
    """One step of Adam on one array of parameters, with gradients that are given."""
    start, gradient = random(PARAMETERS), random(PARAMETERS)[::-1].copy()
    given = td.asarray(gradient)
    p, m, v = td.Variable(start), td.Variable(np.zeros_like(start)), td.Variable(np.zeros_like(start))
    count = td.Variable(np.float32(0))

    @td.compile
    def step(g):
        t = count + 1
        first = BETA1 * m + (1 - BETA1) * g
        second = BETA2 * v + (1 - BETA2) * td.square(g)
        scale = RATE / (1 - td.pow(BETA1, t))
        denominator = td.sqrt(second) / td.sqrt(1 - td.pow(BETA2, t)) + EPSILON
        for variable, value in ((count, t), (m, first), (v, second), (p, p - scale * first / denominator)):
            variable.assign(value)
        return t

    calls: dict[str, Callable[[], Any]] = {OURS: lambda: step(given)}
    if torch is not None:
        tensor = torch.from_numpy(start.copy()).requires_grad_()
        tensor.grad = torch.from_numpy(gradient)
        optimizer = torch.optim.Adam([tensor], RATE, (BETA1, BETA2), EPSILON, fused=True)
        calls["torch"] = lambda: optimizer.step()
        for call in calls.values():
            call()
        error = float(np.abs(np.asarray(p) - tensor.detach().numpy()).max())
        if not error < 1e-5:
            raise AssertionError(f"Adam differs from PyTorch's by {error}")
    return calls
