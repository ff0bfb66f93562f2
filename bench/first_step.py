"""The first step of the workloads of `treadle bench`, with nothing on the disk and from the disk: when the
program is there, when the step ends, what the next one takes, and the most memory of the process.

Every number comes from a process of its own; medians. Before each, another process touches as much memory,
since a virtual machine that has been idle gets its memory back page by page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import treadle
from treadle.bench.workloads import WORKLOADS, chosen

CODE = """
import json, sys, time
from treadle.bench import child
from treadle.bench.sides import ours
from treadle.bench.workloads import WORKLOADS
from treadle.devices.cpu.program import CpuExecutable

workload = WORKLOADS[sys.argv[1]]
job = {"workload": workload.as_json(), "threads": int(sys.argv[2]), "batch": workload.batch(), "variant": ""}
step, read = ours.prepare(job)
ready, made = [], CpuExecutable.__init__

def timed(*arguments, **keywords):
    made(*arguments, **keywords)
    ready.append(time.perf_counter())

CpuExecutable.__init__ = timed
began = time.perf_counter()
read(step())
first = time.perf_counter()
peak = child.peak_nbytes()
read(step())
print(json.dumps([ready[-1] - began, first - began, time.perf_counter() - first, peak >> 20]))
"""
TOUCH = "import numpy; numpy.empty(3 << 29, numpy.uint8)[::4096] = 1"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=["lenet", "resnet18", "resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for name in chosen("workload", options.workloads, WORKLOADS):
        found: dict[str, list[list[float]]] = {"nothing on the disk": [], "from the disk": []}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                for rows in found.values():
                    rows.append(_first(name, options.threads, folder))
        for what, rows in found.items():
            ready, first, following, peak = (statistics.median(column) for column in zip(*rows, strict=True))
            print(
                f"{name:24} {what:20} ready {ready:.3f} s, first step {first:.3f} s, "
                f"next {following:.3f} s, {peak:.0f} MiB",
                flush=True,
            )


def _first(name: str, threads: int, caches: str) -> list[float]:
    path = os.pathsep.join(
        filter(None, [str(Path(treadle.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")])
    )
    # Byte code is left behind, as an installation does.
    settings = {
        "PYTHONDONTWRITEBYTECODE": "", "TREADLE_CACHE_DIR": caches, "TREADLE_THREADS": str(threads)
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", TOUCH], check=True)
    child = subprocess.run(
        [sys.executable, "-c", CODE, name, str(threads)],
        env={**os.environ, "PYTHONPATH": path, **settings},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(child.stdout)


if __name__ == "__main__":
    main()
