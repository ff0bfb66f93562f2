"""Runs a step with the programs' clocks on, some times, and makes a profile of what they noted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from treadle.bench import machine
from treadle.compiler.recording import EVENTS_MOST, Run, Work, recorded
from treadle.errors import ArgumentError
from treadle.evaluate import evaluate, run_pending
from treadle.graph.node import STATIC, Node
from treadle.profiling.profile import Event, Profile, Row, Totals
from treadle.structure import take_outputs


def profile(
    step: Callable[..., Any], /, *args: Any, rounds: int = 10, warm_up: int = 2, **keywords: Any
) -> Profile:
    """Where the time of a step goes: every kernel that runs in it, with its time and its work.

    The step runs `warm_up` and `rounds` times: one that trains, trains. Times are medians of the rounds;
    tracing and compiling are not counted. What runs in other threads of Python is not seen.

    Args:
        step: a compiled function, one of `function`, `Session.run`, or any function: all programs that it
            runs are looked at. Arrays that it returns are computed.
        args: what it is called with.
        rounds: how often it is measured, at least once.
        warm_up: how often it is called before, which compiles what is new.
        keywords: what it is called with by name.

    Returns:
        `Profile`: a table when it is printed.

    Raises:
        ArgumentError: step cannot be called, or rounds is less than 1.
        StateError: step profiles something itself.

    >>> import treadle as td
    >>> step = td.compile(lambda x: td.exp(x) @ x)
    >>> found = td.profile(step, td.ones((100, 100)), rounds=3)
    >>> [row.flops for row in found.rows if row.kind == "matmul"]
    [2000000]
    """
    expect_function("profile", step)
    if rounds < 1 or warm_up < 0:
        raise ArgumentError(f"[profile] rounds={rounds}, warm_up={warm_up}: at least 1 and 0 are needed")
    return profiled(step, args, keywords, rounds, warm_up)[0]


def expect_function(name: str, step: Any) -> None:
    """Raise if a step is none."""
    if not callable(step):
        raise ArgumentError(
            f"[{name}] step is a {type(step).__name__}; give a function, and what it is called with: "
            f"td.{name}(step, x, y)"
        )


def profiled(
    step: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any], rounds: int, warm_up: int
) -> tuple[Profile, list[Any]]:
    """The profile of a step, and what ran in it: programs, each once."""
    for _ in range(warm_up):
        _call(step, args, keywords)
    found: list[_Round] = []
    with recorded() as recorder:
        for _ in range(rounds):
            began = time.monotonic_ns()
            _call(step, args, keywords)
            found.append(_Round(began, time.monotonic_ns(), recorder.runs, recorder.compiling_ns))
            recorder.runs, recorder.compiling_ns, recorder.room = [], 0, EVENTS_MOST
    sources = {run.key: run.source for one in found for run in reversed(one.runs)}
    return _summary(found, _name(step)), list(sources.values())[::-1]


def _call(step: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    nodes: list[Node] = []
    take_outputs(step(*args, **keywords), nodes)
    demanded = [node for node in nodes if not node.flags & STATIC]
    if demanded:
        evaluate(demanded)
    run_pending()


def _name(step: Any) -> str:
    return getattr(step, "__qualname__", None) or type(step).__name__


class _Round(NamedTuple):
    began_ns: int
    ended_ns: int
    runs: list[Run]
    compiling_ns: int

    @property
    def wall_ns(self) -> int:
        return self.ended_ns - self.began_ns - self.compiling_ns


def _summary(rounds: list[_Round], name: str) -> Profile:
    works: dict[Hashable, list[Work | None]] = {}
    for one in rounds:
        for run in one.runs:
            if run.key not in works:
                works[run.key] = run.source.works()
    numbers: dict[tuple[Hashable, int], int] = {}
    rows: list[Row] = []
    for place, (key, known) in enumerate(works.items()):
        for i, work in enumerate(known):
            if work is not None:
                numbers[key, i] = len(rows)
                rows.append(Row.of(work, place))
    spent = [_by_row(one, numbers, len(rows)) for one in rounds]
    middle = sorted(rounds, key=lambda one: one.wall_ns)[len(rounds) // 2]
    for number, row in enumerate(rows):
        row.calls = _median([at[number][0] for at in spent])
        row.ms = _median([at[number][1] for at in spent]) / 1e6
        row.busy_ms = _median([at[number][2] for at in spent]) / 1e6
        row.alone = all(at[number][3] for at in spent)
    events = [
        Event(numbers[run.key, i], (began - middle.began_ns) / 1e3, (ended - began) / 1e3)
        for run in middle.runs
        for i, began, ended in run.events
    ]
    totals = _totals(rounds)
    limits = machine.limits()
    totals.limit_gflops = limits.peak_gflops(totals.threads)
    totals.limit_gbytes = limits.memory_gbytes(1 << 40, totals.threads)
    totals.roofs = limits.roofs(totals.threads)
    for row in rows:
        row.limit_gflops = limits.peak_gflops(totals.threads, row.itemsize)
        row.limit_core_gflops = limits.peak_gflops(1, row.itemsize)
        row.limit_gbytes = limits.memory_gbytes(row.each_nbytes, totals.threads)
    return Profile(name, totals, rows, sorted(events, key=lambda event: event.us))


def _median(values: list[Any]) -> Any:
    return statistics.median_low(values)


def _by_row(
    one: _Round, numbers: dict[tuple[Hashable, int], int], count: int
) -> list[tuple[int, int, int, bool]]:
    """Of every row how often it ran in a round, its time, its threads' time, and whether one did it."""
    found = [(0, 0, 0, True)] * count
    for run in one.runs:
        for i, time_ in enumerate(run.times):
            number = numbers.get((run.key, i))
            if number is not None and time_.count:
                calls, total, busy, alone = found[number]
                found[number] = (
                    calls + time_.count,
                    total + time_.total_ns,
                    busy + time_.busy_ns,
                    alone and time_.alone,
                )
    return found


def _totals(rounds: list[_Round]) -> Totals:
    from treadle.devices.cpu.threads import num_threads

    def median(of: Callable[[_Round], int]) -> float:
        return _median([of(one) for one in rounds]) / 1e6

    def programs(one: _Round) -> int:
        return sum(run.ended_ns - run.began_ns - run.inner_ns for run in one.runs)

    return Totals(
        rounds=len(rounds),
        threads=num_threads(),
        step_ms=median(lambda one: one.wall_ns),
        least_ms=min(one.wall_ns for one in rounds) / 1e6,
        native_ms=median(lambda one: sum(run.native_ns for run in one.runs)),
        programs_ms=median(programs),
        between_ms=median(lambda one: sum(run.between_ns for run in one.runs)),
        compiling_ms=max(one.compiling_ns for one in rounds) / 1e6,
    )
