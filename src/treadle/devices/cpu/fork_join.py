"""Native code that cuts a kernel's tasks over threads and joins them: LLVM IR, no interpreter needed.

A fork cuts the tasks into contiguous *shares*, several for each thread, and publishes one word: a counter and
the number of shares. Thread t takes its own shares first (the same ones each time, for its cache), then any
that nobody has taken, so a thread that is late, asleep or descheduled delays nothing but what it has already
begun. A share is taken by raising its claim to the published word. Since a fork ends only when all its shares
are done, whoever wins a claim knows that the job it belongs to is still the one described, and a thread that
reads an old word finds every claim already that high.

All threads meet in one control block, whose layout is below. Its owner fills in `THREADS`, `SPIN_LIMIT`,
`CLAIMS` (the address of `SHARES_PER_THREAD` words for each thread) and each worker's scratch memory. Knows
nothing of programs and tables.
"""

from __future__ import annotations

import time

from treadle.devices.cpu import ir, target
from treadle.devices.cpu.ir import Function, Index, Value

SHARES_PER_THREAD = 4
"""More than one, so that a thread that loses its core for a while is helped with what it has not begun."""
YIELD_AFTER = 2000
"""Pauses after which a waiting caller offers its core to others: somebody it waits for may have none."""

# The control block, in bytes; what different threads write is on different cache lines.
PUBLISHED, STOP = 0, 8
JOB_KERNEL, JOB_ARGUMENTS, JOB_TASKS, JOB_BUSY = 64, 72, 80, 88
DONE = 128
OWNER, EXPECTED = 192, 200
SLEEPERS, THREADS, SPIN_LIMIT, CLAIMS = 256, 264, 272, 280
MUTEX, CONDITION = 320, 448  # pthread_mutex_t and pthread_cond_t: at most 64 bytes on any system
THREAD, THREAD_NBYTES = 576, 64
THREAD_SCRATCH, THREAD_BEGAN, THREAD_ENDED = 0, 16, 32
SHARES_BITS = 16

PAUSES = {"x86_64": ("llvm.x86.sse2.pause", ()), "aarch64": ("llvm.aarch64.hint", (Value("i32", "1"),))}
"""How each architecture says that it is spinning."""


SYMBOLS = ("initialise", "worker", "wake", "fork_join", "spin")
"""The functions that `module_text` defines."""


def module_text() -> str:
    """The module: see the docstrings of its functions' writers."""
    module = ir.Module()
    _emit_initialise(module)
    _emit_wake(module)
    _emit_share(module)
    _emit_participate(module)
    _emit_worker(module)
    _emit_fork_join(module)
    f = module.function("spin", ["i64"])
    f.loop(0, f.arguments[0], lambda i: _pause(f))
    f.ret()
    return module.text()


def _emit_initialise(module: ir.Module) -> None:
    f = module.function("initialise", ["ptr"])
    (control,) = f.arguments
    null = Value("ptr", "null")
    f.call("i32", "pthread_mutex_init", f.at(control, MUTEX), null)
    f.call("i32", "pthread_cond_init", f.at(control, CONDITION), null)
    f.ret()


def _emit_wake(module: ir.Module) -> None:
    """``wake(control)``: wake whoever sleeps. The word they sleep on must have been changed before."""
    f = module.function("wake", ["ptr"])
    (control,) = f.arguments
    f.call("i32", "pthread_mutex_lock", f.at(control, MUTEX))
    f.call("i32", "pthread_cond_broadcast", f.at(control, CONDITION))
    f.call("i32", "pthread_mutex_unlock", f.at(control, MUTEX))
    f.ret()


def _emit_share(module: ir.Module) -> None:
    """``share(control, thread, word, s)``: do share s of the job `word` if nobody has taken it; 1 if done
    here, else 0.
    """
    f = module.function("share", ["ptr", "ptr", "i64", "i64"], result="i64", internal=True)
    control, thread, word, share = f.arguments
    free, won, taken = f.label("free"), f.label("won"), f.label("taken")
    claim = f.at(f.load("ptr", f.at(control, CLAIMS), 8), f.mul(share, 8))
    old = atomic_load(f, claim, "monotonic")
    f.branch(free, f.compare("icmp slt", old, word), taken)
    f.start(free)
    f.branch(won, compare_and_swap(f, claim, old, word), taken)
    f.start(won)
    shares = _shares(f, word)
    tasks, busy = f.load("i64", f.at(control, JOB_TASKS), 8), f.load("ptr", f.at(control, JOB_BUSY), 8)
    first = f.op("udiv", f.op("mul", tasks, share), shares)
    last = f.op("udiv", f.op("mul", tasks, f.op("add", share, Value("i64", "1"))), shares)
    timed = f.compare("icmp ne", busy, Value("ptr", "null"))
    with f.when(timed):
        emit_clock(f, f.at(thread, THREAD_BEGAN), time.CLOCK_THREAD_CPUTIME_ID)
    kernel, arguments = (
        f.load("ptr", f.at(control, JOB_KERNEL), 8),
        f.load("ptr", f.at(control, JOB_ARGUMENTS), 8),
    )
    call_pointer(f, kernel, arguments, first, last, f.load("ptr", f.at(thread, THREAD_SCRATCH), 8))
    with f.when(timed):
        emit_clock(f, f.at(thread, THREAD_ENDED), time.CLOCK_THREAD_CPUTIME_ID)
        seconds, nanoseconds = (
            f.op(
                "sub",
                f.load("i64", f.at(thread, THREAD_ENDED + i), 8),
                f.load("i64", f.at(thread, THREAD_BEGAN + i), 8),
            )
            for i in (0, 8)
        )
        atomic_add(
            f, busy, f.op("add", f.op("mul", seconds, Value("i64", "1000000000")), nanoseconds), "monotonic"
        )
    f.ret(Value("i64", "1"))
    f.start(taken)
    f.ret(Value("i64", "0"))


def _emit_participate(module: ir.Module) -> None:
    """``participate(control, t, word)``: do what there is to do of the job `word`; how many shares were done
    here.
    """
    f = module.function("participate", ["ptr", "i64", "i64"], result="i64", internal=True)
    control, t, word = f.arguments
    one = Value("i64", "1")
    shares, threads = _shares(f, word), f.load("i64", f.at(control, THREADS), 8)
    thread = f.at(control, f.add(THREAD, f.mul(t, THREAD_NBYTES)))
    first = f.op("udiv", f.op("mul", t, shares), threads)
    last = f.op("udiv", f.op("mul", f.op("add", t, one), shares), threads)

    def own(share: Value, done: Value) -> list[Value]:
        return [f.op("add", done, f.call("i64", "share", control, thread, word, share))]

    def other(behind: Value, done: Value) -> list[Value]:
        # Backwards from the own shares: the share that its owner would reach last comes first.
        share = f.op("sub", first, behind)
        wrapped = f.select(f.compare("icmp slt", share, Value("i64", "0")), f.op("add", share, shares), share)
        return own(wrapped, done)

    (done,) = f.loop(first, last, own, [Value("i64", "0")])
    others = f.op("sub", shares, f.op("sub", last, first))
    (done,) = f.loop(1, f.op("add", others, one), other, [done])
    f.ret(done)


def _emit_worker(module: ir.Module) -> None:
    """``worker(control, t)``: take part in every fork until the pool is stopped."""
    f = module.function("worker", ["ptr", "i64"])
    control, t = f.arguments
    limit = f.load("i64", f.at(control, SPIN_LIMIT), 8)

    def idle(seen: Value, order: str) -> Value:
        """Whether there is neither a new job nor an end."""
        same = f.compare("icmp eq", atomic_load(f, f.at(control, PUBLISHED), order), seen)
        going = f.compare("icmp eq", atomic_load(f, f.at(control, STOP), order), Value("i64", "0"))
        return f.op("and", same, going)

    def sleep(seen: Value) -> None:
        # The order is what makes it safe: a sleeper says so first and then reads the word again; whoever
        # publishes writes the word first and then reads whether anybody sleeps.
        f.call("i32", "pthread_mutex_lock", f.at(control, MUTEX))
        atomic_add(f, f.at(control, SLEEPERS), Value("i64", "1"), "seq_cst")

        def doze() -> tuple[Value, list[Value]]:
            with f.when(idle(seen, "seq_cst")):
                f.call("i32", "pthread_cond_wait", f.at(control, CONDITION), f.at(control, MUTEX))
            return idle(seen, "seq_cst"), []

        f.do_while(doze)
        atomic_add(f, f.at(control, SLEEPERS), Value("i64", "-1"), "seq_cst")
        f.call("i32", "pthread_mutex_unlock", f.at(control, MUTEX))

    def turn(seen: Value) -> tuple[Value, list[Value]]:
        def spin(turns: Value) -> tuple[Value, list[Value]]:
            _pause(f)
            again = f.op("and", idle(seen, "acquire"), f.compare("icmp slt", turns, limit))
            return again, [f.op("add", turns, Value("i64", "1"))]

        f.do_while(spin, [Value("i64", "0")])
        with f.when(idle(seen, "acquire")):
            sleep(seen)
        word = atomic_load(f, f.at(control, PUBLISHED), "acquire")
        going = f.compare("icmp eq", atomic_load(f, f.at(control, STOP), "acquire"), Value("i64", "0"))
        with f.when(going):
            done = f.call("i64", "participate", control, t, word)
            with f.when(f.compare("icmp sgt", done, Value("i64", "0"))):
                atomic_add(f, f.at(control, DONE), done, "release")
        return going, [word]

    f.do_while(turn, [Value("i64", "0")])
    f.ret()


def _emit_fork_join(module: ir.Module) -> None:
    """``fork_join(control, kernel, arguments, tasks, scratch, wake, busy)``: all tasks of a kernel, by all
    threads.

    `scratch` is the caller's own; `wake` is whether the kernel is worth waking sleeping threads for; `busy`,
    if not null, is an i64 to which the nanoseconds of CPU time that threads spend in the kernel are added. If
    another caller has the threads, the caller does all tasks itself.
    """
    f = module.function("fork_join", ["ptr", "ptr", "ptr", "i64", "ptr", "i64", "ptr"])
    control, kernel, arguments, tasks, scratch, wake, busy = f.arguments
    zero, one = Value("i64", "0"), Value("i64", "1")
    together, alone = f.label("together"), f.label("alone")
    f.branch(together, compare_and_swap(f, f.at(control, OWNER), zero, one), alone)
    f.start(alone)
    call_pointer(f, kernel, arguments, zero, tasks, scratch)
    f.ret()

    f.start(together)
    jobs = ((kernel, JOB_KERNEL), (arguments, JOB_ARGUMENTS), (tasks, JOB_TASKS), (busy, JOB_BUSY))
    for value, offset in (*jobs, (scratch, THREAD + THREAD_SCRATCH)):
        f.store(value, f.at(control, offset), 8)
    many = f.mul(f.load("i64", f.at(control, THREADS), 8), SHARES_PER_THREAD)
    shares = f.i64(f.min(many, tasks))
    published = f.at(control, PUBLISHED)
    counter = f.op("add", f.op("lshr", f.load("i64", published, 8), Value("i64", str(SHARES_BITS))), one)
    word = f.op("or", f.op("shl", counter, Value("i64", str(SHARES_BITS))), shares)
    atomic_store(f, word, published, "seq_cst")
    sleepers = atomic_load(f, f.at(control, SLEEPERS), "seq_cst")
    asleep = f.compare("icmp sgt", sleepers, zero)
    with f.when(f.op("and", asleep, f.compare("icmp ne", wake, zero))):
        f.call("void", "wake", control)
    done = f.call("i64", "participate", control, zero, word)
    before = f.load("i64", f.at(control, EXPECTED), 8)
    expected = f.op("add", before, f.op("sub", shares, done))
    f.store(expected, f.at(control, EXPECTED), 8)

    def wait(turns: Value) -> tuple[Value, list[Value]]:
        with f.when(f.compare("icmp sgt", turns, Value("i64", str(YIELD_AFTER)))):
            f.call("i32", "sched_yield")
        _pause(f)
        missing = f.compare("icmp ne", atomic_load(f, f.at(control, DONE), "acquire"), expected)
        return missing, [f.op("add", turns, one)]

    with f.when(f.compare("icmp ne", atomic_load(f, f.at(control, DONE), "acquire"), expected)):
        f.do_while(wait, [zero])
    atomic_store(f, zero, f.at(control, OWNER), "release")
    f.ret()


def _shares(f: Function, word: Value) -> Value:
    """The number of shares in a published word."""
    return f.op("and", word, Value("i64", str((1 << SHARES_BITS) - 1)))


def _pause(f: Function) -> None:
    """Tell the core that this is a spinning loop."""
    name, arguments = PAUSES.get(target.architecture(), ("", ()))
    if name:
        f.call("void", name, *arguments)


def emit_clock(f: Function, pointer: Value, clock: int = time.CLOCK_MONOTONIC) -> None:
    """Write the time of a clock as (seconds, nanoseconds), two i64."""
    f.call("i32", "clock_gettime", Value("i32", str(clock)), pointer)


def call_pointer(f: Function, function: Value, *arguments: Value) -> None:
    """Call a function without result at an address known at run time."""
    f.emit(f"call void {function.name}({', '.join(f'{a.type} {a.name}' for a in arguments)})")


def atomic_load(f: Function, pointer: Value, order: str) -> Value:
    return f.assign("i64", f"load atomic i64, ptr {pointer.name} {order}, align 8")


def atomic_store(f: Function, value: Value, pointer: Value, order: str) -> None:
    f.emit(f"store atomic i64 {value.name}, ptr {pointer.name} {order}, align 8")


def atomic_add(f: Function, pointer: Value, value: Index, order: str) -> None:
    f.assign("i64", f"atomicrmw add ptr {pointer.name}, i64 {f.i64(value).name} {order}")


def compare_and_swap(f: Function, pointer: Value, old: Value, new: Value) -> Value:
    """Replace `old` by `new` in one step; whether that happened."""
    pair = f.assign(
        "{ i64, i1 }", f"cmpxchg ptr {pointer.name}, i64 {old.name}, i64 {new.name} acq_rel monotonic"
    )
    return f.assign("i1", f"extractvalue {{ i64, i1 }} {pair.name}, 1")
