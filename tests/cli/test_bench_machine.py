"""`treadle bench machine` measures, shows and keeps what a machine can do. No number is compared."""

from __future__ import annotations

import json

import numpy as np
import pytest

import treadle as td
from treadle.bench import machine
from treadle.cli import main
from treadle.devices.cpu import jit, probes
from treadle.devices.cpu.runner import Entry, Table
from treadle.devices.cpu.target import host_isas
from treadle.devices.host import allocate


@pytest.fixture(autouse=True)
def quickly(monkeypatch, tmp_path):
    """In no time, into a cache of its own."""
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    for name, value in (("SPENT_S", 1e-5), ("LEAST_S", 0), ("MOST_S", 0), ("REPEATS", 1)):
        monkeypatch.setattr(machine, name, value)
    monkeypatch.setattr(machine, "BEYOND_MOST", 1 << 20)
    yield
    machine._limits.cache_clear()


def test_everything_is_measured_shown_and_kept(tmp_path, capsys):
    threads = td.num_threads()
    assert main(["bench", "machine", "--threads", "2", "--json", str(tmp_path / "machine.json")]) == 0
    shown = capsys.readouterr().out
    for word in ("multiply-adds", "register tile", "triad", "behind the caches", "2 threads", "program"):
        assert word in shown, word
    found = json.loads((tmp_path / "machine.json").read_text())
    assert list(found["gflops"]) == [isa.name for isa in host_isas()]
    for rates in (*found["gflops"].values(), *found["gbytes"]["L1"].values()):
        assert set(rates) == {"1", "2"} and min(rates.values()) > 0
    assert td.num_threads() == threads


def test_a_profile_takes_what_is_kept():
    machine._limits.cache_clear()
    kept = machine.measure(whole=False)
    assert machine.limits() == kept
    kept.gbytes["L2"]["read"][1] = 1e9
    assert kept.memory_gbytes(1000, 1) == 1e9 > kept.memory_gbytes(1 << 40, 1)
    assert kept.peak_gflops(1, itemsize=8) == kept.peak_gflops(1) / 2
    found = td.profile(td.compile(lambda x: x @ x), td.ones((64, 64)), rounds=1)
    (row,) = [row for row in found.rows if row.kind == "matmul"]
    assert row.limit_gflops == found.totals.limit_gflops and row.attained > 0


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_probes_do_what_they_count(isa):
    floats = 256
    arrays = [allocate(4 * floats) for _ in range(3)]
    views = [np.frombuffer((_memory(a)), np.float32) for a in arrays]
    for kind, count in probes.MEMORY.items():
        for view, value in zip(views, (1.0, 2.0, 5.0)):
            view[:] = value
        kernel = probes.memory(isa, kind, 2, 2 * floats, 1)
        assert kernel.nbytes == count * 4 * floats
        operands = tuple((i, 0) for i in range(count))
        assert Table([Entry(jit.load(kernel, isa), operands)]).run([a.address for a in arrays[:count]]) == 0
        if kind == "read":
            # Every task leaves its sums in its first vector.
            assert views[0][0] == views[0][floats // 2] == floats / 2 / (isa.lanes())
        else:
            assert (views[count - 1] == (1 if kind == "copy" else 7)).all()


def _memory(buffer):
    start = buffer.address - buffer.raw.ctypes.data
    return buffer.raw[start : start + buffer.nbytes]
