"""Layers and losses against PyTorch's numbers, kept in pytorch.npz by make_pytorch.py; in both layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import nn

FOUND = dict(np.load(Path(__file__).with_name("pytorch.npz")))


def wave(*shape, phase=0.0):
    return np.sin(np.arange(np.prod(shape), dtype="float32") * 0.7 + phase).reshape(shape)


def close(actual, name, tolerance=2e-4):
    np.testing.assert_allclose(np.asarray(actual), FOUND[name], rtol=tolerance, atol=tolerance, err_msg=name)


LAYERS = {
    "dense": (lambda layout: nn.Dense(4, 3), (5, 4)),
    "conv1": (lambda layout: nn.Conv(2, 4, (3,), padding=1, stride=2, layout=layout), (2, 2, 7)),
    "conv2": (lambda layout: nn.Conv(4, 6, 3, padding=2, dilation=2, groups=2, layout=layout), (2, 4, 6, 5)),
    "conv3": (lambda layout: nn.Conv(2, 3, 2, dimensions=3, layout=layout), (1, 2, 3, 4, 3)),
    "transposed1": (
        lambda layout: nn.ConvTranspose(3, 2, (4,), stride=2, padding=1, layout=layout),
        (2, 3, 5),
    ),
    "transposed2": (
        lambda layout: nn.ConvTranspose(
            4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, layout=layout
        ),
        (2, 4, 3, 4),
    ),
    "batch_norm": (lambda layout: nn.BatchNorm(3, layout=layout), (4, 3, 2, 2)),
    "layer_norm": (lambda layout: nn.LayerNorm((3, 4)), (2, 3, 4)),
    "group_norm": (lambda layout: nn.GroupNorm(2, 4, layout=layout), (2, 4, 3, 3)),
    "instance_norm": (lambda layout: nn.InstanceNorm(3, layout=layout), (2, 3, 4, 4)),
    "lrn": (lambda layout: nn.LocalResponseNorm(4, alpha=0.5, beta=0.75, k=2.0, layout=layout), (2, 6, 3, 3)),
    "max_pool": (lambda layout: nn.MaxPool(3, stride=2, padding=1, ceil=True, layout=layout), (2, 3, 8, 7)),
    "average_pool": (
        lambda layout: nn.AveragePool(3, stride=2, padding=1, ceil=True, layout=layout),
        (2, 3, 8, 6),
    ),
    "average_uncounted": (
        lambda layout: nn.AveragePool(3, stride=2, padding=1, count_padding=False, layout=layout),
        (2, 3, 8, 6),
    ),
    "adaptive_average": (lambda layout: nn.AdaptiveAveragePool((3, 5), layout=layout), (2, 3, 8, 7)),
    "adaptive_max": (lambda layout: nn.AdaptiveMaxPool(3, layout=layout), (2, 3, 8, 7)),
    "prelu": (lambda layout: nn.PReLU(3), (2, 3, 4)),
}
IMAGES = [name for name in LAYERS if name not in ("dense", "layer_norm", "prelu")]


def as_pytorch(name, path, value):
    """A parameter or its gradient as PyTorch has it: a dense layer's weight is transposed there."""
    return value.T if name == "dense" and path == "weight" else value


def check(name, layout):
    maker, shape = LAYERS[name]
    module = maker(layout)
    for i, (path, w) in enumerate(module.parameters().items()):
        turned = w.shape[::-1] if name == "dense" and path == "weight" else w.shape
        w.assign(as_pytorch(name, path, wave(*turned, phase=i + 1.0)))
    x = td.asarray(wave(*shape))
    x.requires_grad = True
    turn = (lambda a: td.moveaxis(a, 1, -1)) if layout == "NHWC" else (lambda a: a)
    back = (lambda a: td.moveaxis(a, -1, 1)) if layout == "NHWC" else (lambda a: a)
    y = back(module(turn(x)))
    parameters = module.parameters()
    dx, *dw = td.gradients(td.sum(y * wave(*y.shape, phase=0.5)), [x, *parameters.values()])
    close(y, f"{name}.y")
    close(dx, f"{name}.dx")
    for path, g in zip(parameters, dw, strict=True):
        close(as_pytorch(name, path, g.numpy()), f"{name}.d.{path}")
    for path, statistic in module.variables().items():
        if isinstance(statistic, nn.Statistic):
            close(statistic, f"{name}.s.{path}")


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    check(name, "NCHW")


@pytest.mark.parametrize("name", IMAGES)
def test_layers_with_channels_last(name):
    check(name, "NHWC")


ACTIVATIONS = {
    "leaky_relu": nn.leaky_relu, "elu": nn.elu, "selu": nn.selu, "silu": nn.silu, "softplus": nn.softplus,
    "mish": nn.mish, "relu6": nn.relu6, "hardsigmoid": nn.hard_sigmoid, "hardswish": nn.hard_swish,
    "glu": nn.glu,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = td.asarray(4 * wave(3, 8))
    x.requires_grad = True
    y = ACTIVATIONS[name](x)
    (dx,) = td.gradients(td.sum(y), [x])
    close(y, f"{name}.y")
    close(dx, f"{name}.dx")


def test_attention_by_heads():
    heads = nn.MultiHeadAttention(8, 2)
    weights, biases = FOUND["heads.p.in_proj_weight"], FOUND["heads.p.in_proj_bias"]
    state = {
        "output.weight": FOUND["heads.p.out_proj.weight"].T,
        "output.bias": FOUND["heads.p.out_proj.bias"],
    }
    for i, name in enumerate(("query", "key", "value")):
        state[f"{name}.weight"] = weights[8 * i : 8 * i + 8].T
        state[f"{name}.bias"] = biases[8 * i : 8 * i + 8]
    heads.load_state(state)
    close(heads(td.asarray(wave(2, 5, 8)), causal=True), "heads.y")


def test_attention_of_nothing_is_nothing():
    q = td.ones((1, 2, 4))
    mask = td.asarray([[True, True], [False, False]])
    assert nn.attention(q, q, q, mask=mask).tolist() == [[[1.0] * 4, [0.0] * 4]]


SCORES, LABELS = 2 * wave(6, 4), np.array([0, 3, 1, 2, 2, 0])
PROBABILITIES = np.abs(wave(6, 4, phase=2.0)) + np.float32(0.1)
PROBABILITIES /= PROBABILITIES.sum(1, keepdims=True)
OTHER = wave(6, 4, phase=1.0)
LOSSES = {
    "squared_error": lambda t: nn.squared_error(t, OTHER),
    "absolute_error": lambda t: nn.absolute_error(t, OTHER, reduction="sum"),
    "huber": lambda t: nn.huber(t, OTHER, delta=0.7),
    "hinge": lambda t: nn.hinge(t, LABELS, reduction="sum"),
    "cross_entropy": lambda t: nn.cross_entropy(t, LABELS),
    "smoothed": lambda t: nn.cross_entropy(t, LABELS, smoothing=0.1),
    "ignoring": lambda t: nn.cross_entropy(t, LABELS, ignore=2),
    "soft": lambda t: nn.cross_entropy(t, PROBABILITIES, smoothing=0.1),
    "binary": lambda t: nn.binary_cross_entropy(t, PROBABILITIES),
    "kl": lambda t: nn.kl_divergence(td.log_softmax(t, axis=1), PROBABILITIES),
    "triplet": lambda t: nn.triplet(t, OTHER, PROBABILITIES, margin=0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    t = td.asarray(SCORES)
    t.requires_grad = True
    y = LOSSES[name](t)
    (dt,) = td.gradients(y, [t])
    close(y, f"{name}.y")
    close(dt, f"{name}.dx")
