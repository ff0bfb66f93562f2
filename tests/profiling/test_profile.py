"""Profiles: which kernels ran, what they computed, for whom; no test looks at how long anything took."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim
from treadle.compiler import recording
from treadle.errors import ArgumentError, DataError, StateError
from treadle.profiling.profile import Event, Profile, Row, Totals


def ones(*shape):
    return td.ones(shape)


def flat(x):
    return td.reshape(x, (x.shape[0], -1))


def plausible(found):
    """What must hold of every profile."""
    totals = found.totals
    assert totals.step_ms > 0 and 0 <= totals.least_ms <= totals.step_ms
    for row in found.rows:
        assert (row.calls > 0) == (row.ms > 0)
        assert row.busy_ms >= 0 and row.flops >= 0 and row.nbytes >= 0
    assert found.kernels_ms >= 0 and found.totals.between_ms >= 0 and found.python_ms >= 0
    for event in found.events:
        assert event.took_us >= 0 and 0 <= event.row < len(found.rows)
    assert str(found).count("\n") > 3
    return found


def of_kind(found, kind):
    return [row for row in found.rows if row.kind == kind]


def test_a_products_work_is_its_shapes():
    found = plausible(
        td.profile(td.compile(lambda x, y: td.tanh(x @ y)), ones(64, 100), ones(100, 32), rounds=3)
    )
    (row,) = of_kind(found, "matmul")
    assert row.calls == 1 and row.flops >= 2 * 64 * 100 * 32
    assert row.nbytes == 4 * (64 * 100 + 100 * 32 + 64 * 32)
    assert "test_profile.py" in row.line and row.role == "forward"


def test_a_training_step_has_its_modules_and_roles():
    net = nn.Sequential(nn.Conv(3, 8, 3, padding=1), td.relu, nn.MaxPool(2), flat, nn.Dense(8 * 64, 10))
    optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9)

    @td.compile
    def step(x, y):
        loss = nn.cross_entropy(net(x), y)
        optimizer.step(td.gradients(loss, net.parameters()))
        return loss

    x, y = ones(4, 3, 16, 16), td.zeros(4, dtype=td.int64)
    found = plausible(td.profile(step, x, y, rounds=2, warm_up=1))
    (conv,) = [row for row in of_kind(found, "conv") if row.flops]
    assert conv.flops == 2 * 4 * 8 * 16 * 16 * 3 * 9
    assert {"forward", "gradient", "update"} <= {row.role for row in found.rows}
    assert any("Conv" in row.scope or "0" in row.scope for row in of_kind(found, "conv_weight_gradient"))
    assert len(step.traces) == 1


def test_a_loop_counts_its_iterations():
    def step(w, xs):
        return td.scan(lambda h, x: (td.tanh(h @ w + x),) * 2, td.zeros((8, 64)), xs)

    found = plausible(td.profile(td.compile(step), ones(64, 64), ones(20, 8, 64), rounds=2))
    (row,) = [row for row in of_kind(found, "matmul") if row.loops]
    assert row.calls == 20 and row.flops >= 20 * 2 * 8 * 64 * 64
    assert len([event for event in found.events if event.row == found.rows.index(row)]) == 20


def test_steps_on_the_host_are_rows():
    found = plausible(td.profile(td.compile(lambda x: td.sort(td.exp(x)) * 2), ones(10_000), rounds=2))
    assert [row.calls for row in found.rows if row.label == "sort on the host"] == [1]


def test_a_loop_driven_from_the_host_counts_its_programs_once():
    def step(xs):
        return td.scan(lambda h, x: (td.sort(h + x), h), td.zeros(5000), xs)

    found = plausible(td.profile(td.compile(step), ones(4, 5000), rounds=2))
    (outer,) = [row for row in found.rows if "loop on the host" in row.label]
    assert outer.calls == 1
    assert [row.calls for row in of_kind(found, "sort")] == [4]


def test_define_by_run_is_profiled_as_it_runs():
    w = td.Variable(np.ones((100, 100), np.float32))

    def step(x):
        loss = td.mean(td.square(x @ w))
        (slope,) = td.gradients([loss], [w])
        w.assign(w - 0.1 * slope)
        return loss.item() > td.sum(td.ones(3)).item()

    found = plausible(td.profile(step, ones(64, 100), rounds=2))
    assert len(of_kind(found, "matmul")) == 2
    assert [row.calls for row in of_kind(found, "references")] == [1]


def test_functions_and_sessions():
    x = td.placeholder((50, 50), name="x")
    y = td.exp(x) @ x
    for found in (
        td.profile(td.function([x], y), ones(50, 50), rounds=1),
        td.profile(td.Session().run, y, {x: ones(50, 50)}, rounds=1),
    ):
        assert of_kind(plausible(found), "matmul")[0].flops == 2 * 50**3


def test_results_are_those_of_a_step_that_nobody_looks_at():
    w, v = (td.Variable(np.ones(5000, np.float32)) for _ in range(2))

    def trained(variable):
        return td.compile(lambda: variable.assign(variable * 1.5 + 1))

    td.profile(trained(w), rounds=3, warm_up=2)
    for _ in range(5):
        trained(v)()
    assert (w.numpy() == v.numpy()).all()


def test_nothing_is_left_on_after_a_failure():
    calls = []

    def step():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of data")

    with pytest.raises(RuntimeError, match="out of data"):
        td.profile(step)
    assert recording.local.recorder is None
    with pytest.raises(StateError, match="is being profiled"):
        td.profile(lambda: td.profile(lambda: None, rounds=1), rounds=1)
    assert recording.local.recorder is None


def test_wrong_use():
    with pytest.raises(ArgumentError, match=r"step is a Array; give a function"):
        td.profile(ones(3))
    with pytest.raises(ArgumentError, match="rounds=0"):
        td.profile(lambda: None, rounds=0)


def test_a_step_that_runs_nothing():
    found = td.profile(lambda: None, rounds=2)
    assert found.rows == [] and found.stretches() == []
    assert "0 " in str(found)


def test_times_in_which_not_all_threads_work():
    def row(alone, busy_ms):
        return Row("k", "matmul", "", "", "", 0, 4, 0, 0, 0, 4, calls=1, ms=1.0, busy_ms=busy_ms, alone=alone)

    totals = Totals(1, 2, 4.0, 4.0, 4.0, 4.0, 0.0, 0.0)
    rows = [row(False, 1.5), row(True, 1.0), row(True, 0.9), row(False, 2.0)]
    events = [
        Event(0, 0.0, 1000.0),
        Event(1, 1000.0, 1000.0),
        Event(2, 2100.0, 900.0),
        Event(3, 3000.0, 1000.0),
    ]
    found = Profile("step", totals, rows, events)
    # Two kernels of one thread and what is between them; half of a kernel that two threads share unevenly.
    assert found.stretches() == [(2000.0, 1000.0, 1), (500.0, 0.0, 0)]
    totals.threads = 1
    assert found.stretches() == []


def test_pictures(tmp_path):
    def step(x, y):
        return td.sum(td.conv(td.relu(x), y, padding=1), axis=(0, 2, 3))

    found = td.profile(td.compile(step), ones(4, 16, 20, 20), ones(16, 16, 3, 3), rounds=2)
    text = found.html(tmp_path / "profile.html").read_text()
    assert text.count("<svg") == 2 and text.count("<rect") == len(found.events)
    assert text.count("<circle") > 6 and "of what the machine allows" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(DataError, match=r"pip install 'treadle\[train\]'"):
            found.png(tmp_path / "profile.png")
    else:
        assert found.png(tmp_path / "profile.png").read_bytes()[1:4] == b"PNG"


def test_files(tmp_path):
    found = td.profile(td.compile(lambda x: td.exp(x) @ x), ones(100, 100), rounds=2)
    read = json.loads(found.save(tmp_path / "profile.json").read_text())
    assert read["rows"][0].keys() >= {"label", "ms", "flops", "nbytes", "line", "gflops"}
    assert read["totals"]["rounds"] == 2
    events = json.loads(found.trace(tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == 1 + len(found.events) and {event["ph"] for event in events} == {"X"}
