"""Tables of kernels against NumPy: dependent entries, threads, faults, the commit point and interrupts."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from treadle.devices.cpu import ir, jit, threads
from treadle.devices.cpu.native import LoadedKernel, NativeKernel
from treadle.devices.cpu.runner import Entry, Frame, Table

LANES = 4
CHUNK = 8


@pytest.fixture(autouse=True)
def same_threads():
    """Leave the number of threads as it was."""
    before = threads.num_threads()
    yield
    threads.set_num_threads(before)


def chunked(write, length: int, operands: int, scratch_nbytes: int = 0, flops: int = 0) -> LoadedKernel:
    """A kernel on float64 arrays, a task for every `CHUNK` elements; `write(f, pointers, element,
    scratch)`.
    """
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    table, first, last, scratch = f.arguments
    pointers = [f.load("ptr", f.at(table, 8 * i), 8) for i in range(operands)]

    def task(t):
        base = f.mul(t, CHUNK)
        end = f.min(f.add(base, CHUNK), length)
        f.loop(base, end, lambda i: write(f, pointers, i, scratch))

    f.loop(first, last, task)
    f.ret()
    tasks = -(-length // CHUNK)
    return jit.load(NativeKernel(module.text(), "test", tasks, scratch_nbytes, flops))


def binary(opcode: str, length: int, shift: int = 0, **options) -> LoadedKernel:
    """out[i] = a[i] OP b[(i + shift) % length]: with a shift, tasks read what other tasks of an earlier entry
    wrote.
    """

    def write(f, pointers, i, scratch):
        _, other = f.divmod(f.add(i, shift), length)
        a, b = (
            f.load("double", f.at(pointers[0], f.mul(i, 8))),
            f.load("double", f.at(pointers[1], f.mul(other, 8))),
        )
        f.store(f.op(opcode, a, b), f.at(pointers[2], f.mul(i, 8)))

    return chunked(write, length, 3, **options)


def through_scratch(length: int, nbytes: int) -> LoadedKernel:
    """out[i] = a[i] + 1, by way of the last word of the thread's scratch memory."""

    def write(f, pointers, i, scratch):
        place = f.at(scratch, nbytes - 8)
        f.store(f.load("double", f.at(pointers[0], f.mul(i, 8))), place)
        f.store(
            f.op("fadd", f.load("double", place), f.constant("double", 1.0)), f.at(pointers[1], f.mul(i, 8))
        )

    return chunked(write, length, 2, scratch_nbytes=nbytes)


def reporting(code: int) -> LoadedKernel:
    """A kernel that writes `code` to the fault word, its only operand."""
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.store(f.constant("i32", code), f.load("ptr", f.arguments[0], 8), 4)
    f.ret()
    return jit.load(NativeKernel(module.text(), "fault", 1))


def raising(number: int) -> LoadedKernel:
    """A kernel that sends a signal to its own process, as a user at the keyboard would."""
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.call("i32", "raise", f.constant("i32", number))
    f.ret()
    return jit.load(NativeKernel(module.text(), "signal", 1))


def addresses(*arrays: np.ndarray) -> list[int]:
    return [array.ctypes.data for array in arrays]


OPCODES = {"fadd": np.add, "fsub": np.subtract, "fmul": np.multiply}


class RandomProgram:
    """Entries over the values of one arena, each reading what earlier ones wrote, with the answer
    by NumPy.
    """

    def __init__(self, seed: int, length: int = 203, entries: int = 40, values: int = 7):
        generator = np.random.default_rng(seed)
        self.start = generator.uniform(-1, 1, (values, length))
        self.expected = self.start.copy()
        kernels = {(o, s): binary(o, length, s) for o in OPCODES for s in (0, 1, length // 2)}
        kinds = list(kernels)
        self.table_entries = []
        for _ in range(entries):
            opcode, shift = kinds[generator.integers(len(kinds))]
            a, b, out = (int(v) for v in generator.choice(values, 3, replace=False))
            operands = tuple((0, value * length * 8) for value in (a, b, out))
            self.table_entries.append(Entry(kernels[opcode, shift], operands))
            self.expected[out] = OPCODES[opcode](self.expected[a], np.roll(self.expected[b], -shift))
        self.table = Table(self.table_entries)

    def run(self) -> np.ndarray:
        arena = self.start.copy()
        assert self.table.run(addresses(arena)) == 0
        return arena


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_random_tables_agree_with_numpy_whatever_the_number_of_threads(count):
    threads.set_num_threads(count)
    for seed in range(8):
        program = RandomProgram(seed)
        for _ in range(10):
            np.testing.assert_array_equal(program.run(), program.expected)


def test_an_empty_table_runs():
    table = Table([], slots=2)
    assert table.run([1, 2]) == 0
    frame = Frame(table)
    assert frame.run([1, 2]) == 0
    assert frame.committed


def test_slots_and_offsets():
    kernel = binary("fadd", 20)
    table = Table([Entry(kernel, ((1, 8), (0, 16), (2, 0)))])
    a, b, out = np.arange(30.0), np.arange(100.0, 130.0), np.zeros(20)
    assert table.run(addresses(a, b, out)) == 0
    np.testing.assert_array_equal(out, b[1:21] + a[2:22])
    elsewhere = np.zeros(20)
    assert table.run(addresses(b, a, elsewhere)) == 0
    np.testing.assert_array_equal(elsewhere, a[1:21] + b[2:22])


def test_commit_must_be_within_the_table():
    with pytest.raises(ValueError, match="from 0 to 0"):
        Table([], commit=1)


@pytest.mark.parametrize("count", [1, 3])
def test_each_thread_has_the_scratch_memory_that_the_largest_kernel_needs(count):
    threads.set_num_threads(count)
    for nbytes in (64, 1 << 14, 1 << 20):
        small, large = through_scratch(100, 64), through_scratch(100, nbytes)
        x, y, z = np.arange(100.0), np.zeros(100), np.zeros(100)
        table = Table([Entry(small, ((0, 0), (1, 0))), Entry(large, ((1, 0), (2, 0)))])
        assert table.scratch_nbytes == nbytes
        assert table.run(addresses(x, y, z)) == 0
        np.testing.assert_array_equal(z, x + 2)


def test_concurrent_runs_of_one_table():
    """Only one of them has the pool at a time; the others do their tasks alone."""
    threads.set_num_threads(2)
    program = RandomProgram(3)
    wrong = []

    def repeat():
        for _ in range(60):
            if not np.array_equal(program.run(), program.expected):
                wrong.append(1)

    callers = [threading.Thread(target=repeat) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_changing_the_number_of_threads_during_a_run():
    program = RandomProgram(4)
    wrong = []
    stop = threading.Event()

    def repeat():
        while not stop.is_set():
            if not np.array_equal(program.run(), program.expected):
                wrong.append(1)

    caller = threading.Thread(target=repeat)
    caller.start()
    for count in (2, 4, 1, 3, 2):
        threads.set_num_threads(count)
    stop.set()
    caller.join()
    assert not wrong


def test_a_fault_stops_the_run_before_the_commit_point():
    add = binary("fadd", 8)
    a, b, early, late = np.ones(8), np.ones(8), np.zeros(8), np.zeros(8)
    fault = np.array([77, 77], np.int32)
    entries = [
        Entry(add, ((0, 0), (1, 0), (2, 0))),
        Entry(reporting(5), ((4, 4),)),
        Entry(add, ((0, 0), (1, 0), (3, 0))),
    ]
    frame = Frame(Table(entries, commit=2, fault=(4, 4)))
    assert frame.run(addresses(a, b, early, late, fault)) == 5
    assert not frame.committed
    assert early.all() and not late.any()
    assert list(fault) == [77, 5]
    # The word is zeroed by the next run: without the kernel that fails, the same memory gives success.
    sound = Frame(Table([entries[0], entries[2]], commit=1, fault=(4, 4)))
    assert sound.run(addresses(a, b, early, late, fault)) == 0
    assert sound.committed
    assert late.all() and list(fault) == [77, 0]


def test_a_fault_is_found_where_nothing_is_committed():
    table = Table([Entry(reporting(9), ((0, 0),))], fault=(0, 0))
    assert table.run(addresses(np.zeros(1, np.int32))) == 9


def test_profile_gives_times_in_order():
    threads.set_num_threads(2)
    frame = Frame(RandomProgram(5).table)
    arena = RandomProgram(5).start.copy()
    assert frame.run(addresses(arena), profile=True) == 0
    times = frame.timings()
    assert len(times) == len(frame.table.entries)
    for entry, following in itertools.pairwise(times):
        assert entry.began_ns <= entry.ended_ns <= following.began_ns
        assert entry.busy_ns > 0 and entry.count == 1
        assert entry.total_ns == entry.ended_ns - entry.began_ns


# -- interrupts


class Stopped(Exception):
    """What the tests' own signal handler raises."""


@contextlib.contextmanager
def handler(function):
    before = signal.signal(signal.SIGINT, function)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted_program(commit: int) -> tuple[Frame, list[np.ndarray]]:
    """ones -> early; then a signal; ones -> late. Long enough, so it says, to be watched."""
    add = binary("fadd", 8, flops=10**9)
    arrays = [np.ones(8), np.ones(8), np.zeros(8), np.zeros(8)]
    entries = [
        Entry(add, ((0, 0), (1, 0), (2, 0))),
        Entry(raising(signal.SIGINT), ()),
        Entry(add, ((0, 0), (1, 0), (3, 0))),
    ]
    return Frame(Table(entries, commit=commit)), arrays


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("commit", [2, 3])
def test_an_interrupt_before_the_commit_point_stops_the_run(count, commit):
    threads.set_num_threads(count)
    frame, arrays = interrupted_program(commit)
    with handler(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        frame.run(addresses(*arrays))
    if commit == 2:
        # The signal came during the last entry before the commit point: nothing was left to stop.
        assert frame.committed and arrays[3].all()
    else:
        assert not frame.committed and not arrays[3].any()
    assert arrays[2].all()


def test_an_interrupt_after_the_commit_point_changes_nothing():
    frame, arrays = interrupted_program(commit=0)
    with handler(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        frame.run(addresses(*arrays))
    assert frame.committed and arrays[3].all()


def test_a_handler_of_the_users_own_may_raise_anything():
    def stop(number, stack):
        raise Stopped

    frame, arrays = interrupted_program(commit=3)
    with handler(stop), pytest.raises(Stopped):
        frame.run(addresses(*arrays))
    assert not frame.committed and not arrays[3].any()


def test_a_run_goes_on_after_a_handler_that_does_not_raise():
    seen = []
    frame, arrays = interrupted_program(commit=3)
    other = RandomProgram(6)

    def note(number, stack):
        # The run is paused: the thread may run other programs, this very table among them.
        np.testing.assert_array_equal(other.run(), other.expected)
        seen.append((frame.committed, arrays[3].any()))

    with handler(note):
        assert frame.run(addresses(*arrays)) == 0
    assert seen == [(False, False)]
    assert frame.committed and arrays[2].all() and arrays[3].all()


def test_ignored_interrupts_stay_ignored():
    frame, arrays = interrupted_program(commit=3)
    with handler(signal.SIG_IGN):
        assert frame.run(addresses(*arrays)) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert frame.committed


def test_the_handler_is_put_back():
    received = []
    frame, arrays = interrupted_program(commit=3)
    with handler(lambda number, stack: received.append(number)):
        frame.run(addresses(*arrays))
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT, signal.SIGINT]


def test_other_threads_are_not_interrupted():
    frame, arrays = interrupted_program(commit=3)
    codes = []
    with handler(lambda number, stack: None):
        caller = threading.Thread(target=lambda: codes.append(frame.run(addresses(*arrays))))
        caller.start()
        caller.join()
    assert codes == [0] and frame.committed


def test_a_signal_from_outside_stops_a_long_table():
    """A child runs a table that would take minutes; it says when it has begun, and is then interrupted."""
    program = textwrap.dedent("""
        import numpy as np
        from treadle.devices.cpu import ir, jit
        from treadle.devices.cpu.native import LoadedKernel, NativeKernel
        from treadle.devices.cpu.runner import Entry, Frame, Table

        def kernel(write):
            module = ir.Module()
            f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
            write(f, f.load("ptr", f.arguments[0], 8))
            f.ret()
            return jit.load(NativeKernel(module.text(), "test", 1))

        def doze(f, word):
            f.call("i32", "usleep", f.constant("i32", 10000))

        def report(f, word):
            newline = f.module.table("i8", list(b"begun\\n"))
            f.call("i64", "write", f.constant("i32", 1), newline, f.constant("i64", 6))

        def mark(f, word):
            f.store(f.constant("i64", 1), word, 8)

        word = np.zeros(1, np.int64)
        entries = [Entry(kernel(report), ((0, 0),)), *[Entry(kernel(doze), ((0, 0),))] * 20000]
        frame = Frame(Table([*entries, Entry(kernel(mark), ((0, 0),))], commit=len(entries)))
        try:
            frame.run([word.ctypes.data])
        except KeyboardInterrupt:
            print("interrupted", frame.committed, word[0])
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=60)
    assert rest.split() == ["interrupted", "False", "0"]
    assert child.returncode == 0
