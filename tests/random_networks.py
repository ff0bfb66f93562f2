"""Random networks: a recipe is a list of small numbers, which hypothesis shrinks, and every recipe is a
network with a training step.

What it computes has one of three forms: images [batch, channels, height, width], series [batch, places,
features] and vectors [batch, features]. A row of a form's table makes a layer and says what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import treadle as td
from treadle import nn, optim

Step = tuple[int, int, int]
RECIPES = st.tuples(
    st.sampled_from(["image", "series", "vector"]),
    st.integers(1, 4),
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=7),
)
SIZES = (1, 3, 8, 16, 17, 20, 33)
CLASSES = 3

ACTIVATIONS: tuple[Callable[[td.Array], td.Array], ...] = (
    td.relu, td.tanh, td.gelu, nn.silu, td.sigmoid, nn.softplus, nn.leaky_relu,
)  # fmt: skip


def convolved(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    channels, *sizes = shape[1:]
    kind, window = b % 5, (3, 1, 3, 5, 2)[a % 5]
    window = min(window, *[n + 2 * (window // 2) for n in sizes])
    stride, outputs, groups = 1 + (kind == 1), SIZES[a % len(SIZES)], 1
    if kind == 2:
        outputs = groups = channels
    elif kind == 3 and channels % 2 == 0:
        outputs, groups = 2 * SIZES[a % 3], 2
    elif kind == 4:
        return nn.ConvTranspose(channels, outputs, window, stride=2, padding=window // 2, dtype=dtype)
    return nn.Conv(
        channels, outputs, window, stride=stride, padding=window // 2, groups=groups, bias=b % 2 == 0,
        dtype=dtype,
    )  # fmt: skip


def pooled(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    made = (nn.MaxPool, nn.AveragePool)[b % 2]
    return made(2, stride=1 + a % 2) if a % 3 else made(3, stride=2, padding=1)


def normalized(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    if b % 4 == 3:
        return nn.GroupNorm(1, shape[1], dtype=dtype)
    return nn.BatchNorm(shape[1], dtype=dtype)


def activated(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> Any:
    return ACTIVATIONS[a % len(ACTIVATIONS)] if b % 2 else td.relu


def image_block(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    channels, inner = shape[1], SIZES[a % len(SIZES)]
    parts = [nn.BatchNorm(channels, dtype=dtype), td.relu] if b % 2 else []
    parts += [
        nn.Conv(channels, inner, 3, padding=1, bias=False, dtype=dtype),
        nn.BatchNorm(inner, dtype=dtype),
    ]
    parts += [td.relu, nn.Conv(inner, channels, 1 + 2 * (b % 3 > 0), padding=int(b % 3 > 0), dtype=dtype)]
    return nn.Residual(*parts, activation=td.relu if b % 4 else None)


def rows(x: td.Array) -> td.Array:
    """An image as a series of its pixels."""
    return td.permute_dims(td.reshape(x, (*x.shape[:2], -1)), (0, 2, 1))


def dense(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    return nn.Dense(shape[-1], SIZES[a % len(SIZES)], bias=b % 3 > 0, dtype=dtype)


def layer_norm(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    return nn.LayerNorm(shape[-1], dtype=dtype)


def residual(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    size, inner = shape[-1], SIZES[a % len(SIZES)]
    parts = [nn.LayerNorm(size, dtype=dtype)] if b % 2 else []
    activation = ACTIVATIONS[b % len(ACTIVATIONS)]
    return nn.Residual(
        *parts, nn.Dense(size, inner, dtype=dtype), activation, nn.Dense(inner, size, dtype=dtype)
    )


class Recurrent(nn.Module):
    """The outputs of a recurrent layer without its state."""

    def __init__(self, inputs: int, width: int, a: int, b: int, dtype: Any):
        kind = (nn.LSTM, nn.GRU, nn.RNN)[a % 3]
        self.cells = kind(inputs, width, bidirectional=b % 3 == 0, layers=1 + (b % 4 == 0), dtype=dtype)

    def forward(self, x: td.Array) -> td.Array:
        return self.cells(x)[0]


def recurrent(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    return Recurrent(shape[-1], SIZES[b % len(SIZES)], a, b, dtype)


class Attentive(nn.Module):
    """Attention of a series to itself, with its residual."""

    def __init__(self, size: int, heads: int, causal: bool, dtype: Any):
        self.norm = nn.LayerNorm(size, dtype=dtype)
        self.attention = nn.MultiHeadAttention(size, heads, dtype=dtype)
        self.causal = causal

    def forward(self, x: td.Array) -> td.Array:
        return x + self.attention(self.norm(x), causal=self.causal)


def attentive(shape: tuple[int, ...], a: int, b: int, dtype: Any) -> nn.Module:
    size = shape[-1]
    heads = max(n for n in (1, 2, 4) if size % n == 0 and n <= 1 + a % 4)
    return Attentive(size, heads, b % 2 == 0, dtype)


def mean_of_series(x: td.Array) -> td.Array:
    return td.mean(x, axis=1)


def last_of_series(x: td.Array) -> td.Array:
    return x[:, -1]


def mean_of_image(x: td.Array) -> td.Array:
    return td.mean(x, axis=(2, 3))


def flat(x: td.Array) -> td.Array:
    return td.reshape(x, (x.shape[0], -1))


TABLE: dict[str, tuple[tuple[Callable[..., Any], str], ...]] = {
    "image": (
        (convolved, "image"), (image_block, "image"), (normalized, "image"), (pooled, "image"),
        (activated, "image"), (convolved, "image"),
        (lambda *_: mean_of_image, "vector"), (lambda *_: flat, "vector"), (lambda *_: rows, "series"),
    ),
    "series": (
        (dense, "series"), (recurrent, "series"), (attentive, "series"), (residual, "series"),
        (layer_norm, "series"), (activated, "series"),
        (lambda *_: mean_of_series, "vector"), (lambda *_: last_of_series, "vector"),
    ),
    "vector": (
        (dense, "vector"), (residual, "vector"), (layer_norm, "vector"), (normalized, "vector"),
        (activated, "vector"),
    ),
}  # fmt: skip
MOST = 6000
"""Elements of a layer's result; a layer that makes more is left out."""


def first_values(form: str, number: int) -> np.ndarray:
    batch = (2, 3, 5, 8)[number - 1]
    shapes = {"image": (batch, 3, 9, 8), "series": (batch, 7, 5), "vector": (batch + 2, 12)}
    return np.random.default_rng(number).standard_normal(shapes[form])


def build(recipe: tuple[str, int, Sequence[Step]], dtype: Any) -> tuple[nn.Module, td.Array]:
    """A network of that dtype, and what it is fed."""
    form, number, steps = recipe
    td.random.seed(number)
    x = td.asarray(first_values(form, number), dtype=dtype)
    parts, y = [], x
    for kind, a, b in steps:
        make, becomes = TABLE[form][kind % len(TABLE[form])]
        part = make(y.shape, a, b, dtype)
        try:
            made = part(y)
        except td.errors.TreadleError:  # an image that has become too small
            continue
        if made.size > MOST or 0 in made.shape or (make is normalized and y.size == y.shape[1]):
            continue
        parts.append(part)
        y, form = made, becomes
    ending = {"image": [mean_of_image], "series": [mean_of_series], "vector": []}[form]
    for part in ending:
        y = part(y)
    parts += [*ending, nn.Dense(y.shape[-1], CLASSES, dtype=dtype)]
    return nn.Sequential(*parts), x


def trained(
    recipe: tuple[str, int, Sequence[Step]], dtype: Any, steps: int, **options: Any
) -> list[np.ndarray]:
    """The losses of some steps, and the variables after them."""
    net, x = build(recipe, dtype)
    parameters = net.parameters()
    adam = recipe[1] % 2 == 0
    opt = optim.Adam(parameters, 1e-3) if adam else optim.SGD(parameters, 0.01, momentum=0.9)
    labels = td.asarray(np.arange(x.shape[0]) % CLASSES)

    def step(x: td.Array) -> td.Array:
        loss = nn.cross_entropy(net(x), labels)
        opt.step(td.gradients(loss, parameters, unconnected="zero"))
        return loss

    compiled = td.compile(step, **options)
    losses = [compiled(x).numpy() for _ in range(steps)]
    return [*losses, *net.state().values()]
