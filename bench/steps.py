"""Training steps: the two-layer net and a LeNet-like one, ours and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from case import OURS, Calls, Case
from peers import torch

import treadle as td

N, D, H = 64, 1000, 100
RATE = 1e-6

BATCH, CLASSES, LENET_RATE, MOMENTUM = 64, 10, 0.01, 0.9
LENET_SHAPES = {
    "w1": (32, 1, 5, 5), "b1": (32,), "w2": (64, 32, 5, 5), "b2": (64,),
    "w3": (3136, 512), "b3": (512,), "w4": (512, CLASSES), "b4": (CLASSES,),
}  # fmt: skip


def cases() -> list[Case]:
    return [
        Case("two-layer step, compiled", two_layer, ("torch", "torch.compile"), 1.5),
        Case("two-layer step, define-by-run", two_layer_by_run, ("torch",), None),
        Case("LeNet-like step, compiled", lenet, ("torch",), 1 / 1.5),
    ]


# -- the two-layer net of the lecture: 64 x 1000 -> 100 -> 1000, squared loss, gradient descent


def two_layer_numbers() -> list[np.ndarray]:
    """x, y, w1, w2."""
    numbers = np.random.RandomState(0)
    return [numbers.normal(size=shape).astype(np.float32) for shape in ((N, D), (N, D), (D, H), (H, D))]


def two_layer() -> Calls:
    return {
        OURS: ours_two_layer(),
        **torch_two_layer(),
        **compiled_torch_two_layer(),
        "numpy": numpy_two_layer(),
    }


def two_layer_by_run() -> Calls:
    return {OURS: ours_two_layer_by_run(), **torch_two_layer(), "numpy": numpy_two_layer()}


def ours_two_layer() -> Callable[[], Any]:
    x, y = (td.asarray(a) for a in two_layer_numbers()[:2])
    w1, w2 = (td.Variable(a) for a in two_layer_numbers()[2:])

    @td.compile
    def step(x, y):
        y_pred = td.relu(x @ w1) @ w2
        loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
        grad_w1, grad_w2 = td.gradients(loss, [w1, w2])
        w1.assign(w1 - RATE * grad_w1)
        w2.assign(w2 - RATE * grad_w2)
        return loss

    return lambda: step(x, y)


def ours_two_layer_by_run() -> Callable[[], Any]:
    x, y = (td.asarray(a) for a in two_layer_numbers()[:2])
    weights = w1, w2 = [td.Variable(a) for a in two_layer_numbers()[2:]]

    def step():
        y_pred = td.relu(x @ w1) @ w2
        loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
        loss.backward()
        for w in weights:
            w -= RATE * w.grad  # the variable is assigned
            w.grad = None
        return float(loss)

    return step


def numpy_two_layer() -> Callable[[], Any]:
    x, y, w1, w2 = two_layer_numbers()

    def step():
        nonlocal w1, w2
        before = x @ w1
        h = np.maximum(before, 0)
        difference = h @ w2 - y
        loss = np.mean(np.sum(np.square(difference), axis=1))
        grad = difference * np.float32(2 / N)
        grad_h = grad @ w2.T
        w2 -= np.float32(RATE) * (h.T @ grad)
        w1 -= np.float32(RATE) * (x.T @ (grad_h * (before > 0)))
        return loss

    return step


def torch_two_layer() -> Calls:
    if torch is None:
        return {}
    x, y = (torch.from_numpy(a) for a in two_layer_numbers()[:2])
    weights = w1, w2 = [torch.from_numpy(a).requires_grad_() for a in two_layer_numbers()[2:]]

    def step():
        loss = (torch.relu(x @ w1) @ w2 - y).square().sum(1).mean()
        loss.backward()
        with torch.no_grad():
            for w in weights:
                w.sub_(w.grad, alpha=RATE)
                w.grad = None
        return loss

    return {"torch": step}


def compiled_torch_two_layer() -> Calls:
    """Both ways of compiling; the functional one makes one graph of forward, backward and update."""
    if torch is None:
        return {}
    x, y = (torch.from_numpy(a) for a in two_layer_numbers()[:2])
    w1, w2 = (torch.from_numpy(a) for a in two_layer_numbers()[2:])

    def loss_of(w1, w2):
        return (torch.relu(x @ w1) @ w2 - y).square().sum(1).mean()

    @torch.compile
    def step():
        (grad_w1, grad_w2), loss = torch.func.grad_and_value(loss_of, (0, 1))(w1, w2)
        w1.sub_(grad_w1, alpha=RATE)
        w2.sub_(grad_w2, alpha=RATE)
        return loss

    return {"torch.compile": step}


# -- a LeNet-like net on 28 x 28, batches of 64, softmax cross-entropy, momentum


def lenet_numbers() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Images, labels, parameters."""
    numbers = np.random.RandomState(0)
    x = numbers.normal(size=(BATCH, 1, 28, 28)).astype(np.float32)
    labels = numbers.randint(0, CLASSES, BATCH)
    parameters = {}
    for name, shape in LENET_SHAPES.items():
        fan_in = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        scale = np.sqrt(2 / fan_in) if name[0] == "w" else 0
        parameters[name] = (numbers.normal(size=shape) * scale).astype(np.float32)
    return x, labels, parameters


def lenet() -> Calls:
    return {OURS: ours_lenet(), **torch_lenet()}


def ours_lenet() -> Callable[[], Any]:
    images, labels, parameters = lenet_numbers()
    x, labels = td.asarray(images), td.asarray(labels)
    w = {name: td.Variable(value, name=name) for name, value in parameters.items()}
    momentum = {name: td.Variable(np.zeros_like(value)) for name, value in parameters.items()}

    def logits(x):
        h = td.relu(td.conv(x, w["w1"], padding=2) + td.reshape(w["b1"], (1, 32, 1, 1)))
        h = td.max_pool(h, 2)
        h = td.relu(td.conv(h, w["w2"], padding=2) + td.reshape(w["b2"], (1, 64, 1, 1)))
        h = td.reshape(td.max_pool(h, 2), (BATCH, 3136))
        h = td.relu(h @ w["w3"] + w["b3"])
        return h @ w["w4"] + w["b4"]

    @td.compile
    def step(x, labels):
        hot = td.one_hot(labels, CLASSES)
        loss = -td.mean(td.sum(hot * td.log_softmax(logits(x)), axis=1))
        for name, gradient in zip(w, td.gradients(loss, list(w.values()))):
            velocity = MOMENTUM * momentum[name] + gradient
            momentum[name].assign(velocity)
            w[name].assign(w[name] - LENET_RATE * velocity)
        return loss

    return lambda: step(x, labels)


def torch_lenet() -> Calls:
    if torch is None:
        return {}
    from torch.nn import functional

    images, labels, parameters = lenet_numbers()
    x, labels = torch.from_numpy(images), torch.from_numpy(labels)
    w = {name: torch.from_numpy(value).requires_grad_() for name, value in parameters.items()}
    optimizer = torch.optim.SGD(w.values(), lr=LENET_RATE, momentum=MOMENTUM, fused=True)

    def step():
        h = functional.max_pool2d(torch.relu(functional.conv2d(x, w["w1"], w["b1"], padding=2)), 2)
        h = functional.max_pool2d(torch.relu(functional.conv2d(h, w["w2"], w["b2"], padding=2)), 2)
        h = torch.relu(torch.addmm(w["b3"], h.flatten(1), w["w3"]))
        loss = functional.cross_entropy(torch.addmm(w["b4"], h, w["w4"]), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return {"torch": step}
