"""Training steps with weights stored as kernels want them, and stored in the order of their shapes.

    python bench/packed.py [--threads 1] [--rounds 9] [lenet resnet18 ...]

Both steps are in one process and take turns, on networks of their own with the same first values; times are
the CPU times of the kernels, medians.
"""

from __future__ import annotations

import argparse
from statistics import median
from unittest.mock import patch

import treadle as td
from treadle.bench.sides.ours import prepare
from treadle.bench.workloads import WORKLOADS
from treadle.devices.cpu.device import CpuDevice
from treadle.profiling.profile import Profile, Row

KINDS = (
    ("packing", lambda row: row.label.startswith(("pack ", "winograd filters"))),
    ("gradients added up", lambda row: row.label.startswith("add convolution")),
    ("updates", lambda row: row.role == "update"),
)


def step_of(name: str, threads: int):
    workload = WORKLOADS[name]
    job = {"workload": workload.as_json(), "variant": "", "threads": threads, "batch": workload.batch()}
    step, _ = prepare(job)
    step()
    return step


def of_kernels(profile: Profile) -> dict[str, float]:
    found = {kind: total([row for row in profile.rows if fits(row)]) for kind, fits in KINDS}
    return {**found, "all kernels": total(profile.rows)}


def total(rows: list[Row]) -> float:
    return sum(row.busy_ms for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("workloads", nargs="*", default=["lenet", "resnet18"])
    options = parser.parse_args()
    for name in options.workloads:
        with patch.object(CpuDevice, "weights_order", lambda self, gradient: None):
            steps = {"plain": step_of(name, options.threads)}
        steps["packed"] = step_of(name, options.threads)
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in steps}
        for _ in range(options.rounds):
            for way, step in steps.items():
                taken[way].append(of_kernels(td.profile(step, rounds=1, warm_up=0)))
        for kind in taken["plain"][0]:
            plain, packed = (median(found[kind] for found in taken[way]) for way in steps)
            ratio = plain / packed if packed else 0
            print(f"{name:10s} {kind:20s} {plain:9.3f} ms -> {packed:9.3f} ms  {ratio:5.2f}x", flush=True)


if __name__ == "__main__":
    main()
