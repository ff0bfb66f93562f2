"""The core's targets, measured side by side with what is installed, in one run.

    python bench/core.py                          # everything
    python bench/core.py starting step            # what has one of these words in its group or name
    python bench/core.py --threads 1              # thread CPU time, which other processes do not change

Calls that do the same take turns; times are medians over rounds, and a ratio is the median of the rounds'
ratios of the fastest peer's time to ours, so above 1 ours is faster. The table is printed; --output keeps it
as JSON too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

ONE_THREAD = "--threads=1" in sys.argv or ("--threads", "1") in zip(sys.argv, sys.argv[1:])
if ONE_THREAD:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # read when the libraries are loaded
        os.environ[name] = "1"

import memory_bound  # noqa: E402
import optim  # noqa: E402
import peers  # noqa: E402
import products  # noqa: E402
import reductions  # noqa: E402
import starting  # noqa: E402
import steps  # noqa: E402
from case import OURS, Case, Result, first_calls  # noqa: E402
from interleave import interleaved, ratio  # noqa: E402

GROUPS = {
    "steps": steps.cases,
    "memory-bound": memory_bound.cases,
    "optimizers": optim.cases,
    "reductions": reductions.cases,
    "products": products.cases,
}
RESULTS = Path(__file__).resolve().parent / "results"


def measure(group: str, case: Case, seconds: float) -> Result:
    """Set a case up, see that all do the same, time them."""
    calls = case.make()
    failures = first_calls(case, calls, ("torch.compile",))
    note = [f"{who} does not work here: {why}" for who, why in failures.items()]
    calls = {who: call for who, call in calls.items() if who not in failures}
    for call in calls.values():
        call()
    times = interleaved(calls, seconds, time.thread_time if ONE_THREAD else time.perf_counter)
    medians = {who: t.median for who, t in times.items()}
    against = [who for who in case.against if who in times]
    value = None
    if against:
        fastest = min(against, key=lambda who: medians[who])
        value = ratio(times, fastest, OURS)
        note.append(f"against {fastest}")
    need = f"at least {case.need:.2f}x" if case.need else ""
    return Result(
        group, case.name, medians, need, value, "x",
        None if value is None or case.need is None else value >= case.need,
        {who: t.quartiles for who, t in times.items()}, {who: t.best for who, t in times.items()},
        "; ".join(note),
    )  # fmt: skip


def wanted(words: list[str], *names: str) -> bool:
    return not words or any(word.lower() in name.lower() for word in words for name in names)


def row(result: Result) -> str:
    """A line of the table."""
    if result.value is None:
        value = ""
    elif result.unit == "x":
        value = f"{result.value:.2f}x"
    else:
        value = shown(result.value)
    mark = {True: "yes", False: "NO", None: ""}[result.reached]
    peers_shown = "  ".join(f"{who} {shown(t)}" for who, t in result.seconds.items())
    note = f"  ({result.note})" if result.note else ""
    return f"{result.name:48} {value:>9}  {result.target:16} {mark:4} {peers_shown}{note}"


def shown(seconds: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring per case")
    parser.add_argument("--processes", type=int, default=15, help="started for each kind of start")
    parser.add_argument("--threads", type=int, default=peers.cores())
    parser.add_argument(
        "--output", nargs="?", const="", help="keep as JSON; default bench/results/core-DATE.json"
    )
    arguments = parser.parse_args()
    peers.use_threads(arguments.threads)
    facts = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["./dev bench core", *[w for w in sys.argv[1:] if "/" not in w]]),
        "machine": peers.machine(),
        "versions": peers.versions(),
        "threads": arguments.threads,
        "clock": "thread CPU time" if ONE_THREAD else "wall time",
    }
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(f"{'':48} {'reached':>9}  {'needed':16} {'':4} medians", flush=True)
    results = []
    for group, cases in GROUPS.items():
        for case in cases():
            if wanted(arguments.words, group, case.name):
                results.append(measure(group, case, arguments.seconds))
                print(row(results[-1]), flush=True)
    if wanted(arguments.words, "starting"):
        for result in starting.measure(arguments.processes):
            results.append(result)
            print(row(result), flush=True)
    if arguments.output is not None:
        path = Path(arguments.output or RESULTS / f"core-{facts['date']}{'-one-thread' * ONE_THREAD}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**facts, "results": [asdict(r) for r in results]}, indent=1) + "\n")
        print(f"kept in {path}")


if __name__ == "__main__":
    main()
