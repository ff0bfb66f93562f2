"""Loops and branches as native code: one call, known memory, interrupts, faults, and what the host does."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import test_runner

import treadle as td
from treadle import config
from treadle.devices.cpu import hosted
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.runner import Control, Entry, Frame, Table
from treadle.devices.cpu.target import host_isas
from treadle.errors import IndexingError
from treadle.evaluate import planned


@pytest.fixture(autouse=True)
def everything_is_compiled(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lstm(xs, w, u, b, size):
    def cell(carry, x):
        h, c = carry
        gates = x @ w + h @ u + b
        i, f, o = (td.sigmoid(gates[:, k * size : (k + 1) * size]) for k in range(3))
        c = f * c + i * td.tanh(gates[:, 3 * size :])
        h = o * td.tanh(c)
        return (h, c), h

    start = td.zeros((xs.shape[1], size), dtype=xs.dtype)
    return td.scan(cell, (start, start), xs)


def lstm_arrays(length: int = 7, batch: int = 5, inputs: int = 6, size: int = 9):
    return (
        td.asarray(numbers(length, batch, inputs)), td.asarray(0.3 * numbers(inputs, 4 * size, seed=1)),
        td.asarray(0.3 * numbers(size, 4 * size, seed=2)), td.asarray(numbers(4 * size, seed=3)), size,
    )  # fmt: skip


def test_a_recurrent_net_and_its_gradient_are_one_native_call(monkeypatch):
    *arrays, size = lstm_arrays()
    (h, c), ys = lstm(*arrays, size)
    loss = (h * h).sum() + (ys * ys).sum() + c.sum()
    outputs = [loss, *td.gradients(loss, arrays)]
    program = planned([array.node for array in outputs])
    assert [type(segment) for segment in program.segments] == [Table]
    calls = []
    run = Frame.run
    monkeypatch.setattr(Frame, "run", lambda self, *args: (calls.append(1), run(self, *args))[1])
    td.evaluate(*outputs)
    assert len(calls) == 1
    assert "loop of 7: native" in program.explain()
    with td.device("reference"):
        again = [td.asarray(a.numpy(), dtype="float64") for a in arrays]
        (h, c), ys = lstm(*again, size)
        loss = (h * h).sum() + (ys * ys).sum() + c.sum()
        for found, expected in zip(outputs, [loss, *td.gradients(loss, again)], strict=True):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("isa", [isa.name for isa in host_isas()])
def test_every_instruction_set_loops(isa):
    *arrays, size = lstm_arrays()
    with config.configured(isa=isa, check=True):
        found = lstm(*arrays, size)[1].numpy()
    with td.device("reference"):
        expected = lstm(*arrays, size)[1].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_number_of_threads_changes_no_bit():
    found = []
    before = td.num_threads()
    try:
        for count in (1, 2):
            td.set_num_threads(count)
            *arrays, size = lstm_arrays(5, 32, 64, 64)
            found.append(lstm(*arrays, size)[1].numpy())
    finally:
        td.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_memory_is_known_before_the_run():
    x = td.asarray(numbers(100, 1000))
    last, ys = td.scan(lambda c, row: (td.sin(c + row), c), td.zeros(1000), x)
    memory = td.memory(last, ys)
    assert memory["outputs"] == 4 * (1000 + 100 * 1000)
    assert memory["arena"] < 5 * 4 * 1000
    slope = td.gradients(last.sum(), x)
    assert td.memory(slope)["arena"] > 4 * 100 * 1000


@pytest.mark.parametrize("length", range(5))
@pytest.mark.parametrize("reverse", [False, True])
def test_the_result_lies_where_it_should_for_every_parity(length, reverse):
    x = numbers(length, 3)
    (a, b), (ys, copies) = td.scan(
        lambda c, row: ((c[0] * 0.5 + row, c[0]), (c[0] * 0.5 + row, c[1])),
        (td.zeros(3), td.ones(3)), td.asarray(x), reverse=reverse,
    )  # fmt: skip
    td.evaluate(a, b, ys, copies)
    first, second, rows, others = np.zeros(3, np.float32), np.ones(3, np.float32), [], []
    for row in x[::-1] if reverse else x:
        others.append(second)
        first, second = first * np.float32(0.5) + row, first
        rows.append(first)
    turn = slice(None, None, -1 if reverse else 1)
    np.testing.assert_allclose(a.numpy(), first, rtol=1e-6)
    np.testing.assert_allclose(b.numpy(), second, rtol=1e-6)
    np.testing.assert_allclose(ys.numpy(), np.reshape(rows, (length, 3))[turn], rtol=1e-6)
    np.testing.assert_allclose(copies.numpy(), np.reshape(others, (length, 3))[turn], rtol=1e-6)


def test_views_are_looped_over_without_being_laid_out_anew():
    x = numbers(4, 6, 5)
    wide = td.asarray(x)
    for view, expected in (
        (wide[:, 1:3], x[:, 1:3]), (wide[::2], x[::2]),
        (td.permute_dims(wide, (1, 0, 2)), x.transpose(1, 0, 2)),
        (td.flip(wide, axis=0), x[::-1]), (td.broadcast_to(wide[0], (3, 6, 5)), np.stack([x[0]] * 3)),
    ):  # fmt: skip
        total, rows = td.scan(lambda c, row: (c + row, row * 2), td.zeros(view.shape[1:]), view)
        td.evaluate(total, rows)
        np.testing.assert_allclose(total.numpy(), expected.sum(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(rows.numpy(), 2 * expected)


def test_a_fault_inside_a_loop_is_found_and_ends_it():
    table, w = td.asarray(numbers(3)), td.Variable(1.0)
    last, _ = td.scan(lambda c, i: (c + table[i], None), 0.0, td.asarray([0, 2, 9, 1]))
    w.assign(w + last)
    with pytest.raises(IndexingError, match=r"(?s)9.*test_nests.py"):
        w.numpy()
    assert w.item() == 1.0
    # The index never comes back from where the loop sends it.
    endless = td.while_loop(lambda c: c[0] < 1e9, lambda c: (c[0] + table[c[1]] * 0, c[1] + 5), (0.0, 1))
    with pytest.raises(IndexingError):
        endless[0].numpy()


def test_a_long_loop_is_interrupted_and_nothing_is_lost(monkeypatch):
    w = td.Variable(1.0)
    start = td.asarray(np.abs(numbers(4096))), 0
    x, _ = td.while_loop(lambda c: c[1] < 5_000_000, lambda c: (td.abs(td.sin(c[0])), c[1] + 1), start)
    w.assign(w + x.sum())
    running, over = threading.Event(), threading.Event()
    run = Frame.run
    monkeypatch.setattr(Frame, "run", lambda *given, **options: running.set() or run(*given, **options))

    def interrupted(number, frame):
        if not over.is_set():
            over.set()
            raise KeyboardInterrupt

    def interrupt():
        """Until one signal comes while native code runs: nobody else knows when that begins."""
        running.wait()
        while not over.wait(0.1):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupted)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            w.numpy()
    finally:
        over.set()
        running.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert w.item() == 1.0


def test_what_runs_on_the_host_makes_its_loop_run_there():
    x = numbers(4, 6)
    last, rows = td.scan(lambda c, row: (td.sort(c + row), td.argsort(row)), td.zeros(6), td.asarray(x))
    program = planned([last.node, rows.node])
    assert [type(segment) for segment in program.segments] in ([HostStep], [Table, HostStep])
    assert "loop (float32[6], int64[4, 6]): driven from the host" in program.explain()
    td.evaluate(last, rows)
    expected = np.zeros(6, np.float32)
    for row in x:
        expected = np.sort(expected + row)
    np.testing.assert_allclose(last.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(rows.numpy(), x.argsort(1))


def test_a_loop_on_the_host_runs_forward_once_for_its_gradient(monkeypatch):
    runs = []
    run_loop = hosted.run_loop
    monkeypatch.setattr(hosted, "run_loop", lambda loop, *rest: runs.append(loop) or run_loop(loop, *rest))
    w, x = td.asarray(np.eye(3, dtype="float32")), td.asarray(numbers(5, 3))

    def looped(x, w):
        last, ys = td.scan(lambda h, x: (td.sort(td.tanh(h @ w + x)),) * 2, td.zeros(3), x)
        return td.sum(last) + td.sum(ys * ys)

    loss = looped(x, w)
    slope = td.gradients(loss, w)
    td.evaluate(loss, slope)
    # Back it goes in native code.
    assert len(runs) == 1
    with td.device("reference"):
        expected = td.gradients(looped(x, w), w)
    np.testing.assert_allclose(slope.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_programs_with_loops_are_kept_on_the_disk(tmp_path, monkeypatch):
    from treadle.devices.cpu.build import Build
    from treadle.devices.cpu.device import chosen_isa
    from treadle.devices.cpu.program import CpuExecutable
    from treadle.evaluate import detached, structure_of

    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    x = td.asarray(numbers(4, 6))
    last, _ = td.scan(
        lambda c, row: (td.cond(c.sum() > 0, lambda: c + row, lambda: c - row), None), td.zeros(6), x
    )
    structure = structure_of([last.node], lambda n: n.buffer is not None, lambda n: n.buffer is not None)
    made = []
    build = Build.__init__
    monkeypatch.setattr(Build, "__init__", lambda self, *args: (made.append(1), build(self, *args))[1])
    found = []
    for _ in range(2):
        program = CpuExecutable(detached(structure, [last.node]), [None], chosen_isa())
        found.append(program.run([x.node.buffer], [None])[0].view(last.node.type).copy())
    assert len(made) == 1
    np.testing.assert_array_equal(*found)


# -- the runner's controls


def test_controls_step_swap_jump_and_look():
    add = test_runner.binary("fadd", 24)
    rows = np.arange(5 * 24, dtype=np.float64).reshape(5, 24)
    total, count, flag = np.zeros(24), np.array([5]), np.array([0], np.uint8)
    ROWS, TOTAL, COUNT, FLAG, ROW, LEFT, MASK = range(7)
    table = Table(
        [
            Control("load_word", (LEFT,), operands=((COUNT, 0),)),
            Control("move", (ROW, ROWS), -24 * 8),
            Control("scale", (ROW, LEFT), 24 * 8),
            Control("jump_if_zero", (LEFT,), 9),
            Control("resolve", (), 8),
            Entry(add, ((TOTAL, 0), (ROW, 0), (TOTAL, 0))),
            Control("add", (ROW,), -24 * 8),
            Control("add", (LEFT,), -1),
            Control("jump", (), 3),
            Control("load_byte", (MASK,), operands=((FLAG, 0),)),
            Control("jump_if_zero", (MASK,), 12),
            Control("set", (LEFT,), 77),
            Control("xor", (LEFT, MASK)),
            Control("store_word", (LEFT,), operands=((COUNT, 0),)),
        ]
    )
    bases = [*test_runner.addresses(rows, total, count, flag), 0, 0, 0]
    assert table.run(bases) == 0
    np.testing.assert_array_equal(total, rows.sum(0))
    assert count[0] == 0
    flag[0] = 1
    count[0] = 2
    assert table.run(bases) == 0
    np.testing.assert_array_equal(total, rows.sum(0) + rows[:2].sum(0))
    assert count[0] == 77 ^ 1


def test_a_loop_after_the_commit_point_runs_to_its_end():
    add = test_runner.binary("fadd", 24)
    total, one = np.zeros(24), np.ones(24)
    entries = [
        Control("set", (2,), 6),
        Control("jump_if_zero", (2,), 5),
        Entry(add, ((0, 0), (1, 0), (0, 0))),
        Control("add", (2,), -1),
        Control("jump", (), 1),
    ]
    for commit in (0, 5):
        assert Table(entries, commit).run([*test_runner.addresses(total, one), 0]) == 0
    np.testing.assert_array_equal(total, 12.0)


def test_a_fault_is_jumped_over():
    fault = np.zeros(1, np.int32)
    entries = [
        Entry(test_runner.reporting(3), ((0, 0),)),
        Control("jump_if_fault", (), 3),
        Control("jump", (), 1),
    ]
    assert Table(entries, fault=(0, 0)).run(test_runner.addresses(fault)) == 3
