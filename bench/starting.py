"""What a new process waits for: the import, and the first run of a small program with and without the disk
cache. Every number comes from a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from case import Result
from peers import torch

import treadle

IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"

# Two small programs, timed from after the import; the second is another one, so that it is new too.
PROGRAMS = {
    "lecture's small graph": """
def program(n):
    x, y, z = (td.Variable(np.full((n, 4), i, np.float32)) for i in (1, 2, 3))
    @td.compile
    def run():
        c = td.sum(x * y + z)
        return c, *td.gradients(c, [x, y, z])
    return [np.asarray(r) for r in run()]
""",
    "two-layer step": """
def program(n):
    x, y = (td.asarray(np.ones((64, 1000), np.float32)) for _ in range(2))
    w1, w2 = (td.Variable(np.ones(s, np.float32)) for s in ((1000, 97 + n), (97 + n, 1000)))
    @td.compile
    def step(x, y):
        loss = td.mean(td.sum(td.square(td.relu(x @ w1) @ w2 - y), axis=1))
        for w, g in zip((w1, w2), td.gradients(loss, [w1, w2])):
            w.assign(w - 1e-6 * g)
        return loss
    return float(step(x, y))
""",
}
RUN = """
import json, time
import numpy as np
import treadle as td
{program}
times = []
for n in (3, 5):
    began = time.perf_counter()
    program(n)
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""


def measure(rounds: int) -> list[Result]:
    """Import and first runs, `rounds` processes of each kind, taking turns."""
    for name in PROGRAMS:  # leaves byte code behind, as an installation does
        _python(RUN.format(program=PROGRAMS[name]))
    return [imports(rounds), *(result for name in PROGRAMS for result in first_runs(name, rounds))]


def imports(rounds: int) -> Result:
    names = ["treadle", "numpy"] + ["torch"] * (torch is not None)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            if name != "torch" or turn < 5:
                taken[name].append(float(_python(IMPORT.format(name))))
    value = statistics.median(taken["treadle"]) - statistics.median(taken["numpy"])
    return _result("import treadle, beyond import numpy", taken, value, 0.1)


def first_runs(name: str, rounds: int) -> list[Result]:
    code = RUN.format(program=PROGRAMS[name])
    taken: dict[str, list[float]] = {"cold": [], "second, cold": [], "from disk": [], "second, from disk": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            environment = {"TREADLE_CACHE_DIR": folder}
            for which in ("cold", "from disk"):
                first, second = json.loads(_python(code, environment))
                taken[which].append(first)
                taken["second, " + which].append(second)
    medians = {which: statistics.median(times) for which, times in taken.items()}
    return [
        _result(f"first run: {name}, {which}", {which: taken[which]}, medians[which], limit)
        for which, limit in (
            ("cold", 0.3),
            ("second, cold", 0.3),
            ("from disk", 0.05),
            ("second, from disk", 0.05),
        )
    ]


def _result(name: str, taken: Mapping[str, Sequence[float]], value: float, limit: float) -> Result:
    return Result(
        group="starting",
        name=name,
        seconds={who: statistics.median(times) for who, times in taken.items()},
        target=f"at most {limit * 1e3:.0f} ms",
        value=value,
        unit="s",
        reached=value <= limit,
        best={who: min(times) for who, times in taken.items()},
    )


def _python(code: str, environment: Mapping[str, str] = {}) -> str:  # only read
    """What a new Python process prints."""
    source = Path(treadle.__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH", "")]))
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return child.stdout
