"""A net of every family of the zoo trains on OpenCL, small, with the losses that it has on the CPU; nothing
of a step runs on the host but what is named.
"""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import models, nn, optim, program_cache
from treadle.devices.accelerator.build import NodeStep
from treadle.devices.accelerator.program import AcceleratorExecutable
from treadle.devices.opencl import device as opencl

pytest.importorskip("pyopencl")
if not opencl.found():
    pytest.skip("no OpenCL driver is installed", allow_module_level=True)

NUMBERS = np.random.default_rng(3)
CLASSES = np.array([0, 2, 1, 0])


class Mixed(nn.Module):
    """Convolutions and poolings as AlexNet, VGG, ResNet, MobileNet and GoogLeNet have them, in one program:
    batch-norm, a residual, a depthwise convolution with a stride, the branches of an Inception block.
    """

    def __init__(self):
        self.first = nn.Conv(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm(8)
        self.wide = nn.Conv(8, 8, 3, stride=2, padding=1, groups=8)
        self.point = nn.Conv(8, 6, 1)
        self.branch = nn.Conv(6, 4, 3, padding=1)
        self.inner = nn.Conv(10, 10, 1)
        self.head = nn.Dense(10, 3)
        self.pool = nn.MaxPool(3, stride=1, padding=1)

    def forward(self, x):
        x = td.relu(self.norm(self.first(x)))
        x = td.average_pool(td.max_pool(x, 2), 3, stride=1, padding=1, count_include_pad=False)
        x = td.relu(self.point(self.wide(x)))
        x = td.concat([self.branch(x), self.pool(x)], axis=1)
        x = x + td.relu(self.inner(x))
        return self.head(td.mean(x, axis=(2, 3)))


def images():
    return NUMBERS.normal(size=(4, 3, 12, 12)).astype(np.float32), CLASSES


def symbols():
    text = NUMBERS.integers(0, 11, (2, 9))
    return text[:, :-1], text[:, 1:]


def recurrent():
    return NUMBERS.normal(size=(4, 5, 6)).astype(np.float32), CLASSES


def copying():
    return NUMBERS.normal(size=(2, 4, 3)).astype(np.float32), NUMBERS.integers(0, 3, (2, 4))


class Recurrent(nn.Module):
    """A GRU and what is read off its last state."""

    def __init__(self):
        self.cells = nn.GRU(6, 8)
        self.head = nn.Dense(8, 3)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


FAMILIES = {
    "two_layer": (lambda: models.TwoLayer(3, inputs=432, hidden=17), images),
    "convolutions": (Mixed, images),
    "gru": (Recurrent, recurrent),
    "lstm": (lambda: models.CharacterLSTM(11, width=12, layers=1), symbols),
    "gpt": (lambda: models.GPT(11, context=8, layers=1, width=12, heads=2), symbols),
    "turing_machine": (lambda: models.NeuralTuringMachine(3, 3, width=9, rows=5, columns=4), copying),
}
ON_HOST = {"loop"}
"""Loops are driven from the host; what is in them is not."""


def losses(name, device, state):
    """Of three steps, and what the net begins with."""
    make, _ = FAMILIES[name]
    td.random.seed(5)
    with td.device(device):
        net = make()
        for path, value in net.parameters().items():
            value.assign(td.asarray(state.setdefault(path, value.numpy())))
        opt = optim.SGD(net.parameters(), 0.05, momentum=0.9)
        x, labels = (td.asarray(array) for array in state["data"])

        @td.compile
        def step(x, labels):
            loss = nn.cross_entropy(net(x), labels)
            opt.step(td.gradients(loss, net.parameters()))
            return loss

        return [step(x, labels).item() for _ in range(3)]


@pytest.mark.parametrize("name", FAMILIES)
def test_trains_as_on_the_cpu(name):
    state = {"data": FAMILIES[name][1]()}
    expected = losses(name, "cpu", state)
    before = set(program_cache.programs.programs)
    found = losses(name, "opencl", state)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    assert found[-1] < found[0]
    made = [program_cache.programs.programs[key] for key in set(program_cache.programs.programs) - before]
    on_host = hosted([program for program in made if isinstance(program, AcceleratorExecutable)])
    assert on_host <= ON_HOST, on_host


def hosted(programs):
    """The ops that run on the host in programs, and in the graphs of their loops."""
    names = set()
    for program in programs:
        for step in program.build.steps:
            if isinstance(step, NodeStep):
                names.add(step.node.op.name)
        for graphs in program.graphs.values():
            inner = [graphs.body] if hasattr(graphs, "body") else graphs.programs
            names |= hosted([part.program for part in inner if hasattr(part, "program")])
    return names
