"""The pool: every worker takes part, sleeps, is woken, survives forks and leaves cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from treadle.devices.cpu import fork_join, ir, jit, runner, threads
from treadle.devices.cpu.fork_join import SHARES_PER_THREAD, atomic_add, atomic_load
from treadle.devices.cpu.native import LoadedKernel, NativeKernel
from treadle.devices.cpu.runner import Entry, Frame, Table
from treadle.devices.cpu.target import ISAS

PATIENCE = 20000
"""Naps of a millisecond that a waiting task takes before it gives up."""


@pytest.fixture(autouse=True)
def same_threads():
    """Leave the number of threads as it was."""
    before = threads.num_threads()
    yield
    threads.set_num_threads(before)


def rendezvous(tasks: int, flops: int = 0) -> LoadedKernel:
    """Each task waits until all have begun, which takes as many threads; the word after the counter counts
    those that gave up.
    """
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    table, first, last, _ = f.arguments
    counter = f.load("ptr", table, 8)
    here = f.op("sub", last, first)
    atomic_add(f, counter, here, "seq_cst")

    def nap(turns):
        f.call("i32", "usleep", f.constant("i32", 1000))
        missing = f.compare("icmp slt", atomic_load(f, counter, "seq_cst"), f.constant("i64", tasks))
        patient = f.compare("icmp slt", turns, f.constant("i64", PATIENCE))
        return f.op("and", missing, patient), [f.op("add", turns, f.constant("i64", 1))]

    f.do_while(nap, [f.constant("i64", 0)])
    late = f.compare("icmp slt", atomic_load(f, counter, "seq_cst"), f.constant("i64", tasks))
    atomic_add(f, f.at(counter, 8), f.cast("zext", late, "i64"), "seq_cst")
    f.ret()
    return jit.load(NativeKernel(module.text(), "rendezvous", tasks, flops=flops))


def counting(tasks: int, flops: int = 0) -> LoadedKernel:
    """Each task adds one to its own word."""
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    table, first, last, _ = f.arguments
    words = f.load("ptr", table, 8)

    def task(t):
        word = f.at(words, f.mul(t, 8))
        f.store(f.op("add", f.load("i64", word, 8), f.constant("i64", 1)), word, 8)

    f.loop(first, last, task)
    f.ret()
    return jit.load(NativeKernel(module.text(), "count", tasks, flops=flops))


def wait_until_asleep(pool: threads.Pool) -> None:
    deadline = time.monotonic() + 20
    while pool.sleeping < pool.threads - 1:
        assert time.monotonic() < deadline, "the workers do not fall asleep"
        time.sleep(0.001)


def met(frame: Frame) -> bool:
    """Whether all tasks of a rendezvous came together."""
    words = np.zeros(2, np.int64)
    assert frame.run([words.ctypes.data]) == 0
    return words[1] == 0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_threads_take_part_awake_and_asleep(count):
    threads.set_num_threads(count)
    frame = Frame(Table([Entry(rendezvous(count), ((0, 0),))]))
    for _ in range(3):
        assert met(frame)
    pool = threads.pool()
    assert pool is not None and pool.threads == count
    wait_until_asleep(pool)
    assert met(frame)


def test_short_work_wakes_nobody():
    threads.set_num_threads(3)
    pool = threads.pool()
    assert pool is not None
    wait_until_asleep(pool)
    words = np.zeros(64, np.int64)
    table = Table([Entry(counting(64, flops=200_000), ((0, 0),))])
    assert table.shared
    for _ in range(20):
        assert table.run([words.ctypes.data]) == 0
    assert pool.sleeping == 2
    assert (words == 20).all()


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 4 * SHARES_PER_THREAD, 1001])
def test_every_task_is_done_once(tasks):
    words = np.zeros(tasks, np.int64)
    table = Table([Entry(counting(tasks), ((0, 0),))] * 50)
    for count in (1, 2, 3, 4):
        threads.set_num_threads(count)
        words[:] = 0
        for _ in range(10):
            assert table.run([words.ctypes.data]) == 0
        assert (words == 500).all()


def test_a_stopped_pool_leaves_its_caller_to_finish():
    threads.set_num_threads(3)
    pool = threads.pool()
    assert pool is not None
    pool.stop()
    words = np.zeros(100, np.int64)
    assert Table([Entry(counting(100), ((0, 0),))]).run([words.ctypes.data]) == 0
    assert (words == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_threads_of_its_own():
    threads.set_num_threads(2)
    frame = Frame(Table([Entry(rendezvous(2), ((0, 0),))]))
    assert met(frame)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            code = 0 if met(frame) and met(frame) else 1
        except BaseException:
            code = 2
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert met(frame)


EXITS = {
    "while workers spin": "run()",
    "while workers sleep": "run(); time.sleep(0.05)",
    "before any run": "",
    "by an exception": "run(); raise SystemExit(0)",
    "while a thread runs programs": "threading.Thread(target=forever, daemon=True).start(); time.sleep(0.02)",
    "after a change": "run(); threads.set_num_threads(2); run(); threads.set_num_threads(4)",
}


@pytest.mark.parametrize("ending", EXITS.values(), ids=EXITS.keys())
def test_the_process_ends_cleanly(ending):
    program = textwrap.dedent("""
        import sys, threading, time
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from test_threads import Entry, Table, counting, threads

        threads.set_num_threads(3)
        words = np.zeros(30, np.int64)
        table = Table([Entry(counting(30), ((0, 0),))] * 20)

        def run():
            assert table.run([words.ctypes.data]) == 0

        def forever():
            while True:
                run()
    """)
    command = [sys.executable, "-c", program + ending, os.path.dirname(__file__)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_native_side_compiles_for_arm(monkeypatch):
    triple = "aarch64-unknown-linux-gnu"
    with monkeypatch.context() as patched:
        patched.setattr(fork_join.target, "architecture", lambda: "aarch64")
        texts = [fork_join.module_text(), runner.module_text()]
    for text, instruction in zip(texts, ("yield", "blr"), strict=True):
        assert instruction in jit.assembly(text, ISAS["neon"], triple)


def test_the_number_of_threads_comes_from_the_environment(monkeypatch):
    for text, count in (("1", 1), ("3", 3)):
        monkeypatch.setattr(threads, "_threads", None)
        monkeypatch.setenv("TREADLE_THREADS", text)
        assert threads.num_threads() == count
    for text in ("0", "many", "-1", "100000"):
        monkeypatch.setattr(threads, "_threads", None)
        monkeypatch.setenv("TREADLE_THREADS", text)
        with pytest.raises(ValueError, match=f"not '{text}'"):
            threads.num_threads()


def test_the_number_of_threads_is_bounded_by_cores_and_quota(tmp_path):
    quota = tmp_path / "cpu.max"
    cores = threads._cores(str(tmp_path / "missing"))
    assert cores >= 1
    for text, expected in (
        ("max 100000", cores),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("nonsense", cores),
    ):
        quota.write_text(text)
        assert threads._cores(str(quota)) == expected
