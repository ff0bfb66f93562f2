"""A program on the CPU: a table of kernels and operands, walked by one native call.

An operand is a *slot* and an offset. What a slot stands for (the arena, an input, an output) is an address
given for each run, so one table serves any number of runs, one after the other or at once. A `Frame` is the
memory of one run.

The entries before `commit` can fail or be interrupted and then leave no trace; those from `commit` on always
run to the end. Kernels report failure by writing a code to an int32 word that the table names; it is zeroed
before a run and read at the commit point. While a long table runs on the main thread, an interrupt (Ctrl-C)
is noticed between kernels: the native call comes back, Python runs its signal handler, and if that does not
raise, the run goes on where it stopped.

Between kernels an entry may be a `Control`: it moves the address of a slot, looks at a value, or goes on at
another entry, so that loops and branches are part of a table and Python has no part in them.

Knows kernels only as addresses: what they compute, and where memory comes from, is for others.
"""

from __future__ import annotations

import ctypes
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from treadle import interrupts
from treadle.devices.cpu import ir, objects, threads
from treadle.devices.cpu.fork_join import atomic_load, atomic_store, call_pointer, emit_clock
from treadle.devices.cpu.ir import Function, Value
from treadle.devices.cpu.native import LoadedKernel
from treadle.devices.cpu.threads import Scratch

INTERRUPTED = -1

FLOPS, BYTES_PER_S = 5e10, 1e10
"""What one thread roughly does in a second; only to tell long from short."""
UNKNOWN_S = 1e-4
"""The guess for a kernel that says nothing of its work."""
TOGETHER_S = 2e-6
"""A shorter kernel stays on one thread: a join of two costs 0.5 us, and the data moves between caches."""
WAKE_S = 1e-4
"""With less work than this for several threads a table does not wake those that sleep: that takes 30 to 80
us.
"""
WATCH_S = 1e-3
"""A shorter table is not interrupted: Python sees the signal right after it."""

# The table, in words of 8 bytes: counts, then entries, then operands (where in the frame the base is, byte
# offset).
COUNT, COMMIT, OPERANDS, OPERAND_COUNT, ENTRIES = range(5)
ENTRY_KERNEL, ENTRY_TASKS, ENTRY_ARGUMENTS, ENTRY_MODE, ENTRY_WORDS = range(5)
ALONE, TOGETHER, TOGETHER_AND_WAKE, FIRST_CONTROL = range(4)
CONTROLS = (
    "set", "move", "add", "xor", "scale", "jump", "jump_if_zero", "jump_if_fault", "load_byte", "load_word",
    "store_word", "resolve",
)  # fmt: skip

# The frame, in words. Its first slot is the frame itself.
(SELF, TABLE, ARGUMENTS, FORK_JOIN, GET_SIGNAL, SET_SIGNAL, NO_FAULT, PREVIOUS) = range(8)
(CONTROL, SCRATCH, TIMES, WATCH, POSITION, COMMITTED, BASES) = range(8, 15)

# Times, in words: where the next event and the end of the events are; a row for each entry, of two times of
# the clock, two of the thread's, nanoseconds, and how often; events, each an entry's number and two times in
# nanoseconds.
NEXT_EVENT, EVENTS_END, TIMES_HEAD = range(3)
BEGAN, ENDED, OWN_BEGAN, OWN_ENDED, BUSY, TOTAL, COUNTED, TIMES_WORDS = 0, 2, 4, 6, 8, 9, 10, 11
EVENT_WORDS = 3
EVENTS_MOST = 1 << 16
"""How many events are kept of one run of a table in which there are loops; the rows count all of them."""


class Entry(NamedTuple):
    """One kernel of a table and where its operands are: (slot, byte offset) each. `times` is how often it
    will run, roughly.
    """

    kernel: LoadedKernel
    operands: tuple[tuple[int, int], ...]
    times: int = 1


class Control(NamedTuple):
    """What happens to the slots s, or where the run goes on. n is `number`:

    =================  =====================================================================================
    ``set``            s0 = n
    ``move``           s0 = s1 + n
    ``add``            s0 += n
    ``xor``            s0 ^= s1
    ``scale``          s0 += s1 * n
    ``jump``           go on at entry n
    ``jump_if_zero``   the same if s0 is 0
    ``jump_if_fault``  the same if a kernel has reported a failure
    ``load_byte``      s0 = the byte at the operand
    ``load_word``      s0 = the 8 bytes at the operand
    ``store_word``     the 8 bytes at the operand = s0
    ``resolve``        look up the operands of the entries from here to n (not included) anew, since slots
                       have moved
    =================  =====================================================================================
    """

    kind: str
    slots: tuple[int, ...] = ()
    number: int = 0
    operands: tuple[tuple[int, int], ...] = ()


class Timing(NamedTuple):
    """When an entry ran last, by the monotonic clock; how often it ran, for how long, and how much CPU time
    its threads took, all of them together. `alone` is whether it was given to one thread.
    """

    began_ns: int
    ended_ns: int
    busy_ns: int
    total_ns: int
    count: int
    alone: bool


class Table:
    """A program: `entries` in order, of which those from `commit` on (default: none) change what outlives the
    run.

    `fault` is the (slot, byte offset) of the int32 word to which kernels report failure. `slots` is how many
    there are, if the last ones are not used.

    >>> table = Table([])
    >>> table.run([])
    0
    """

    def __init__(
        self,
        entries: Sequence[Entry | Control],
        commit: int | None = None,
        fault: tuple[int, int] | None = None,
        slots: int = 0,
    ):
        self.entries = tuple(entries)
        self.commit = len(self.entries) if commit is None else commit
        if not 0 <= self.commit <= len(self.entries):
            raise ValueError(f"commit must be from 0 to {len(self.entries)}, not {self.commit}")
        # The first operand of all is the fault word, in the frame itself if nobody else has one.
        operands = [(SELF, 8 * NO_FAULT) if fault is None else (BASES + fault[0], fault[1])]
        kernels = [entry for entry in self.entries if isinstance(entry, Entry)]
        shared = [
            isinstance(e, Entry) and cost_s(e.kernel) >= TOGETHER_S and e.kernel.facts.tasks > 1
            for e in self.entries
        ]
        costs = [cost_s(e.kernel) * e.times if isinstance(e, Entry) else 0.0 for e in self.entries]
        shared_s = sum(cost for cost, together in zip(costs, shared, strict=True) if together)
        mode = TOGETHER_AND_WAKE if shared_s >= WAKE_S else TOGETHER
        starts = [1]
        for entry in self.entries:
            starts.append(starts[-1] + len(entry.operands))
        words = []
        for i, (entry, together) in enumerate(zip(self.entries, shared, strict=True)):
            if isinstance(entry, Entry):
                kernel = entry.kernel
                words += [kernel.address, kernel.facts.tasks, 8 * starts[i], mode if together else ALONE]
            else:
                first, second, *_ = (*[8 * (BASES + slot) for slot in entry.slots], 0, 0)
                number = 8 * starts[i] if entry.operands else entry.number
                if entry.kind == "resolve":
                    first, second = starts[i], starts[entry.number]
                words += [first, second, number, FIRST_CONTROL + CONTROLS.index(entry.kind)]
            operands += [(BASES + slot, offset) for slot, offset in entry.operands]
        used = [slot + 1 for entry in self.entries if isinstance(entry, Control) for slot in entry.slots]
        self.slots = max([slots, *used, *(slot - BASES + 1 for slot, _ in operands if slot >= BASES)])
        self.arguments = len(operands)
        self.scratch_nbytes = max((entry.kernel.facts.scratch_nbytes for entry in kernels), default=0)
        self.events = TIMES_HEAD + TIMES_WORDS * len(self.entries)
        """Where events begin among the times."""
        self.most_events = EVENTS_MOST if len(kernels) < len(self.entries) else len(kernels)
        self.together = shared
        """Which entries are done by all threads, where there are several."""
        self.shared = any(shared)
        self.watched = sum(costs) >= WATCH_S
        head = [len(self.entries), self.commit, 8 * (ENTRIES + len(words)), len(operands)]
        tail = [word for slot, offset in operands for word in (8 * slot, offset)]
        self._words = (ctypes.c_int64 * (len(head) + len(words) + len(tail)))(*head, *words, *tail)
        self.address = ctypes.addressof(self._words)
        self._free: list[Frame] = []

    def run(self, bases: Sequence[int]) -> int:
        """Run once; see `Frame.run`. Who must know whether an interrupted run was committed makes a
        `Frame`.
        """
        try:
            frame = self._free.pop()
        except IndexError:
            frame = Frame(self)
        code = frame.run(bases)
        self._free.append(frame)
        return code


class Frame:
    """The memory of one run of a table at a time: argument lists, how far it came, and times if they are
    asked for.
    """

    def __init__(self, table: Table):
        self.table = table
        words = BASES + table.slots
        self._words = (ctypes.c_int64 * (words + table.arguments))()
        self.address = ctypes.addressof(self._words)
        self._words[SELF] = self.address
        self._words[TABLE] = table.address
        self._words[ARGUMENTS] = self.address + 8 * words
        self._words[FORK_JOIN] = threads.fork_join_address()
        for word, name in ((GET_SIGNAL, "PyOS_getsig"), (SET_SIGNAL, "PyOS_setsig")):
            self._words[word] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        self._run = _native_run()
        self._fill = struct.Struct(f"={BASES - CONTROL + table.slots}q").pack_into
        self._times: ctypes.Array[ctypes.c_int64] | None = None
        self._pool: threads.Pool | None = None
        self._scratch: Scratch | None = None

    def run(self, bases: Sequence[int], profile: bool = False) -> int:
        """Run the table on the given addresses, one for each slot: 0, or the code that a kernel reported.

        A Python signal handler may raise out of this, KeyboardInterrupt usually; `committed` says what became
        of the run. With `profile`, `timings` are taken.
        """
        table = self.table
        control = scratch = times = watch = 0
        if table.shared:
            pool = threads.pool()
            if pool is not None:
                pool.reserve_scratch(table.scratch_nbytes)
                # Held for the run, should another thread replace it meanwhile; as is the scratch memory.
                self._pool, control = pool, pool.address
        if table.scratch_nbytes:
            self._scratch = _own_scratch(table.scratch_nbytes)
            scratch = self._scratch.address
        if table.watched:
            watch = threading.current_thread() is threading.main_thread()
        if profile:
            self._times = (ctypes.c_int64 * (table.events + EVENT_WORDS * table.most_events))()
            times = ctypes.addressof(self._times)
            self._times[NEXT_EVENT] = times + 8 * table.events
            self._times[EVENTS_END] = times + ctypes.sizeof(self._times)
        self._fill(self._words, 8 * CONTROL, control, scratch, times, watch, 0, 0, *bases)
        while (code := self._run(self.address)) == INTERRUPTED:
            interrupts.deliver()
        return code

    @property
    def committed(self) -> bool:
        """Whether the last run came to its commit point, and so to its end, whatever was raised around it."""
        return bool(self._words[COMMITTED])

    def timings(self) -> list[Timing]:
        """Of each entry, from the last run with ``profile=True``."""
        times = self._times or []
        rows = [times[i : i + TIMES_WORDS] for i in range(TIMES_HEAD, self.table.events, TIMES_WORDS)]
        timings = []
        one = not self._words[CONTROL]
        for row, together in zip(rows if times else (), self.table.together, strict=False):
            began, ended = (row[i] * 1_000_000_000 + row[i + 1] for i in (BEGAN, ENDED))
            # Without a time where another caller had the threads.
            busy = row[BUSY] or row[TOTAL]
            timings.append(Timing(began, ended, busy, row[TOTAL], row[COUNTED], one or not together))
        return timings

    def events(self) -> list[tuple[int, int, int]]:
        """What ran in the last run with ``profile=True``, in order: (number of the entry, began, ended) each,
        in nanoseconds of the monotonic clock. Of a long run the first `EVENTS_MOST`.
        """
        if self._times is None:
            return []
        last = (self._times[NEXT_EVENT] - ctypes.addressof(self._times)) // 8
        words = iter(self._times[self.table.events : last])
        return list(zip(words, words, words, strict=True))


def cost_s(kernel: LoadedKernel) -> float:
    """A rough time for one thread, a function of the kernel alone."""
    if not kernel.facts.flops and not kernel.facts.nbytes:
        return UNKNOWN_S
    return max(kernel.facts.flops / FLOPS, kernel.facts.nbytes / BYTES_PER_S)


_local = threading.local()


def _own_scratch(nbytes: int) -> Scratch:
    """This thread's scratch memory, at least so large; nothing in it outlives a kernel."""
    scratch = getattr(_local, "scratch", None)
    if scratch is None or scratch.nbytes < nbytes:
        scratch = _local.scratch = Scratch(nbytes)
    return scratch


@cache
def _native_run() -> Callable[[int], int]:
    """The native ``run(frame)``; its library lives as long as the process."""
    library = _library()
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(library["run"])


@cache
def _library() -> objects.Library:
    return objects.load_written(module_text, ("run",))


# -- the native side


def module_text() -> str:
    """The module that walks tables."""
    module = ir.Module()
    module.globals += [
        "@interrupted = internal global i64 0, align 8",
        "@previous = internal global ptr null, align 8",
    ]
    _emit_handler(module)
    _emit_execute(module)
    _emit_advance(module)
    _emit_run(module)
    return module.text()


INTERRUPTED_FLAG, PREVIOUS_HANDLER = Value("ptr", "@interrupted"), Value("ptr", "@previous")


def _emit_handler(module: ir.Module) -> None:
    """The signal handler of a run: note the signal, then do what would have been done."""
    f = module.function("note_interrupt", ["i32"], internal=True)
    atomic_store(f, Value("i64", "1"), INTERRUPTED_FLAG, "seq_cst")
    call_pointer(f, f.load("ptr", PREVIOUS_HANDLER, 8), *f.arguments)
    f.ret()


def _emit_execute(module: ir.Module) -> None:
    """``execute(frame, entry, i)``: run one entry, alone or by all threads."""
    f = module.function("execute", ["ptr", "ptr", "i64"], internal=True)
    frame, entry, i = f.arguments
    null = Value("ptr", "null")
    kernel = f.load("ptr", f.at(entry, 8 * ENTRY_KERNEL), 8)
    tasks = f.load("i64", f.at(entry, 8 * ENTRY_TASKS), 8)
    arguments = f.at(_word(f, frame, ARGUMENTS, "ptr"), f.load("i64", f.at(entry, 8 * ENTRY_ARGUMENTS), 8))
    mode = f.load("i64", f.at(entry, 8 * ENTRY_MODE), 8)
    control, scratch, times = (_word(f, frame, word, "ptr") for word in (CONTROL, SCRATCH, TIMES))
    row, timed = (
        f.at(times, f.add(8 * TIMES_HEAD, f.mul(i, 8 * TIMES_WORDS))),
        f.compare("icmp ne", times, null),
    )
    with f.when(timed):
        emit_clock(f, f.at(row, 8 * BEGAN))
    together, alone, done = f.label("together"), f.label("alone"), f.label("joined")
    many = f.op(
        "and", f.compare("icmp ne", mode, Value("i64", str(ALONE))), f.compare("icmp ne", control, null)
    )
    f.branch(together, many, alone)
    f.start(together)
    wake = f.cast("zext", f.compare("icmp eq", mode, Value("i64", str(TOGETHER_AND_WAKE))), "i64")
    busy = f.select(timed, f.at(row, 8 * BUSY), null)
    call_pointer(f, _word(f, frame, FORK_JOIN, "ptr"), control, kernel, arguments, tasks, scratch, wake, busy)
    f.branch(done)
    f.start(alone)
    with f.when(timed):
        emit_clock(f, f.at(row, 8 * OWN_BEGAN), time.CLOCK_THREAD_CPUTIME_ID)
    call_pointer(f, kernel, arguments, Value("i64", "0"), tasks, scratch)
    with f.when(timed):
        emit_clock(f, f.at(row, 8 * OWN_ENDED), time.CLOCK_THREAD_CPUTIME_ID)
        _increase(f, f.at(row, 8 * BUSY), _between(f, row, OWN_BEGAN, OWN_ENDED)[2])
    f.branch(done)
    f.start(done)
    with f.when(timed):
        emit_clock(f, f.at(row, 8 * ENDED))
        began, ended, spent = _between(f, row, BEGAN, ENDED)
        _increase(f, f.at(row, 8 * TOTAL), spent)
        _increase(f, f.at(row, 8 * COUNTED), Value("i64", "1"))
        event = _word(f, times, NEXT_EVENT, "ptr")
        with f.when(f.compare("icmp ult", event, _word(f, times, EVENTS_END, "ptr"))):
            for word, value in enumerate((i, began, ended)):
                f.store(value, f.at(event, 8 * word), 8)
            f.store(f.at(event, 8 * EVENT_WORDS), f.at(times, 8 * NEXT_EVENT), 8)
    f.ret()


def _between(f: Function, row: Value, first: int, last: int) -> tuple[Value, Value, Value]:
    """Two times of a clock in nanoseconds, and what is between them."""
    began, ended = (
        f.i64(f.add(f.mul(_word(f, row, word), 1_000_000_000), _word(f, row, word + 1)))
        for word in (first, last)
    )
    return began, ended, f.op("sub", ended, began)


def _increase(f: Function, pointer: Value, by: Value) -> None:
    f.store(f.op("add", f.load("i64", pointer, 8), by), pointer, 8)


def _emit_advance(module: ir.Module) -> None:
    """``advance(frame, table, i)``: do what entry i says; the number of the entry to go on at."""
    f = module.function("advance", ["ptr", "ptr", "i64"], result="i64", internal=True)
    frame, table, i = f.arguments
    entry = f.at(table, f.add(8 * ENTRIES, f.mul(i, 8 * ENTRY_WORDS)))
    following = f.op("add", i, Value("i64", "1"))
    mode = f.load("i64", f.at(entry, 8 * ENTRY_MODE), 8)
    kernel, control = f.label("kernel"), f.label("control")
    f.branch(kernel, f.compare("icmp slt", mode, Value("i64", str(FIRST_CONTROL))), control)
    f.start(kernel)
    f.call("void", "execute", frame, entry, i)
    f.ret(following)
    f.start(control)
    first, second, number = (_word(f, entry, word) for word in range(3))
    zero, arguments = Value("i64", "0"), _word(f, frame, ARGUMENTS, "ptr")

    def slot(offset: Value) -> Value:
        return f.at(frame, offset)

    def operand() -> Value:
        return f.load("ptr", f.at(arguments, number), 8)

    def put(value: Value) -> None:
        f.store(value, slot(first), 8)

    def conditional(condition: Value) -> Value:
        return f.select(condition, number, following)

    def written(kind: str) -> Value:
        """Write what a kind does; where to go on."""
        if kind == "set":
            put(number)
        elif kind == "move":
            put(f.op("add", f.load("i64", slot(second), 8), number))
        elif kind == "add":
            put(f.op("add", f.load("i64", slot(first), 8), number))
        elif kind == "xor":
            put(f.op("xor", f.load("i64", slot(first), 8), f.load("i64", slot(second), 8)))
        elif kind == "scale":
            product = f.op("mul", f.load("i64", slot(second), 8), number)
            put(f.op("add", f.load("i64", slot(first), 8), product))
        elif kind == "jump":
            return number
        elif kind == "jump_if_zero":
            return conditional(f.compare("icmp eq", f.load("i64", slot(first), 8), zero))
        elif kind == "jump_if_fault":
            fault = f.load("i32", f.load("ptr", arguments, 8), 4)
            return conditional(f.compare("icmp ne", fault, Value("i32", "0")))
        elif kind == "load_byte":
            put(f.cast("zext", f.load("i8", operand(), 1), "i64"))
        elif kind == "load_word":
            put(f.load("i64", operand(), 8))
        elif kind == "store_word":
            f.store(f.load("i64", slot(first), 8), operand(), 8)
        else:
            _look_up(f, frame, table, first, second)
        return following

    for code, kind in enumerate(CONTROLS, FIRST_CONTROL):
        hit, miss = f.label(kind), f.label("other")
        f.branch(hit, f.compare("icmp eq", mode, Value("i64", str(code))), miss)
        f.start(hit)
        f.ret(written(kind))
        f.start(miss)
    f.ret(following)


def _emit_run(module: ir.Module) -> None:
    """``run(frame)``: start or go on with a run; 0, a fault's code or `INTERRUPTED`."""
    f = module.function("run", ["ptr"], result="i64")
    (frame,) = f.arguments
    zero, one, null = Value("i64", "0"), Value("i64", "1"), Value("ptr", "null")
    table, position = _word(f, frame, TABLE, "ptr"), _word(f, frame, POSITION)
    count, commit = _word(f, table, COUNT), _word(f, table, COMMIT)
    with f.when(f.compare("icmp eq", position, zero)):
        _resolve(f, frame, table)
    _watch(f, frame)
    watching = f.compare("icmp ne", _word(f, frame, PREVIOUS, "ptr"), null)

    def advance(i: Value, go: Value) -> tuple[Value, list[Value]]:
        with f.when(go):
            f.store(f.call("i64", "advance", frame, table, i), f.at(frame, 8 * POSITION), 8)
        return go, [_word(f, frame, POSITION)]

    def step(i: Value) -> tuple[Value, list[Value]]:
        signalled = f.compare("icmp ne", atomic_load(f, INTERRUPTED_FLAG, "monotonic"), zero)
        stop = f.select(watching, signalled, Value("i1", "false"))
        more = f.compare("icmp slt", i, commit)
        return advance(i, f.select(stop, Value("i1", "false"), more))

    (reached,) = f.do_while(step, [position])
    through, sound, end = f.label("through"), f.label("sound"), f.label("end")
    stopped = f.block
    f.branch(through, f.compare("icmp eq", reached, commit), end)
    f.start(through)
    fault = f.cast("zext", f.load("i32", f.load("ptr", _word(f, frame, ARGUMENTS, "ptr"), 8), 4), "i64")
    f.branch(sound, f.compare("icmp eq", fault, zero), end)
    f.start(sound)
    f.store(one, f.at(frame, 8 * COMMITTED), 8)
    f.do_while(lambda i: advance(i, f.compare("icmp slt", i, count)), [commit])
    last = f.block
    f.branch(end)
    f.start(end)
    code = f.phi("i64", (Value("i64", str(INTERRUPTED)), stopped), (fault, through), (zero, last))
    previous = _word(f, frame, PREVIOUS, "ptr")
    with f.when(f.compare("icmp ne", previous, null)):
        _set_signal(f, frame, previous)
    f.ret(code)


def _resolve(f: Function, frame: Value, table: Value) -> None:
    """Turn every operand into an address, and clear the fault word."""
    _look_up(f, frame, table, 0, _word(f, table, OPERAND_COUNT))
    f.store(Value("i32", "0"), f.load("ptr", _word(f, frame, ARGUMENTS, "ptr"), 8), 4)


def _look_up(f: Function, frame: Value, table: Value, first: ir.Index, last: ir.Index) -> None:
    """Turn the operands from number `first` to `last` (not included) into addresses."""
    arguments = _word(f, frame, ARGUMENTS, "ptr")
    operands = f.at(table, _word(f, table, OPERANDS))

    def resolve(i: Value) -> None:
        operand = f.at(operands, f.mul(i, 16))
        base = f.load("i64", f.at(frame, f.load("i64", operand, 8)), 8)
        f.store(f.op("add", base, f.load("i64", f.at(operand, 8), 8)), f.at(arguments, f.mul(i, 8)), 8)

    f.loop(first, last, resolve)


def _watch(f: Function, frame: Value) -> None:
    """Put our signal handler before the one that is there, if the run is watched and there is one."""
    number = Value("i32", str(int(signal.SIGINT)))
    f.store(Value("ptr", "null"), f.at(frame, 8 * PREVIOUS), 8)
    with f.when(f.compare("icmp ne", _word(f, frame, WATCH), Value("i64", "0"))):
        get = _word(f, frame, GET_SIGNAL, "ptr")
        previous = f.assign("ptr", f"call ptr {get.name}({number.type} {number.name})")
        # The two smallest addresses stand for "die" and "ignore", which need no help from us.
        with f.when(f.compare("icmp ugt", previous, f.assign("ptr", "inttoptr i64 1 to ptr"))):
            f.store(previous, PREVIOUS_HANDLER, 8)
            f.store(previous, f.at(frame, 8 * PREVIOUS), 8)
            atomic_store(f, Value("i64", "0"), INTERRUPTED_FLAG, "seq_cst")
            _set_signal(f, frame, Value("ptr", "@note_interrupt"))


def _set_signal(f: Function, frame: Value, handler: Value) -> None:
    set = _word(f, frame, SET_SIGNAL, "ptr")
    f.assign("ptr", f"call ptr {set.name}(i32 {int(signal.SIGINT)}, ptr {handler.name})")


def _word(f: Function, block: Value, word: int, type: str = "i64") -> Value:
    """A word of the table or the frame."""
    return f.load(type, f.at(block, 8 * word), 8)
