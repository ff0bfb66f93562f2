"""`debug=True` runs any door node by node, `check_numerics` finds what is not finite, debuggers see values,
and `explain` and `memory` say what a run will do before it runs.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import treadle as td
from treadle.devices.cpu import program
from treadle.devices.reference import ReferenceExecutable
from treadle.errors import IndexingError, NumericsError, OutOfMemory, TreadleError
from treadle.ops.record import OPS


def test_every_door_runs_by_the_references():
    x = td.placeholder((3,), name="x")
    y = td.exp(x).sum()
    assert td.Session(debug=True).run(y, {x: [0.0, 0.0, 0.0]}).item() == 3.0
    doubled = td.function([x], x * 2, debug=True)
    assert doubled([1.0, 2.0, 3.0]).tolist() == [2.0, 4.0, 6.0]

    @td.compile(debug=True)
    def step(z):
        return z * 3.0

    assert step(td.ones(2)).tolist() == [3.0, 3.0]
    with td.debug():
        assert isinstance(doubled.program([1.0, 2.0, 3.0]), ReferenceExecutable)


def test_an_index_out_of_range_names_the_line_that_asked():
    table, places = td.placeholder((5, 2), name="table"), td.placeholder((3,), dtype=td.int64, name="places")
    rows = td.take(table, places, axis=0)  # the line to be named
    for debug in (False, True):
        with pytest.raises(IndexingError, match="the line to be named"):
            td.function([table, places], rows, debug=debug)(td.zeros((5, 2)), [0, 7, 1])


def test_explain_and_memory_take_a_call_of_a_function():
    w = td.Variable(td.zeros((64, 64)))

    @td.compile
    def step(x):
        loss = td.square(x @ w).sum()
        w.assign(w - 0.1 * td.gradients(loss, w))
        return loss

    x = td.ones((8, 64))
    text = td.explain(step, x)
    for part in ("as written", "simplify", "fuse", "commit", "matmul 8x64x64", "define void @kernel"):
        assert part in text
    assert td.memory(step, x)["inputs"] == 4 * (64 * 64 + 8 * 64) + 4
    assert float(w.sum()) == 0.0


# -- numbers that are not finite


def test_the_first_value_that_is_not_finite_is_named_with_its_inputs():
    w = td.Variable([1.0, 200.0], name="weights")
    with td.check_numerics(), td.scope("head"), pytest.raises(NumericsError) as found:
        hot = td.exp(w)  # where it begins
        float(td.sum(td.log(hot - hot)))
    text = str(found.value)
    assert "exp float32[2], forward in head, is the first value that is not finite: 1 infinite of 2" in text
    assert "the first at (1,); the others from 2.71828 to 2.71828" in text
    assert "from 'weights' float32[2]: from 1 to 200" in text
    assert "# where it begins" in text


@pytest.mark.parametrize("door", ["define-by-run", "compile", "function", "session"])
def test_a_gradient_that_is_not_finite_leaves_variables_as_they_were(door):
    w = td.Variable([0.0, 4.0], name="w")

    def loss(x):
        return td.sum(td.sqrt(w * x))  # its slope at zero

    def step(x):
        value = loss(x)
        w.assign(w - td.gradients(value, w))
        return value

    x = td.asarray([1.0, 1.0])
    p = td.placeholder((2,), name="p")
    if door == "define-by-run":
        run = lambda: float(step(x))  # noqa: E731
    elif door == "compile":
        compiled = td.compile(step)
        run = lambda: compiled(x)  # noqa: E731
    elif door == "function":
        value = loss(p)
        static = td.function([p], value, updates=[(w, w - td.gradients(value, w))])
        run = lambda: static(x)  # noqa: E731
    else:
        value = loss(p)
        fetches = [value, td.update(w, w - td.gradients(value, w))]
        run = lambda: td.Session().run(fetches, {p: x})  # noqa: E731
    with (
        td.check_numerics(),
        pytest.raises(NumericsError, match=r"gradient, is the first.*\n(.*\n)*.*slope at zero"),
    ):
        run()
    assert w.tolist() == [0.0, 4.0]
    with td.check_numerics(), td.check_numerics(False):
        run()
    td.evaluate()
    assert not np.isfinite(w.numpy()).all()


def test_infinities_that_are_meant_are_no_finding():
    with td.check_numerics():
        scores = td.where(td.asarray([True, False, True]), td.asarray([1.0, 2.0, 3.0]), -td.inf)
        assert td.softmax(scores).tolist()[1] == 0.0
        assert td.sum(td.asarray([1, 2])).item() == 3


def test_a_nan_that_was_there_is_named_as_what_was_fed():
    x = td.placeholder((3,), name="features")
    double = td.function([x], x * 2)
    with (
        td.check_numerics(),
        pytest.raises(NumericsError, match=r"'features' .* not finite to begin with: 1 NaN of 3"),
    ):
        double([1.0, np.nan, 2.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_every_floating_dtype_is_looked_at(dtype):
    zero = td.zeros(2, dtype=dtype)
    with td.check_numerics(), pytest.raises(NumericsError, match=r"divide .* 2 NaN of 2"):
        (zero / zero).numpy()
    with td.check_numerics():
        assert (zero + 1).numpy().shape == (2,)


# -- debuggers


def debugged(script: str, commands: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", script], input=commands, capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr


def test_a_debugger_sees_values_in_define_by_run_code():
    script = """
import treadle as td
w = td.Variable([1.0, 2.0], name="w")
y = w * 3
w.assign(w + 1)
breakpoint()
"""
    out = debugged(script, "p y\np w\np float(y.sum())\nc\n")
    assert "Array([3., 6.], dtype=float32)" in out
    assert "Variable('w', Array([2., 3.], dtype=float32))" in out
    assert "9.0" in out and "Error" not in out


def test_a_debugger_in_traced_code_sees_what_kind_of_value_it_is():
    script = """
import treadle as td
@td.compile
def f(x):
    y = td.exp(x)
    breakpoint()
    return y
print(f(td.zeros(3)).tolist())
"""
    out = debugged(script, "p y\np y.shape\np float(y[0])\nc\n")
    assert "Array(exp, float32[3], of a static graph)" in out
    assert "(3,)" in out and "not known while a compiled function is traced" in out
    assert "[1.0, 1.0, 1.0]" in out


# -- errors inside compiled programs


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_a_step_on_the_host_names_the_line(debug):
    @td.compile(debug=debug)
    def factor(x):
        return td.linalg.cholesky(x * 1.0) + 1.0  # not positive

    for _ in range(2):
        with pytest.raises(TreadleError, match=r"not positive$"):
            factor(-td.eye(3))


def test_too_little_memory_names_the_largest_values(monkeypatch):
    monkeypatch.setattr(program, "available_nbytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="the largest one"):
        td.compile(lambda x: td.sort(td.exp(x)))(td.ones(10_007))  # the largest one


def test_an_error_of_a_users_reference_names_the_line():
    broken = td.op("broken_here", lambda x: 1 // 0, elementwise=True)
    try:
        with pytest.raises(ZeroDivisionError) as found:
            broken(td.ones(2)).numpy()  # asked for here
        assert "asked for here" in found.value.__notes__[0]
    finally:
        OPS.pop("broken_here", None)
