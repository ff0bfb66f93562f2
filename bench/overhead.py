"""What a node costs in define-by-run before anything is computed: making it, its part of the program's key,
and its release.

    PYTHONPATH=src python bench/overhead.py [NODES]

A chain of element operations on a small array that depends on a variable is demanded again and again; the
execution itself is left out. Thread CPU time, the median of the rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from importlib import import_module

import numpy as np

import treadle as td

TARGET_US = 8.0
ROUNDS = 200


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    evaluate = import_module("treadle.evaluate")
    w, x = td.Variable(np.ones(8, np.float32)), td.asarray(np.ones(8, np.float32))

    def chain() -> td.Array:
        y = w * x
        for _ in range(count // 4):
            y = (td.exp(y) + x) * w - x
        return y

    phases: dict[str, list[float]] = {name: [] for name in ("making", "key", "holders", "release")}
    for _ in range(ROUNDS):
        t0 = time.thread_time()
        y = chain()
        t1 = time.thread_time()
        structure = evaluate.structure_of([y.node], evaluate._stops, evaluate._is_given)
        hash(structure.key)
        t2 = time.thread_time()
        evaluate._held_outside(structure)
        t3 = time.thread_time()
        nodes = len(structure.order)
        leaves = evaluate._leaves_below(structure, [y.node]) if not phases["making"] else leaves  # noqa: F821
        y.node.buffer = x.node.buffer
        t4 = time.thread_time()
        evaluate._release([y.node], structure, [], leaves)
        del y, structure
        t5 = time.thread_time()
        for name, spent in zip(phases, (t1 - t0, t2 - t1, t3 - t2, t5 - t4), strict=True):
            phases[name].append(spent)
        w.cell.current.dependents.clear()
    medians = {name: statistics.median(spent) / nodes * 1e6 for name, spent in phases.items()}
    for name, us in medians.items():
        print(f"{name:>8}: {us:5.2f} us a node")
    total = sum(medians.values())
    print(f"   total: {total:5.2f} us a node, of {nodes} nodes (target: {TARGET_US:.0f})")


if __name__ == "__main__":
    main()
