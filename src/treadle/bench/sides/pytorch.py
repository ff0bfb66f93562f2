"""PyTorch's side of the workloads: eager, with images channels-last, and compiled. Loaded by `child.py`."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class TwoLayer(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden, bias=False)
        self.output = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x):
        return self.output(torch.relu(self.hidden(x)))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
        self.dense1, self.dense2 = nn.Linear(1024, 512), nn.Linear(512, 10)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.dense2(torch.relu(self.dense1(x.flatten(1))))


class LSTM(nn.LSTM):
    def __init__(self, inputs: int, width: int):
        super().__init__(inputs, width, batch_first=True)

    def forward(self, x):
        return super().forward(x)[0]


class Attention(nn.Module):
    """With one product for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.projections(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        taken = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(taken.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(functional.gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, numbers):
        x = self.embedding(numbers) + self.positions[: numbers.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)


def _conv(inputs: int, outputs: int, window: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, window, stride, window // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """A block of two or, as a bottleneck, three convolutions beside the identity."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        for number, (into, out, window, by) in enumerate(shapes, 1):
            self.add_module(f"conv{number}", _conv(into, out, window, by))
            self.add_module(f"bn{number}", nn.BatchNorm2d(out))
        self.count = len(shapes)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = functional.relu(y, inplace=True) if number < self.count else y
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


class ResNet(nn.Module):
    def __init__(self, depth: int, width: int = 64, num_classes: int = 1000):
        super().__init__()
        repeats = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(repeats):
            blocks = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Residual(inputs, width << stage, stride, depth >= 50))
                inputs = (width << stage) * (4 if depth >= 50 else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class VGG(nn.Module):
    def __init__(self, depth: int, num_classes: int = 1000):
        super().__init__()
        parts: list[nn.Module] = []
        inputs = 3
        for width, count in zip((64, 128, 256, 512, 512), {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}[depth]):
            for _ in range(count):
                parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 49, 4096), nn.ReLU(inplace=True), nn.Identity(),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Identity(),
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _unit(inputs: int, outputs: int, window: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = _conv(inputs, outputs, window, stride, groups)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        parts = [_unit(inputs, inner, 1)] if expansion != 1 else []
        parts += [_unit(inner, inner, 3, stride, inner), _conv(inner, outputs, 1), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*parts)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, num_classes: int = 1000):
        super().__init__()
        groups = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                  (6, 320, 1, 1))  # fmt: skip
        parts, inputs = [_unit(3, 32, 3, 2)], 32
        for expansion, outputs, repeats, stride in groups:
            for number in range(repeats):
                parts.append(InvertedResidual(inputs, outputs, 1 if number else stride, expansion))
                inputs = outputs
        self.features = nn.Sequential(*parts, _unit(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, num_classes))

    def forward(self, x):
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "two_layer": TwoLayer,
    "lenet": LeNet,
    "lstm": LSTM,
    "gpt": GPT,
    "resnet": ResNet,
    "vgg": VGG,
    "mobilenet_v2": MobileNetV2,
}
NOT_OURS = "num_batches_tracked"


def network(job: dict[str, Any]) -> nn.Module:
    """The network, with our first values."""
    workload = job["workload"]
    net = NETWORKS[workload["network"]](**workload["options"])
    with np.load(job["values"]) as values, torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not name.endswith(NOT_OURS):
                tensor.copy_(torch.from_numpy(_value(values, name)))
    return net


def _value(values: Any, name: str) -> np.ndarray:
    if ".projections." not in name:
        return values[name]
    return np.concatenate([values[name.replace("projections", part)] for part in ("query", "key", "value")])


def prepare(job: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """A step, and what reads its result."""
    torch.set_num_threads(job["threads"])
    workload = job["workload"]
    net = network(job)
    x = torch.from_numpy(job["batch"]["x"])
    if job["variant"] == "channels last":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    elif job["variant"] == "compile":
        net = torch.compile(net)
    if not workload["trains"]:
        net.eval()

        def infer():
            with torch.inference_mode():
                return net(x)

        return infer, lambda result: result.numpy()
    y = torch.from_numpy(job["batch"]["y"])
    if workload["optimizer"] == "adam":
        optimizer: Any = torch.optim.Adam(net.parameters(), workload["rate"], fused=True)
    else:
        optimizer = torch.optim.SGD(net.parameters(), workload["rate"], momentum=0.9, fused=True)

    def step():
        scores = net(x)
        if workload["labels"]:
            loss = functional.cross_entropy(scores.flatten(0, -2), y.flatten())
        else:
            loss = functional.mse_loss(scores, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, lambda loss: loss.detach().numpy()


def save_onnx(job: dict[str, Any]) -> None:
    """Write the network, for inference, to a file that ONNX Runtime and OpenVINO read."""
    net = network(job).eval()
    x = torch.from_numpy(job["batch"]["x"])
    torch.onnx.export(net, (x,), job["file"], input_names=["x"], dynamo=False)
