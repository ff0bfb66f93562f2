"""A profile as data: rows of kernels, totals of the step, and what follows from them. Measures nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from treadle.compiler.recording import Work


@dataclass
class Row:
    """A kernel at one place of the step. Work and times are those of one step, all calls together."""

    label: str
    kind: str
    """The op: "matmul", "conv" ...; of fused ones "elementwise", "reduction", "movement"; "references"."""
    line: str
    """The user's line that asked for it."""
    scope: str
    """The modules around, outermost first: "layer1/0/conv1"."""
    role: str
    """forward, gradient or update."""
    program: int
    tasks: int
    loops: int
    """In how many loops and branches it is."""
    each_flops: int
    each_nbytes: int
    itemsize: int
    lines: list[str] = field(default_factory=list)
    """All lines that it computes for."""
    calls: int = 0
    ms: float = 0.0
    busy_ms: float = 0.0
    """The CPU time of its threads, all of them together: what others do on the cores is not in it."""
    alone: bool = True
    """One thread does it."""
    limit_gflops: float = 0.0
    """What the machine's multiply-adds can do, with all threads."""
    limit_core_gflops: float = 0.0
    """What those of one thread can."""
    limit_gbytes: float = 0.0
    """What its memory can, at the level where all that the kernel reads and writes has room."""

    @classmethod
    def of(cls, work: Work, program: int) -> Row:
        lines = [str(line) for line in work.lines]
        return cls(
            work.label,
            work.kind,
            lines[0] if lines else "",
            "/".join(work.scope),
            work.role,
            program,
            work.tasks,
            work.loops,
            work.flops,
            work.nbytes,
            work.itemsize,
            lines,
        )

    @property
    def host(self) -> bool:
        """It runs in NumPy."""
        return self.kind == "references" or self.label.endswith("on the host")

    @property
    def flops(self) -> int:
        """Floating-point operations in a step."""
        return self.calls * self.each_flops

    @property
    def nbytes(self) -> int:
        """Bytes read and written in a step, every operand counted once a call."""
        return self.calls * self.each_nbytes

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations a second."""
        return self.flops / self.ms / 1e6 if self.ms else 0.0

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second."""
        return self.nbytes / self.ms / 1e6 if self.ms else 0.0

    @property
    def of_arithmetic(self) -> float:
        """The share of the machine's multiply-adds that it reaches."""
        return self.gflops / self.limit_gflops if self.limit_gflops else 0.0

    @property
    def of_core(self) -> float:
        """The share of one core's multiply-adds that it reaches in its CPU time, whatever its threads."""
        return self.flops / self.busy_ms / 1e6 / self.limit_core_gflops if self.busy_ms else 0.0

    @property
    def of_memory(self) -> float:
        """The share of the memory's speed that it reaches."""
        return self.gbytes / self.limit_gbytes if self.limit_gbytes else 0.0

    @property
    def attained(self) -> float:
        """The share of what the machine allows a kernel of this work: by the roofline of Williams, Waterman
        and Patterson (2009) the larger of the two.
        """
        return max(self.of_arithmetic, self.of_memory)

    @property
    def threads(self) -> float:
        """How many threads had a core, on average."""
        return self.busy_ms / self.ms if self.ms else 1.0


@dataclass
class Totals:
    """Of one step, in milliseconds, medians of the rounds."""

    rounds: int
    threads: int
    step_ms: float
    least_ms: float
    native_ms: float
    """In native code, kernels and what is between them."""
    programs_ms: float
    """In programs: native code, steps on the host, and what it takes to begin and end them."""
    between_ms: float
    """In native code between kernels."""
    compiling_ms: float
    """Not in `step_ms`: what was compiled in a round."""
    limit_gflops: float = 0.0
    """Of all threads together: float32 multiply-adds, 10^9 operations a second."""
    limit_gbytes: float = 0.0
    """Of memory behind the caches, 10^9 bytes a second."""
    roofs: dict[str, float] = field(default_factory=dict)
    """The same by level of memory."""


class Event(NamedTuple):
    """A kernel that ran: its row, and when and how long, in microseconds since the step began."""

    row: int
    us: float
    took_us: float


DERIVED = (
    "flops", "nbytes", "gflops", "gbytes", "of_arithmetic", "of_core", "of_memory", "attained", "threads",
)  # fmt: skip


class Profile:
    """What `td.profile` gives: a table when it is printed.

    `rows` are kernels, in the order of the step; `totals` is the whole step; `events` are what ran in the
    round with the median time.
    """

    def __init__(self, name: str, totals: Totals, rows: list[Row], events: list[Event]):
        self.name = name
        self.totals = totals
        self.rows = rows
        self.events = events

    def __repr__(self) -> str:
        return f"<profile of {self.name}: {self.totals.step_ms:.3f} ms, {len(self.rows)} kernels>"

    def __str__(self) -> str:
        return self.table()

    def table(self, most: int = 25) -> str:
        """The profile as text.

        Args:
            most: how many kernels to list, those that take longest.
        """
        from treadle.profiling.table import table

        return table(self, most)

    # -- what follows

    @property
    def kernels_ms(self) -> float:
        """In kernels."""
        return sum(row.ms for row in self.rows if not row.host)

    @property
    def host_ms(self) -> float:
        """In NumPy: what has no native form, and graphs too small to compile."""
        return sum(row.ms for row in self.rows if row.host)

    @property
    def python_ms(self) -> float:
        """Outside of programs: building graphs, looking programs up, whatever the step does itself."""
        return max(0.0, self.totals.step_ms - self.totals.programs_ms)

    def stretches(self) -> list[tuple[float, float, int]]:
        """Times inside programs in which one thread worked: (microseconds, when it began, number of the
        longest row in it) each, the longest first. Where several work, the time in which not all had a core.
        """
        threads = self.totals.threads
        found: list[tuple[float, float, int]] = []
        if threads < 2 or not self.events:
            return found
        began = end = self.events[0].us
        longest, row = 0.0, self.events[0].row
        for event in self.events:
            of = self.rows[event.row]
            if of.alone:
                if event.took_us > longest:
                    longest, row = event.took_us, event.row
            else:
                found.append((event.us - began, began, row))
                idle = event.took_us * min(1.0, max(0.0, 1 - (of.threads - 1) / (threads - 1)))
                found.append((idle, event.us, event.row))
                began, longest, row = event.us + event.took_us, 0.0, event.row
            end = max(end, event.us + event.took_us)
        found.append((end - began, began, row))
        return sorted((one for one in found if one[0] > 0), reverse=True)

    def grouped(self, key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
        """Rows by something, what takes longest first."""
        groups: dict[Any, list[Row]] = {}
        for row in self.rows:
            if row.calls:
                groups.setdefault(key(row), []).append(row)
        return dict(sorted(groups.items(), key=lambda item: -sum(row.ms for row in item[1])))

    # -- files

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dicts, texts and numbers."""
        return {
            "name": self.name,
            "totals": {
                **asdict(self.totals),
                "kernels_ms": self.kernels_ms,
                "host_ms": self.host_ms,
                "python_ms": self.python_ms,
            },
            "rows": [asdict(row) | {name: getattr(row, name) for name in DERIVED} for row in self.rows],
            "events": [list(event) for event in self.events],
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_dict` as JSON; the path."""
        return _written(path, json.dumps(self.to_dict(), indent=1))

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page that needs nothing else: the roofline, what ran when, the table; the path."""
        from treadle.profiling.page import page

        return _written(path, page(self))

    def png(self, path: str | os.PathLike[str]) -> Path:
        """Draw the roofline with Matplotlib; the path.

        Raises:
            DataError: Matplotlib is not there.
        """
        from treadle.profiling.png import write_png

        write_png(self, Path(path))
        return Path(path)

    def trace(self, path: str | os.PathLike[str]) -> Path:
        """Write what ran as a trace that Chrome (chrome://tracing) and Perfetto (ui.perfetto.dev) draw; the
        path.
        """
        events = [
            {
                "name": self.rows[event.row].label,
                "cat": self.rows[event.row].kind,
                "ph": "X",
                "ts": event.us,
                "dur": event.took_us,
                "pid": 0,
                "tid": 0,
                "args": _told(self.rows[event.row]),
            }
            for event in self.events
        ]
        step = {"name": self.name, "ph": "X", "ts": 0, "dur": 1e3 * self.totals.step_ms, "pid": 0, "tid": 1}
        return _written(path, json.dumps({"traceEvents": [step, *events], "displayTimeUnit": "ms"}))


def _told(row: Row) -> dict[str, Any]:
    names = ("line", "scope", "role", "tasks", "each_flops", "each_nbytes", "threads")
    return {name: getattr(row, name) for name in names}


def _written(path: str | os.PathLike[str], text: str) -> Path:
    path = Path(path)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def total(rows: Iterable[Row], name: str) -> Any:
    """The sum of a property."""
    return sum(getattr(row, name) for row in rows)
