"""What `memory` says before a program runs is what running it allocates."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

import treadle as td
from treadle import models, nn, optim
from treadle.devices import host

SLACK = 64 << 10
"""Of Python's own objects, and what a run keeps of addresses."""


def convolutions():
    net = nn.Sequential(
        nn.Conv(3, 16, 3, padding=1), nn.BatchNorm(16), td.relu, nn.MaxPool(2), nn.Conv(16, 32, 3, padding=1),
        td.relu, nn.GlobalAveragePool(), nn.Dense(32, 10),
    )  # fmt: skip
    return net, (td.random.normal((16, 3, 64, 64)), td.zeros(16, dtype=td.int64))


def dense():
    net = nn.Sequential(nn.Dense(500, 2000), td.relu, nn.Dense(2000, 10))
    return net, (td.random.normal((512, 500)), td.zeros(512, dtype=td.int64))


def attention():
    net = models.GPT(50, context=64, width=64, layers=2, heads=4)
    return net, tuple(td.zeros((8, 64), dtype=td.int64) for _ in range(2))


@pytest.fixture
def forgotten():
    """No memory is there from before."""
    gc.collect()
    host._free.clear()
    host._kept = 0


@pytest.mark.parametrize("make", [convolutions, dense, attention])
def test_a_step_allocates_what_was_said(make, forgotten):
    net, batch = make()
    optimizer = optim.SGD(net.parameters(), 0.01, momentum=0.9)

    @td.compile
    def step(x, y):
        scores = net(x)
        loss = nn.cross_entropy(td.reshape(scores, (-1, scores.shape[-1])), td.reshape(y, (-1,)))
        optimizer.step(td.gradients(loss, net.parameters()))
        return loss

    said = td.memory(step, *batch)
    program = step.program(*batch)
    td.evaluate(*batch)
    outputs = [nbytes or 0 for nbytes, _, _ in program.image.outputs]
    assert sum(outputs) == said["outputs"]
    fresh = sum(n for n, leaf in zip(outputs, program.donations, strict=True) if leaf is None)
    # The scratch memory of threads is theirs, and is there already.
    scratch = max([kernel.scratch_nbytes for kernel in program.build.kernels], default=0)
    td.evaluate(td.asarray(np.ones((300, 300), np.float32)) @ np.ones((300, 300), np.float32))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step(*batch)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    predicted = said["arena"] + fresh
    threads = td.num_threads() * 2
    assert 0.99 * predicted - SLACK <= peak <= 1.01 * predicted + SLACK + threads * scratch
    assert program._free[0].arena.nbytes == pytest.approx(said["arena"], rel=0.01)


def test_room_is_made_for_a_program(forgotten):
    """What was kept of other sizes is given back, but not more than the program takes."""
    for nbytes in (3 << 20, 2 << 20, 1 << 20):
        buffer = host.allocate(nbytes)
        del buffer
    assert host._kept > 6 << 20
    host.make_room(4 << 20)
    assert [len(host._free[n << 20]) for n in (3, 2, 1)] == [0, 0, 1]
    assert host._kept == (1 << 20) + host.ALIGNMENT
    x = td.ones((1500, 1500))
    step = td.compile(lambda x: x @ x @ x)
    said = step.memory(x)
    assert said["arena"] >= x.nbytes
    other = host.allocate(5 << 20)
    del other
    step(x)
    assert not host._free[5 << 20]


def test_the_largest_values_are_named():
    step = td.compile(lambda x: td.sum(td.exp(x)[:, ::2] @ td.ones((500, 300))))
    program = step.program(td.ones((1000, 1000)))
    lines = program.summary().partition("== largest values")[2].splitlines()[1:]
    sizes = [float(line.split()[0]) for line in lines]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 4.0
    assert any("test_memory.py" in line for line in lines)
