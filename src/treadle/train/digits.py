"""A small convolutional network for the 8x8 digits, as plain functions of a dict of variables.

It knows nothing of how it is trained or where it is kept.
"""

from __future__ import annotations

import treadle as td

CLASSES = 10
IMAGE_SHAPE = (1, 8, 8)
"""[channels, height, width]"""

LAYERS = (
    # name, shape of the weight, shape of the bias, fan_in
    ("conv1", (32, 1, 3, 3), (32, 1, 1), 9),
    ("conv2", (64, 32, 3, 3), (64, 1, 1), 288),
    ("dense1", (256, 64), (64,), 256),
    ("dense2", (64, CLASSES), (CLASSES,), 64),
)

Parameters = dict[str, td.Variable]


def initialize(seed: int) -> Parameters:
    """Weights normal with variance 2 / fan_in (He et al. 2015, arXiv:1502.01852), biases 0."""
    keys = td.random.split(td.random.key(seed), len(LAYERS))
    parameters: Parameters = {}
    for (name, weight, bias, fan_in), key in zip(LAYERS, keys, strict=True):
        drawn = td.random.normal(weight, std=(2 / fan_in) ** 0.5, key=key)
        parameters[f"{name}.weight"] = td.Variable(drawn, name=f"{name}.weight")
        parameters[f"{name}.bias"] = td.Variable(td.zeros(bias), name=f"{name}.bias")
    return parameters


def scores(parameters: Parameters, images: td.Array) -> td.Array:
    """What each class scores: float32 `[batch, 10]`, from images `[batch, 1, 8, 8]`."""
    weights = [parameters[f"{name}.weight"] for name, *_ in LAYERS]
    biases = [parameters[f"{name}.bias"] for name, *_ in LAYERS]
    x = images
    for weight, bias in zip(weights[:2], biases[:2], strict=True):
        x = td.max_pool(td.relu(td.conv(x, weight, padding=1) + bias), 2)
    x = td.reshape(x, (x.shape[0], -1))
    x = td.relu(x @ weights[2] + biases[2])
    return x @ weights[3] + biases[3]


def cross_entropy(class_scores: td.Array, labels: td.Array) -> td.Array:
    """The mean negative log-probability of the right classes: 0-d, from labels int64 `[batch]`."""
    right = td.one_hot(labels, CLASSES)
    return -td.mean(td.sum(right * td.log_softmax(class_scores, axis=1), axis=1))
