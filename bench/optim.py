"""What the optimizers add to a step: a compiled step on gradients that are given, against PyTorch's fused and
foreach optimizers, and a plain copy of as many bytes as a step must at least move.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from case import OURS, Calls, Case
from peers import torch

import treadle as td
from treadle import optim

ONE = ((10_000_000,),)
"""All parameters in one array."""
MANY = tuple(
    shape
    for width in (64, 128, 256, 512)
    for shape in ((width, width, 3, 3), (width,), (width,)) * (5 if width < 512 else 3)
)
"""Those of a network of convolutions with norms: 54 arrays, 11 M parameters."""
RULES: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    # name: (arrays read and written, ours, PyTorch's)
    "SGD": (3, lambda p: optim.SGD(p, 1e-3), lambda p, **way: torch.optim.SGD(p, 1e-3, **way)),
    "momentum": (
        5,
        lambda p: optim.SGD(p, 1e-3, momentum=0.9),
        lambda p, **way: torch.optim.SGD(p, 1e-3, momentum=0.9, **way),
    ),
    "Adam": (7, lambda p: optim.Adam(p, 1e-3), lambda p, **way: torch.optim.Adam(p, 1e-3, **way)),
    "AdamW": (7, lambda p: optim.AdamW(p, 1e-3), lambda p, **way: torch.optim.AdamW(p, 1e-3, **way)),
}
CALLS = 4
"""Parts of a batch, where gradients are added up: all but one of them read a sum and a gradient and write the
sum.
"""


def cases() -> list[Case]:
    """PyTorch is to be matched; the copy is there to see how far the memory goes."""
    peers = ("torch fused", "torch foreach")
    steps = [
        Case(f"{rule}, {name}", partial(step, rule, shapes), peers, 1.0, tolerance=None)
        for rule in RULES
        for name, shapes in (("10 M in one array", ONE), ("11 M in 54 arrays", MANY))
    ]
    return [
        *steps,
        Case(f"Adam, {CALLS} parts, 54 arrays", accumulating, ("torch foreach",), 1.0, tolerance=None),
        Case("Adam, loss scale, 54 arrays", scaling, ("torch fused",), 1.0, tolerance=None),
    ]


def numbers(shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


def ours(optimizer: Callable[..., Any], shapes: Any, **settings: Any) -> Callable[[], Any]:
    parameters = [td.Variable(value) for value in numbers(shapes)]
    gradients = [td.asarray(value) for value in numbers(shapes)]
    opt = optimizer(parameters, **settings)

    @td.compile
    def step(*gradients: td.Array) -> td.Array:
        opt.scaled(td.zeros(()))
        opt.step(gradients)
        return opt.groups[0].rate * 1.0

    return lambda: step(*gradients)


def tensors(shapes: Any) -> list[Any]:
    parameters = [torch.from_numpy(value).requires_grad_() for value in numbers(shapes)]
    for parameter, gradient in zip(parameters, numbers(shapes), strict=True):
        parameter.grad = torch.from_numpy(gradient)
    return parameters


def step(rule: str, shapes: Any) -> Calls:
    moved, make, theirs = RULES[rule]
    calls: dict[str, Callable[[], Any]] = {OURS: ours(make, shapes)}
    count = sum(int(np.prod(shape)) for shape in shapes)
    source, target = np.ones(moved * count // 2, np.float32), np.ones(moved * count // 2, np.float32)
    calls["copy"] = lambda: np.copyto(target, source)
    if torch is not None:
        for way in ("fused", "foreach"):
            calls[f"torch {way}"] = theirs(tensors(shapes), **{way: True}).step
    return calls


def accumulating() -> Calls:
    """All calls of a batch, the last of which makes a step."""
    one = ours(partial(optim.Adam, rate=1e-3, accumulate=CALLS), MANY)
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: [one() for _ in range(CALLS)]}
    if torch is not None:
        parameters = tensors(MANY)
        gradients = [p.grad.clone() for p in parameters]
        optimizer = torch.optim.Adam(parameters, 1e-3, foreach=True)
        sums = [p.grad for p in parameters]

        def batch() -> None:
            torch._foreach_zero_(sums)
            for _ in range(CALLS):
                torch._foreach_add_(sums, gradients)
            torch._foreach_div_(sums, CALLS)
            optimizer.step()

        calls["torch foreach"] = batch
    return calls


def scaling() -> Calls:
    one = ours(partial(optim.Adam, rate=1e-3), MANY, loss_scale=optim.LossScale(1.0, growth=1.0))
    calls: dict[str, Callable[[], Any]] = {OURS: one}
    if torch is not None:
        optimizer = torch.optim.Adam(tensors(MANY), 1e-3, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=1.0, growth_factor=1.0000001)
        scaler.scale(torch.zeros(()))

        def scaled() -> None:
            scaler.step(optimizer)
            scaler.update()

        calls["torch fused"] = scaled
    return calls
