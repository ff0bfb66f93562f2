"""Whole training steps as an ARM processor would get them: compiled for aarch64, and the loops looked at."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_same_bits import NETS

import treadle as td
from treadle import nn, optim
from treadle.devices.cpu import jit
from treadle.devices.cpu.build import Build
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.cpu.target import ISAS

VECTOR = re.compile(r"\bv\d+\.(?:4s|2d|8h|16b)\b|\bq\d+\b")
BRANCH = re.compile(r"\t(?:b|b\.\w+|cbn?z|tbn?z)\t(?:.*, )?(\.LBB\w+)")
FUSED = re.compile(r"\tfmla\tv\d+\.(?:4s|2d), v\d+\.(?:4s|2d), v\d+\.")
LIBRARY = {"memset", "memcpy", "memmove"}
DENSE = ("matmul", "convolution", "attention")
SMALL_NBYTES = 512
"""A kernel that touches less has no loop to speak of."""


def innermost_loops(assembly: str) -> list[list[str]]:
    labels: dict[str, int] = {}
    loops = []
    lines = assembly.splitlines()
    for i, line in enumerate(lines):
        if line.startswith(".LBB"):
            labels[line.partition(":")[0]] = i
        branch = BRANCH.search(line)
        if branch and branch[1] in labels:
            loops.append((labels[branch[1]], i))
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    return [lines[a : b + 1] for a, b in inner]


def inspected(program: CpuExecutable) -> list[str]:
    """The labels of a program's kernels as compiled for ARM, each being found to run in vectors."""
    made = Build(program.outputs, program._donors, ISAS["neon"], program._lasting)
    labels = []
    for kernel in made.sources():
        assembly = jit.assembly(kernel, ISAS["neon"])
        own = set(re.findall(r"^(\w+):", assembly, re.MULTILINE))
        called = set(re.findall(r"\tbl\t(\w+)", assembly))
        assert called <= own | LIBRARY, f"{kernel.label} calls {called - own}"
        loops = innermost_loops(assembly)
        vectors = [loop for loop in loops if any(map(VECTOR.search, loop))]
        assert vectors or kernel.nbytes < SMALL_NBYTES, f"{kernel.label} has no loop over vectors"
        if kernel.label.startswith(DENSE):
            assert any(FUSED.search(line) for loop in vectors for line in loop), kernel.label
        labels.append(kernel.label)
    return labels


@pytest.mark.parametrize("name", NETS)
def test_training_steps_run_in_vectors(name):
    make, inputs, seen = NETS[name]
    net = make()
    opt = optim.Adam(net.parameters(), 1e-3)

    def step(x, labels):
        loss = nn.cross_entropy(seen(net(x)), labels)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    x = td.asarray(inputs())
    program = td.compile(step).program(x, td.asarray(np.arange(x.shape[0]) % 10))
    assert isinstance(program, CpuExecutable) and len(inspected(program)) > 20


@pytest.mark.parametrize("dtype", [td.float32, td.float64, td.bfloat16], ids=str)
def test_other_kernels_run_in_vectors(dtype):
    depthwise = nn.Conv(24, 24, 3, padding=1, groups=24, dtype=dtype)

    def several(x, table, index):
        y = depthwise(x)
        rows = td.take(table, index, axis=0)
        loss = sum(td.sum(td.astype(z * z, td.float32)) for z in (td.average_pool(y, 2), rows))
        sums = td.cumulative_sum(td.reshape(x, (14, -1)), axis=0)
        order = td.permute_dims(td.exp(x), (3, 1, 2, 0))
        return sums, order, td.mean(x, axis=(0, 2)), td.max(x, axis=1), *td.gradients(loss, [x, table])

    x, table = td.ones((4, 24, 12, 14), dtype=dtype), td.ones((50, 40), dtype=dtype)
    program = td.compile(several).program(x, table, td.asarray(np.arange(70) % 50))
    assert isinstance(program, CpuExecutable)
    labels = " ".join(inspected(program))
    for word in ("pool", "convolution", "scatter", "cumulative"):
        assert word in labels, labels
