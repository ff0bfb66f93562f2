"""Define-by-run steps and matrix products, each contender in a process of its own, which take turns.

Compiled steps of networks: `treadle bench`.

Thread pools go on spinning after their work; where contenders share a process and there are two cores,
whoever comes next waits for the other's threads (`core.py` pauses, but some pools spin for longer). Here only
one is alive at a time.

    python bench/apart.py [--rounds 7] [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import products
import steps
from case import OURS
from peers import cores, use_threads

Maker = Callable[[], Callable[[], Any]]
STEPS: dict[str, dict[str, Maker]] = {
    "two-layer, define-by-run": {
        OURS: steps.ours_two_layer_by_run,
        "torch": lambda: steps.torch_two_layer()["torch"],
    },
}
for size in products.SIZES:
    STEPS[f"matmul, {size}"] = {
        name: lambda size=size, name=name: products.product(size)[name] for name in (OURS, "numpy", "torch")
    }


def median_ms(step: Callable[[], Any], seconds: float) -> float:
    """The median time of a step over so many seconds, after compiling and a warm-up of a fifth of that."""
    for _ in range(3):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    warm = time.perf_counter() + seconds / 5
    while (began := time.perf_counter()) < end:
        step()
        if began > warm:
            times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only steps whose names have one of these words")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring per process")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--one", nargs=2, metavar=("STEP", "NAME"), help="measure one contender in this process"
    )
    arguments = parser.parse_args()
    if arguments.one:
        step, name = arguments.one
        use_threads(arguments.threads)
        print(median_ms(STEPS[step][name](), arguments.seconds))
        return
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(arguments.threads)}
    for step, makers in STEPS.items():
        if arguments.words and not any(word in step for word in arguments.words):
            continue
        times: dict[str, list[float]] = {name: [] for name in makers}
        for _ in range(arguments.rounds):
            for name in makers:
                command = [sys.executable, __file__, "--one", step, name]
                command += ["--seconds", str(arguments.seconds), "--threads", str(arguments.threads)]
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                if done.returncode == 0:
                    times[name].append(float(done.stdout.split()[-1]))
        medians = {name: statistics.median(found) for name, found in times.items() if found}
        said = "  ".join(f"{name} {ms:.3f} ms" for name, ms in medians.items())
        fastest = min((name for name in medians if name != OURS), key=medians.__getitem__)
        ratio = statistics.median(b / a for a, b in zip(times[OURS], times[fastest]))
        print(f"{step:28s} {ratio:5.2f}x of {fastest:14s} {said}", flush=True)


if __name__ == "__main__":
    main()
