"""The contenders of a workload in processes of their own, which take turns: all but one are stopped.

Thread pools go on spinning after their work, at the cost of whoever comes next; a stopped process does not.
Knows nothing of what the processes compute.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import treadle
from treadle.bench.contenders import FILES, OURS, Contender
from treadle.bench.workloads import Workload
from treadle.errors import TreadleError

CHILD = Path(__file__).with_name("child.py")
STOP, CONTINUE = getattr(signal, "SIGSTOP", None), getattr(signal, "SIGCONT", None)
LAST_LINES = 12
ENVIRONMENT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": "cpu"}
"""What is said to everybody besides."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TREADLE_THREADS")
"""Variables that libraries read when they are loaded."""

Tell = Callable[[str], None]


class ContenderFailed(TreadleError):
    """A contender's process ended or did not answer; the message ends with what it printed last."""


@dataclass
class Measured:
    """What is known of a contender in one workload."""

    rounds_s: list[float] = field(default_factory=list)
    """The median step of each round."""
    steps: int = 0
    numbers: list[float] = field(default_factory=list)
    """The first losses, or the first outputs in inference."""
    first_cold_s: float | None = None
    """The first step with nothing on the disk."""
    first_cached_s: float | None = None
    """The same where the caches are warm; None without caches."""
    peak_nbytes: int = 0
    """The most memory of the process that was measured, at the end."""
    flops: int | None = None
    """Of the products and convolutions of a step; ours alone knows."""

    @property
    def median_s(self) -> float:
        return statistics.median(self.rounds_s)


@dataclass
class Outcome:
    """A workload's contenders, and why others have no times."""

    measured: dict[str, Measured] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """How it is measured."""

    rounds: int = 7
    seconds: float = 0.3
    """Of a turn; a step that takes longer is made once."""
    threads: int = 2
    patience_s: float = 300.0
    """How long a contender may take for its first steps, or for a round."""
    cold: bool = True
    """Whether contenders with caches are started once more before, with empty ones."""
    caches: Path | None = None
    """Where caches stay between runs; None for a folder that is removed."""


class Process:
    """A contender's process, stopped while it is not asked for anything."""

    def __init__(self, name: str, job: dict[str, Any], environment: Mapping[str, str], patience_s: float):
        self.name, self.patience_s = name, patience_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**os.environ, **environment},
        )  # fmt: skip
        self._stopped = False
        self._said = b""
        self.answer = self.ask(job)

    def ask(self, message: Any) -> dict[str, Any]:
        """Let it run until it has answered.

        Raises:
            ContenderFailed: it ended, or took too long.
        """
        self._signal(CONTINUE, False)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failure() from None
        answer = self._line()
        self._signal(STOP, True)
        return json.loads(answer)

    def finish(self) -> dict[str, Any]:
        """Its last words, if it has any, and its end."""
        self._signal(CONTINUE, False)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return json.loads(self._line())
        except ContenderFailed:
            return {}
        finally:
            self.end()

    def end(self) -> None:
        """End it, whatever it does."""
        self._signal(CONTINUE, False)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _signal(self, number: int | None, stopped: bool) -> None:
        if number is not None and stopped is not self._stopped and self._process.poll() is None:
            self._process.send_signal(number)
            self._stopped = stopped

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        limit = time.monotonic() + self.patience_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    raise self._failure(f"did not answer in {self.patience_s:g} s")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise self._failure()
                self._said += part
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _failure(self, what: str | None = None) -> ContenderFailed:
        """What happened to it, which is ended."""
        if what is None:
            try:
                what = f"ended with status {self._process.wait(5)}"
            except subprocess.TimeoutExpired:
                what = "closed its pipe"
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
        return ContenderFailed(f"{self.name} {what}" + "".join(f"\n    {line}" for line in last))


def measure(workload: Workload, contenders: Sequence[Contender], rules: Rules, tell: Tell) -> Outcome:
    """Start everybody, see that all compute the same, and let them take turns.

    A contender that fails is left out, and the reason is in the outcome.
    """
    outcome = Outcome()
    running: dict[str, Process] = {}
    with _folder(None) as folder, _folder(rules.caches) as caches:
        jobs = _Jobs(workload, rules, folder, caches)
        try:
            for contender in contenders:
                tell(f"{workload.name}: {contender.name} starts")
                try:
                    outcome.measured[contender.name], running[contender.name] = jobs.started(contender)
                except ContenderFailed as failure:
                    outcome.failed[contender.name] = failure.message
            _leave_out_others(workload, outcome)
            _take_turns(workload, rules, running, outcome, tell)
            for name, process in running.items():
                if name in outcome.measured:
                    outcome.measured[name].flops = process.finish().get("flops")
        finally:
            for process in running.values():
                process.end()
    return outcome


def _take_turns(
    workload: Workload, rules: Rules, running: Mapping[str, Process], outcome: Outcome, tell: Tell
) -> None:
    """Rounds, each beginning with another contender."""
    for turn in range(rules.rounds):
        tell(f"{workload.name}: round {turn + 1} of {rules.rounds}")
        names = list(outcome.measured)
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            try:
                answer = running[name].ask({"seconds": rules.seconds})
            except ContenderFailed as failure:
                del outcome.measured[name]
                outcome.failed[name] = failure.message
                continue
            measured = outcome.measured[name]
            measured.rounds_s.append(statistics.median(answer["times_s"]))
            measured.steps += len(answer["times_s"])
            measured.peak_nbytes = answer["peak_nbytes"]


def _leave_out_others(workload: Workload, outcome: Outcome) -> None:
    """Leave out who computes something else than we do, or than the first one if we are not there."""
    names = list(outcome.measured)
    first = OURS if OURS in outcome.measured else next(iter(names), None)
    if first is None:
        return
    expected = outcome.measured[first].numbers
    scale = max(map(abs, expected))
    for name in names:
        found = outcome.measured[name].numbers
        error = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        if not error <= workload.tolerance * scale:
            del outcome.measured[name]
            said = ["  ".join(f"{n:.6g}" for n in numbers[:6]) for numbers in (found, expected)]
            outcome.failed[name] = f"{name} computes something else: {said[0]}, and {first} {said[1]}"


class _Jobs:
    """What processes are told, and the files that they share."""

    def __init__(self, workload: Workload, rules: Rules, folder: Path, caches: Path):
        self.workload, self.rules, self.folder, self.caches = workload, rules, folder, caches
        import numpy as np

        np.savez(folder / "batch.npz", **workload.batch())  # type: ignore[arg-type]

    def started(self, contender: Contender) -> tuple[Measured, Process]:
        """A contender's process that has made its first steps; before that another, if it has caches."""
        for file in ("values.npz", contender.file):
            if file is not None:
                self._make(file)
        measured = Measured()
        cached = contender.caches and self.rules.cold
        if cached:
            before = self._process(contender)
            measured.first_cold_s = before.answer["first_s"]
            before.end()
        process = self._process(contender)
        if cached:
            measured.first_cached_s = process.answer["first_s"]
        elif not contender.caches:
            measured.first_cold_s = process.answer["first_s"]
        measured.numbers = process.answer["numbers"]
        measured.peak_nbytes = process.answer["peak_nbytes"]
        return measured, process

    def _process(self, contender: Contender) -> Process:
        folder = self.caches / f"{self.workload.name}-{contender.name}"
        folder.mkdir(exist_ok=True, parents=True)
        job = {
            "side": str(contender.side), "make": "prepare", "variant": contender.variant,
            "file": str(self.folder / contender.file) if contender.file else None,
        }  # fmt: skip
        environment = dict.fromkeys(contender.caches, str(folder))
        return self._told(contender.name, job, environment)

    def _make(self, file: str) -> None:
        """Write one of the files, if it is not there."""
        path = self.folder / file
        if path.exists():
            return
        side, function = FILES[file]
        job = {"side": str(side), "make": function, "variant": "", "file": str(path)}
        self._told(f"what writes {file}", job, {}).end()

    def _told(self, name: str, job: dict[str, Any], environment: Mapping[str, str]) -> Process:
        job = {
            **job,
            "workload": self.workload.as_json(),
            "threads": self.rules.threads,
            "batch": str(self.folder / "batch.npz"),
            "values": str(self.folder / "values.npz"),
        }
        source = str(Path(treadle.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        threads = dict.fromkeys(THREADS, str(self.rules.threads))
        return Process(
            name, job, {"PYTHONPATH": path, **ENVIRONMENT, **threads, **environment}, self.rules.patience_s
        )


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as made:
        yield Path(made)
