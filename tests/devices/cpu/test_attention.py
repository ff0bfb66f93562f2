"""Kernels of attention and of its gradients against NumPy in float64, between guard pages, on every
instruction set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from guard import run_lowered

from treadle.devices.cpu.attention import WHOLE_HEADS, forward, gradient
from treadle.devices.cpu.attention_problem import Attention
from treadle.devices.cpu.target import host_isas
from treadle.ops.record import OPS

# Batch, heads, targets, sources, size, features; causal; the mask, of which some dimensions may be repeated.
CASES = [
    ((2, 2, 64, 64, 32, 32), True, None),
    ((3, 3, 5, 7, 8, 8), False, "bhts"),
    ((1, 1, 130, 127, 16, 80), True, None),
    ((2, 4, 33, 260, 33, 1), False, None),
    ((1, 2, 1, 1, 1, 1), True, None),
    ((1, 9, 70, 17, 20, 24), True, "bhts"),
    ((2, 3, 19, 150, 3, 5), False, "b1" + "1s"),
    ((1, 1, 65, 3, 7, 12), False, "11ts"),
    ((1, 2, 6, 129, 40, 17), True, "1h" + "t1"),
]


def laid_out(array: np.ndarray, order: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """[batch, heads, places, size] in memory in an order of these four, and the strides in elements."""
    axes = ["bhps".index(letter) for letter in order]
    memory = np.ascontiguousarray(array.transpose(axes))
    strides = memory.transpose(np.argsort(axes)).strides
    return memory, tuple(s // array.itemsize for s in strides)


def expected(name: str, *operands: np.ndarray, causal: bool, scale: float):
    """The reference, over [batch, heads, places, size], in float64."""
    mask = {"attention": 3, "attention_gradient": 6}[name]
    given = [np.swapaxes(x, 1, 2) if x.ndim == 4 and i != mask else x for i, x in enumerate(operands)]
    results = OPS[name].reference(*[x.astype(np.float64) for x in given], causal=causal, scale=scale)
    return [np.swapaxes(x, 1, 2) if x.ndim == 4 else x for x in results]


def check(case, dtype: str, isa, order: str) -> None:
    (batch, heads, targets, sources, size, features), causal, masked = case
    rng = np.random.default_rng(targets * sources)
    scale = 0.7 / size**0.5
    shapes = {
        "query": (targets, size),
        "key": (sources, size),
        "value": (sources, features),
        "g": (targets, features),
    }
    plain = {
        name: rng.standard_normal((batch, heads, *shape)).astype(dtype) for name, shape in shapes.items()
    }
    memory, strides = {}, {}
    for name, array in plain.items():
        memory[name], strides[name] = laid_out(array, order)
    masks, mask_strides = [], None
    if masked is not None:
        whole = dict(zip("bhts", (batch, heads, targets, sources)))
        small = rng.standard_normal([1 if letter == "1" else whole[letter] for letter in masked]).astype(
            dtype
        )
        small[rng.random(small.shape) < 0.3] = -np.inf
        small[..., 0, :] = -np.inf  # a query that sees nothing
        wide = np.broadcast_to(small, (batch, heads, targets, sources))
        mask_strides = tuple(s // small.itemsize for s in wide.strides)
        masks = [(small, wide)]
    made = {
        name: laid_out(np.zeros((batch, heads, *shape), dtype), "bphs")[1] for name, shape in shapes.items()
    }
    rows = (heads * targets, targets, 1)
    a = Attention(
        (batch, heads), targets, sources, size, features, strides["query"], strides["key"], strides["value"],
        mask_strides, made["g"], rows, rows, made["query"], made["key"], made["value"], scale, causal, dtype,
    )  # fmt: skip
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    given = [memory[name] for name in ("query", "key", "value")]
    y = np.zeros((batch, targets, heads, features), dtype)
    normalizer = np.zeros((batch, heads, targets), dtype)
    run_lowered(forward(a, isa), [*given, *(small for small, _ in masks)], [y, normalizer], isa)
    operands = [plain[name] for name in ("query", "key", "value")]
    wanted = expected("attention", *operands, *(wide for _, wide in masks), causal=causal, scale=scale)
    np.testing.assert_allclose(y.transpose(0, 2, 1, 3), wanted[0], **tolerance)
    np.testing.assert_allclose(normalizer, wanted[1], **tolerance)
    if masks:
        assert (y[:, 0] == 0).all()

    worth = np.sum(plain["g"] * y.transpose(0, 2, 1, 3), axis=-1)
    outputs = [
        np.zeros((batch, n, heads, w), dtype)
        for n, w in ((targets, size), (sources, size), (sources, features))
    ]
    steps = gradient(replace(a, result=strides["g"]), isa)
    assert len([s for s in steps.steps if "attention" in s.kernel.label]) == 1 + (batch * heads < WHOLE_HEADS)
    inputs = [memory["g"], worth, normalizer, *given, *(small for small, _ in masks)]
    run_lowered(steps, inputs, outputs, isa)
    operands = [plain["g"], worth, normalizer, *operands, *(wide for _, wide in masks)]
    wanted = expected("attention_gradient", *operands, causal=causal, scale=scale)
    for found, right in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(found.transpose(0, 2, 1, 3), right, **tolerance)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case[0])))
def test_of_float32(case, isa):
    check(case, "float32", isa, "bphs" if case[2] is None else "bhps")


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_of_float64(isa):
    check(CASES[5], "float64", isa, "bphs")


def test_operands_may_lie_in_any_order():
    for order in ("spbh", "hspb"):
        check(CASES[1], "float32", host_isas()[0], order)


def test_scores_of_all_pairs_are_never_there():
    shape = (1, 1, 4096, 4096, 32, 32)
    made = (4096 * 32, 4096 * 32, 32, 1)
    rows = (4096, 4096, 1)
    a = Attention((1, 1), *shape[2:], made, made, made, None, made, rows, rows, made, made, made, 1.0, False)
    for lowered in (forward(a, host_isas()[0]), gradient(a, host_isas()[0])):
        assert lowered.temporaries == ()
        assert max(step.kernel.scratch_nbytes for step in lowered.steps) < 100_000
