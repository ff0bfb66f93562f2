"""Our side of the workloads, as a user writes them. Loaded by `child.py`, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import treadle as td
from treadle import models, nn, optim
from treadle.compiler.flops import flops_by_node
from treadle.graph.graph import ordered
from treadle.models.classifier import flattened
from treadle.models.pytorch_names import TRANSPOSED


class LeNet(nn.Module):
    """Two convolutions of 5 x 5, each pooled by two, and two dense layers, for images of 28 x 28."""

    def __init__(self, layout: str = "NCHW"):
        self.conv1 = nn.Conv(1, 32, 5, layout=layout)
        self.conv2 = nn.Conv(32, 64, 5, layout=layout)
        self.pool = nn.MaxPool(2, layout=layout)
        self.dense1 = nn.Dense(1024, 512)
        self.dense2 = nn.Dense(512, 10)
        self.layout = layout

    def forward(self, x: td.Array) -> td.Array:
        x = self.pool(td.relu(self.conv1(x)))
        x = self.pool(td.relu(self.conv2(x)))
        return self.dense2(td.relu(self.dense1(flattened(x, self.layout))))


class TwoLayer(nn.Module):
    """``relu(x @ w1) @ w2``."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        self.hidden = nn.Dense(inputs, hidden, bias=False)
        self.output = nn.Dense(hidden, outputs, bias=False)

    def forward(self, x: td.Array) -> td.Array:
        return self.output(td.relu(self.hidden(x)))


class LSTM(nn.LSTM):
    """The outputs alone."""

    def forward(self, x: td.Array) -> td.Array:
        return super().forward(x)[0]


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "two_layer": TwoLayer,
    "lenet": LeNet,
    "lstm": LSTM,
    "gpt": models.GPT,
    "resnet": models.ResNet,
    "vgg": lambda **options: models.VGG(dropout=0, **options),
    "mobilenet_v2": lambda **options: models.MobileNetV2(dropout=0, **options),
}


def network(job: dict[str, Any]) -> nn.Module:
    """The network, with the same first values in every process."""
    td.random.seed(0)
    workload = job["workload"]
    layout = {"layout": "NHWC"} if job["variant"] == "NHWC" else {}
    return NETWORKS[workload["network"]](**workload["options"], **layout)


def save_values(job: dict[str, Any]) -> None:
    """Write the first values to a file, with PyTorch's names and order of dimensions, for the peers."""
    net = network({**job, "variant": ""})
    transposed = {
        f"{path}.{name}".removeprefix(".")
        for path, layer in net.modules().items()
        if isinstance(layer, TRANSPOSED)
        for name in vars(layer)
        if name.startswith("weight")
    }
    values: dict[str, Any] = {
        path: value.numpy().T if path in transposed else value.numpy()
        for path, value in net.variables().items()
    }
    np.savez(job["file"], **values)


def prepare(job: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """A step, and what reads its result."""
    td.set_num_threads(job["threads"])
    workload = job["workload"]
    net = network(job)
    batch = {name: td.asarray(value) for name, value in job["batch"].items()}
    x, y = batch["x"], batch.get("y")
    if job["variant"] == "NHWC":
        x = td.asarray(np.ascontiguousarray(np.moveaxis(job["batch"]["x"], 1, -1)))
    if y is None:
        net.eval()
        run = td.compile(net)
        job["flops"] = lambda: _flops(run, x)
        return lambda: run(x), np.asarray
    rules = {"momentum": lambda w: optim.SGD(w, workload["rate"], momentum=0.9), "adam": optim.Adam}
    optimizer = rules[workload["optimizer"]](net.parameters())
    loss_of = nn.cross_entropy if workload["labels"] else nn.squared_error

    @td.compile
    def step(x: td.Array, y: td.Array) -> td.Array:
        loss = loss_of(net(x), y)
        optimizer.step(td.gradients(loss, optimizer.parameters))
        return loss

    job["flops"] = lambda: _flops(step, x, y)
    return lambda: step(x, y), np.asarray


MULTIPLY_ADDS = {"matmul", "conv", "conv_input_gradient", "conv_weight_gradient"}


def _flops(step: Any, *arguments: td.Array) -> int:
    """Those of the products and convolutions in a step's graph, counted as direct ones."""
    door, feeds = step.door(*arguments)
    total = 0
    for node in ordered(door.plan(feeds).targets):
        for inner, count in flops_by_node(node).items():
            total += (count or 0) if inner.op.name in MULTIPLY_ADDS else 0
    return total
