"""JAX's side of the workloads, jitted, images channels-last inside. Loaded by `child.py`.

Parameters are a dict under PyTorch's names; weights of convolutions are kept as JAX likes them, window first.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

Values = dict[str, Any]
MOMENTUM, BETAS, EPSILON = 0.9, (0.9, 0.999), 1e-8


def dense(w: Values, name: str, x):
    x = x @ w[f"{name}.weight"]
    return x + w[f"{name}.bias"] if f"{name}.bias" in w else x


def conv(w: Values, name: str, x, stride: int = 1, padding: int = 0, groups: int = 1):
    x = lax.conv_general_dilated(
        x, w[f"{name}.weight"], (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip
    return x + w[f"{name}.bias"] if f"{name}.bias" in w else x


def max_pool(x, window: int, stride: int, padding: int = 0):
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


def layer_norm(w: Values, name: str, x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


class Norms:
    """Batch-norms: of a batch, with the new running statistics, or in inference of those."""

    def __init__(self, w: Values, trains: bool):
        self.w, self.trains = w, trains
        self.statistics: Values = {}

    def __call__(self, name: str, x):
        w = self.w
        mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        if self.trains:
            of_batch = x.mean((0, 1, 2)), x.var((0, 1, 2))
            count = x.size // x.shape[-1]
            self.statistics[f"{name}.running_mean"] = 0.9 * mean + 0.1 * of_batch[0]
            self.statistics[f"{name}.running_var"] = 0.9 * variance + 0.1 * of_batch[1] * count / (count - 1)
            mean, variance = of_batch
        return (x - mean) * (lax.rsqrt(variance + 1e-5) * w[f"{name}.weight"]) + w[f"{name}.bias"]


def two_layer(w: Values, x, norms: Norms, inputs: int, hidden: int, outputs: int):
    return dense(w, "output", jax.nn.relu(dense(w, "hidden", x)))


def lenet(w: Values, x, norms: Norms):
    x = max_pool(jax.nn.relu(conv(w, "conv1", x)), 2, 2)
    x = max_pool(jax.nn.relu(conv(w, "conv2", x)), 2, 2)
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    return dense(w, "dense2", jax.nn.relu(dense(w, "dense1", x)))


def lstm(w: Values, x, norms: Norms, inputs: int, width: int):
    before = x.swapaxes(0, 1) @ w["weight_ih_l0"] + (w["bias_ih_l0"] + w["bias_hh_l0"])

    def cell(state, now):
        h, c = state
        i, f, g, o = jnp.split(now + h @ w["weight_hh_l0"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], width))
    return lax.scan(cell, (zeros, zeros), before)[1].swapaxes(0, 1)


def gpt(w: Values, x, norms: Norms, vocabulary: int, context: int, layers: int, width: int, heads: int):
    def split(y):
        return y.reshape(*y.shape[:2], heads, width // heads).swapaxes(1, 2)

    y = w["embedding.weight"][x] + w["positions"][: x.shape[1]]
    past = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    for block in (f"blocks.{number}" for number in range(layers)):
        z = layer_norm(w, f"{block}.norm1", y)
        query, key, value = (
            split(dense(w, f"{block}.attention.{part}", z)) for part in ("query", "key", "value")
        )
        scores = jnp.where(past, query @ key.swapaxes(2, 3) * (width // heads) ** -0.5, -jnp.inf)
        taken = (jax.nn.softmax(scores) @ value).swapaxes(1, 2).reshape(y.shape)
        y = y + dense(w, f"{block}.attention.output", taken)
        z = jax.nn.gelu(dense(w, f"{block}.widen", layer_norm(w, f"{block}.norm2", y)), approximate=True)
        y = y + dense(w, f"{block}.narrow", z)
    return layer_norm(w, "norm", y) @ w["embedding.weight"].T


def resnet(w: Values, x, norms: Norms, depth: int, width: int = 64, num_classes: int = 1000):
    x = max_pool(jax.nn.relu(norms("bn1", conv(w, "conv1", x, 2, 3))), 3, 2, 1)
    for stage, count in enumerate({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]):
        for number in range(count):
            block, stride = f"layer{stage + 1}.{number}", 2 if stage and not number else 1
            # The stride is in the first 3 x 3 window.
            strides = (1, stride, 1) if depth >= 50 else (stride, 1)
            y = x
            for i, by in enumerate(strides, 1):
                window = w[f"{block}.conv{i}.weight"].shape[0]
                y = norms(f"{block}.bn{i}", conv(w, f"{block}.conv{i}", y, by, window // 2))
                y = jax.nn.relu(y) if i < len(strides) else y
            if f"{block}.downsample.0.weight" in w:
                x = norms(f"{block}.downsample.1", conv(w, f"{block}.downsample.0", x, stride))
            x = jax.nn.relu(x + y)
    return dense(w, "fc", x.mean((1, 2)))


def vgg(w: Values, x, norms: Norms, depth: int, num_classes: int = 1000):
    number = 0
    for count in {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}[depth]:
        for _ in range(count):
            x = jax.nn.relu(conv(w, f"features.{number}", x, padding=1))
            number += 2
        x = max_pool(x, 2, 2)
        number += 1
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # 7 x 7 already, of images of 224 x 224
    for name in ("classifier.0", "classifier.3"):
        x = jax.nn.relu(dense(w, name, x))
    return dense(w, "classifier.6", x)


def mobilenet_v2(w: Values, x, norms: Norms, num_classes: int = 1000):
    def unit(name: str, x, stride: int = 1, groups: int = 1):
        window = w[f"{name}.0.weight"].shape[0]
        return jnp.clip(norms(f"{name}.1", conv(w, f"{name}.0", x, stride, window // 2, groups)), 0, 6)

    groups = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
              (6, 320, 1, 1))  # fmt: skip
    x, number = unit("features.0", x, 2), 1
    for expansion, outputs, repeats, first in groups:
        for repeat in range(repeats):
            part, stride = f"features.{number}.conv", 1 if repeat else first
            y = x if expansion == 1 else unit(f"{part}.0", x)
            at = int(expansion != 1)
            y = unit(f"{part}.{at}", y, stride, y.shape[-1])
            y = norms(f"{part}.{at + 2}", conv(w, f"{part}.{at + 1}", y))
            x = x + y if stride == 1 and x.shape[-1] == outputs else y
            number += 1
    return dense(w, "classifier.1", unit(f"features.{number}", x).mean((1, 2)))


NETWORKS: dict[str, Callable[..., Any]] = {
    "two_layer": two_layer,
    "lenet": lenet,
    "lstm": lstm,
    "gpt": gpt,
    "resnet": resnet,
    "vgg": vgg,
    "mobilenet_v2": mobilenet_v2,
}


def _kept(name: str, value: np.ndarray) -> np.ndarray:
    """A value in the order in which JAX is fastest."""
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(2, 3, 1, 0))
    turned = value.ndim == 2 and name.rpartition(".")[2].startswith("weight") and "embedding" not in name
    return np.ascontiguousarray(value.T) if turned else value


def prepare(job: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """A step, and what reads its result."""
    workload = job["workload"]
    net = partial(NETWORKS[workload["network"]], **workload["options"])
    statistics: Values = {}
    weights: Values = {}
    with np.load(job["values"]) as values:
        for name in values:
            into = statistics if ".running_" in name else weights
            into[name] = jnp.asarray(_kept(name, values[name]))
    x = job["batch"]["x"]
    x = jnp.asarray(np.moveaxis(x, 1, -1) if x.ndim == 4 else x)

    if not workload["trains"]:
        run = jax.jit(lambda w, x: net(w, x, Norms(w, False)))
        everything = {**weights, **statistics}
        return lambda: run(everything, x).block_until_ready(), np.asarray
    y = jnp.asarray(job["batch"]["y"])

    def loss_of(weights: Values, statistics: Values, x: Any, y: Any):
        w = {**weights, **statistics}
        norms = Norms(w, True)
        scores = net(w, x, norms)
        if not workload["labels"]:
            return jnp.square(scores - y).mean(), norms.statistics
        logs = jax.nn.log_softmax(scores)
        return -jnp.take_along_axis(logs, y[..., None], -1).mean(), norms.statistics

    adam = workload["optimizer"] == "adam"

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(weights: Values, statistics: Values, memory: Any, count: Any, x: Any, y: Any):
        (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(weights, statistics, x, y)
        rate = workload["rate"]
        if not adam:
            memory = jax.tree.map(lambda v, g: MOMENTUM * v + g, memory, grads)
            return jax.tree.map(lambda w, v: w - rate * v, weights, memory), statistics, memory, loss
        means, squares = memory
        means = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, means, grads)
        squares = jax.tree.map(lambda s, g: BETAS[1] * s + (1 - BETAS[1]) * g * g, squares, grads)
        unbiased = [1 - beta**count for beta in BETAS]
        weights = jax.tree.map(
            lambda w, m, s: w - rate * (m / unbiased[0]) / (jnp.sqrt(s / unbiased[1]) + EPSILON),
            weights, means, squares,
        )  # fmt: skip
        return weights, statistics, (means, squares), loss

    zeros = jax.tree.map(jnp.zeros_like, weights)
    state: list[Any] = [weights, statistics, (zeros, jax.tree.map(jnp.copy, zeros)) if adam else zeros]
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        given = [*state, float(steps), x, y]
        *state[:], loss = update(*given)
        jax.block_until_ready((state, loss))
        return loss

    del weights, statistics, zeros
    return step, np.asarray
