"""A contender's process: it makes a step, says how long the first one took, and measures rounds when asked.

It reads a line of JSON, the job, and then one line for each round, and answers each with a line. It imports
nothing of Treadle: in a peer's process there is NumPy and the peer, and in ours what a user's program has.
A side is a file with `prepare(job) -> (step, read)`: `step()` makes a step and returns when all of it is
done, `read(result)` is the loss (in inference, the outputs) as an array.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LOSSES = 3
WARM_S = 0.2
"""Steps that take less get one that is not timed, since other processes had the caches before."""


def main() -> None:
    """Do what standard input says."""
    # What libraries print goes to stderr; the answers have a pipe of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(found: Any) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    job = json.loads(sys.stdin.readline())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    with np.load(job["batch"]) as batch:
        job["batch"] = dict(batch)
    side = _loaded(job["side"])
    if job["make"] != "prepare":
        getattr(side, job["make"])(job)
        answer({})
        return
    began = time.perf_counter()
    step, read = side.prepare(job)
    built = time.perf_counter()
    results = [read(step())]
    first = time.perf_counter()
    training = job["workload"]["trains"]
    results += [read(step()) for _ in range(LOSSES - 1)] if training else []
    answer(
        {
            "made_s": built - began,
            "first_s": first - built,
            "numbers": [float(n) for n in (results if training else results[0].reshape(-1)[:16])],
            "peak_nbytes": peak_nbytes(),
        }
    )
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        answer({"times_s": _round(step, seconds), "peak_nbytes": peak_nbytes()})
    if "flops" in job:
        answer({"flops": job["flops"]()})


def _loaded(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("side", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["side"] = module
    spec.loader.exec_module(module)
    return module


def _round(step: Callable[[], Any], seconds: float) -> list[float]:
    """The times of steps over so many seconds, at least one."""
    began = time.perf_counter()
    step()
    times = [time.perf_counter() - began]
    if times[0] < WARM_S:
        times.clear()
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


def peak_nbytes() -> int:
    """The most memory this process had so far."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


if __name__ == "__main__":
    main()
