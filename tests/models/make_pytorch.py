"""Writes the files of weights that the tests read. Run with PyTorch 2.13."""

import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

here = Path(__file__).parent
base = torch.arange(12, dtype=torch.float32)
values = OrderedDict(
    matrix=base.reshape(3, 4),
    transposed=base.reshape(3, 4).T,
    part=base[5:8],
    half=torch.tensor([0.5, -2.0], dtype=torch.float16),
    brain=torch.tensor([1.5, 3.0], dtype=torch.bfloat16),
    counts=torch.tensor([[1, -2]], dtype=torch.int64),
    flags=torch.tensor([True, False]),
    nothing=torch.zeros(0, 3),
    scalar=torch.tensor(7),
    parameter=torch.nn.Parameter(torch.tensor([[1.0], [2.0]])),
)
torch.save(values, here / "values.pth")
torch.save(values, here / "values-protocol-4.pth", pickle_protocol=4)
torch.save(values, here / "values-before-1.6.pth", _use_new_zipfile_serialization=False)
net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
for i, parameter in enumerate(net.parameters()):
    parameter.data = torch.sin(torch.arange(parameter.numel()) + i).reshape(parameter.shape)
torch.save({"epoch": 3, "state_dict": net.state_dict()}, here / "checkpoint.pth")
torch.save(net, here / "whole-module.pth")


# What networks of torchvision's structure give, with parameters that are waves: see `wave` in the test.


def unit(inputs, outputs, window, stride=1):
    conv = nn.Conv2d(inputs, outputs, window, stride, window // 2, bias=False)
    return nn.ModuleDict({"conv": conv, "bn": nn.BatchNorm2d(outputs, eps=1e-3)})


def along(part, x):
    return F.relu(part["bn"](part["conv"](x)))


class Block(nn.Module):
    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        self.sizes = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        outputs, last = width * (4 if bottleneck else 1), inputs
        for i, (window, step) in enumerate(self.sizes, 1):
            out = outputs if i == len(self.sizes) else width
            setattr(self, f"conv{i}", nn.Conv2d(last, out, window, step, window // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(out))
            last = out
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = x
        for i in range(1, len(self.sizes) + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < len(self.sizes) else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, repeats, bottleneck, width=8, num_classes=5):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for n, count in enumerate(repeats):
            blocks = []
            for i in range(count):
                blocks.append(Block(inputs, width << n, 2 if n and not i else 1, bottleneck))
                inputs = (width << n) * (4 if bottleneck else 1)
            setattr(self, f"layer{n + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return (self.fc(x.mean((2, 3))),)


class Inception(nn.Module):
    def __init__(self, inputs, one, reduce3, three, reduce5, five, pooled):
        super().__init__()
        self.branch1 = unit(inputs, one, 1)
        self.branch2 = nn.ModuleList([unit(inputs, reduce3, 1), unit(reduce3, three, 3)])
        self.branch3 = nn.ModuleList([unit(inputs, reduce5, 1), unit(reduce5, five, 3)])
        self.branch4 = nn.ModuleList([nn.MaxPool2d(3, 1, 1, ceil_mode=True), unit(inputs, pooled, 1)])

    def forward(self, x):
        return torch.cat(
            [
                along(self.branch1, x),
                along(self.branch2[1], along(self.branch2[0], x)),
                along(self.branch3[1], along(self.branch3[0], x)),
                along(self.branch4[1], self.branch4[0](x)),
            ],
            1,
        )


class Auxiliary(nn.Module):
    def __init__(self, inputs, num_classes):
        super().__init__()
        self.conv = unit(inputs, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, num_classes)

    def forward(self, x):
        x = along(self.conv, F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class GoogLeNet(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = unit(3, 64, 7, 2), unit(64, 64, 1), unit(64, 192, 3)
        for name, sizes in {
            "3a": (192, 64, 96, 128, 16, 32, 32),
            "3b": (256, 128, 128, 192, 32, 96, 64),
            "4a": (480, 192, 96, 208, 16, 48, 64),
            "4b": (512, 160, 112, 224, 24, 64, 64),
            "4c": (512, 128, 128, 256, 24, 64, 64),
            "4d": (512, 112, 144, 288, 32, 64, 64),
            "4e": (528, 256, 160, 320, 32, 128, 128),
            "5a": (832, 256, 160, 320, 32, 128, 128),
            "5b": (832, 384, 192, 384, 48, 128, 128),
        }.items():
            setattr(self, f"inception{name}", Inception(*sizes))
        self.aux1, self.aux2 = Auxiliary(512, num_classes), Auxiliary(528, num_classes)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x):
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        x = pool(along(self.conv3, along(self.conv2, pool(along(self.conv1, x)))))
        x = pool(self.inception3b(self.inception3a(x)))
        early = x = self.inception4a(x)
        late = x = self.inception4d(self.inception4c(self.inception4b(x)))
        x = F.max_pool2d(self.inception4e(x), 2, 2, ceil_mode=True)
        x = self.inception5b(self.inception5a(x)).mean((2, 3))
        return self.fc(x), self.aux1(early), self.aux2(late)


def wave(name, shape):
    """In float64, so that PyTorch's sine and NumPy's do not matter."""
    count = int(np.prod(shape))
    values = np.sin(np.arange(count) * 0.7 + zlib.crc32(name.encode()) % 1000).reshape(shape)
    fan_in = count // shape[0] if len(shape) > 1 else 16
    return values * (2 / fan_in) ** 0.5 + (1.0 if len(shape) == 1 and name.endswith("weight") else 0.0)


found = {}
for name, made in {
    "resnet18": ResNet((2, 2, 2, 2), False),
    "resnet50": ResNet((3, 4, 6, 3), True),
    "googlenet": GoogLeNet(),
}.items():
    made.double()
    for path, parameter in made.named_parameters():
        parameter.data = torch.tensor(wave(path, parameter.shape))
    x = torch.tensor(wave("x", (3, 3, 64, 64)) * 10)
    outputs = made(x)
    labels = torch.tensor([0, 3, 1])
    losses = [F.cross_entropy(y, labels) for y in outputs]
    (losses[0] + 0.3 * sum(losses[1:])).backward()
    found[f"{name}.outputs"] = np.stack([y.detach().numpy() for y in outputs])
    for path, parameter in made.named_parameters():
        gradient = parameter.grad.numpy()
        # Of each gradient its size, and what it gives along a wave.
        found[f"{name}.d.{path}"] = np.array(
            [np.linalg.norm(gradient), (gradient * wave(path + "'", gradient.shape)).sum()]
        )
    made.eval()
    found[f"{name}.in_use"] = made(x)[0].detach().numpy()
np.savez_compressed(here / "pytorch.npz", **found)
