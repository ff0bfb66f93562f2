"""The three doors of define-then-run: what a run reads, writes, draws and refuses."""

from __future__ import annotations

import sys
import threading
import tracemalloc

import nodes
import numpy as np
import pytest

import treadle as td
from treadle.devices import host
from treadle.errors import ArgumentError, FeedError, PlaceholderError, StateError
from treadle.state import pending


def address(variable):
    return variable.cell.current.buffer.address


# -- reading variables


def test_a_session_reads_variables_at_the_start_of_the_run():
    x, w = td.placeholder((2,), name="x"), td.Variable([1.0, 2.0])
    y = x * w
    session = td.Session()
    assert session.run(y, {x: [1.0, 1.0]}).tolist() == [1.0, 2.0]
    w.assign(w + 10)
    assert session.run(y, {x: [1.0, 1.0]}).tolist() == [11.0, 12.0]
    assert not pending.versions


def test_a_session_is_late_whatever_was_computed_already():
    x, w = td.placeholder((), name="x"), td.Variable(2.0)
    double = w * 2
    y = double + x
    session = td.Session()
    assert float(double) == 4.0
    assert session.run(y, {x: 0.0}).item() == 4.0
    w.assign(5.0)
    assert float(w) == 5.0
    assert session.run(y, {x: 0.0}).item() == 10.0
    assert float(double) == 4.0


def test_a_graph_built_from_a_pending_version_reads_the_current_one():
    x, w = td.placeholder((), name="x"), td.Variable(1.0)
    w.assign(w + 1)
    y = w + x
    session = td.Session()
    assert session.run(y, {x: 0.0}).item() == 2.0
    w.assign(7.0)
    assert session.run(y, {x: 0.0}).item() == 7.0


def test_a_graph_without_placeholders_is_late_too():
    w = td.Variable(1.0)
    y = w * 3
    session = td.Session()
    assert session.run(y).item() == 3.0
    w.assign(2.0)
    assert session.run(y).item() == 6.0
    td.evaluate()
    w.assign(4.0)
    assert session.run(y).item() == 12.0
    assert session.run(w).item() == 4.0


def test_two_versions_of_one_variable_in_a_graph_are_an_error_with_both_lines():
    x, w = td.placeholder((), name="x"), td.Variable(1.0, name="weight")
    first = x * w
    w.assign(w + 1)
    second = first + w * x
    with pytest.raises(StateError) as error:
        td.Session().run(second, {x: 1.0})
    message = str(error.value)
    assert "one graph reads two versions of weight" in message
    assert "first = x * w" in message and "second = first + w * x" in message
    with pytest.raises(StateError, match="two versions of weight"):
        td.function([x], second)
    assert float(w) == 2.0


def test_a_graph_goes_on_after_runs_that_updated_its_variables():
    x, w = td.placeholder((), name="x"), td.Variable(2.0, name="weight")
    loss = td.square(x * w)
    session = td.Session()
    session.run(td.update(w, w - x), {x: 1.0})
    more = loss + w * x  # reads w at its value in the run, as what was built before the update does
    (slope,) = td.gradients([more], [w])
    assert [float(v) for v in session.run([more, slope], {x: 3.0})] == [12.0, 21.0]
    w.assign(5.0)
    with pytest.raises(StateError, match="two versions of weight"):
        session.run(more + w, {x: 1.0})


def test_a_run_first_runs_what_is_pending():
    a, b = td.Variable(1.0), td.Variable(10.0)
    x = td.placeholder(())
    y = x + a
    a.assign(a + 1)
    b.assign(b + 1)
    assert td.Session().run(y, {x: 0.0}).item() == 2.0
    assert not pending.versions and float(b) == 11.0


# -- updates


def test_updates_are_committed_together_from_the_values_before():
    a, b = td.Variable(1.0), td.Variable(2.0)
    swap = td.function([], [a + 0], updates=[(a, b), (b, a)])
    assert swap()[0].item() == 1.0
    assert (float(a), float(b)) == (2.0, 1.0)
    swap()
    assert (float(a), float(b)) == (1.0, 2.0)


def test_an_update_among_the_fetches_changes_the_variable():
    x, w = td.placeholder(()), td.Variable(1.0)
    step = td.update(w, w * x)
    session = td.Session()
    for expected in (3.0, 9.0, 27.0):
        assert session.run({"new": step}, {x: 3.0})["new"].item() == expected
    assert float(w) == 27.0


def test_an_update_without_placeholders_reads_anew_in_every_run():
    n = td.Variable(0.0)
    nodes_before = n + 1
    assert float(nodes_before) == 1.0
    step = td.update(n, nodes_before)
    session = td.Session()
    assert [session.run(step).item() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
    n.assign(10.0)
    assert session.run(step).item() == 11.0


def test_an_update_that_is_not_fetched_does_not_happen():
    x, w = td.placeholder(()), td.Variable(1.0)
    td.update(w, w * x)
    assert td.Session().run(w * x, {x: 3.0}).item() == 3.0
    assert float(w) == 1.0


def test_updating_a_variable_twice_in_one_run_is_an_error():
    w = td.Variable(1.0, name="w")
    one, two = td.update(w, w + 1), td.update(w, w + 2)
    with pytest.raises(StateError, match="w is updated twice in one run"):
        td.Session().run([one, two])
    assert float(w) == 1.0


def test_a_failed_run_changes_nothing():
    x = td.placeholder((2,), dtype=td.int64, name="x")
    a, b = td.Variable([1.0, 2.0]), td.Variable(1.0)
    step = td.function([x], [], updates=[(b, b + 1), (a, td.take(a, x, axis=0))])
    with pytest.raises(IndexError):
        step(np.array([0, 7]))
    assert a.tolist() == [1.0, 2.0] and float(b) == 1.0
    step(np.array([1, 0]))
    assert a.tolist() == [2.0, 1.0] and float(b) == 2.0


@pytest.mark.cpu_only
@td.debug(False)
def test_an_update_takes_the_memory_of_the_variable():
    w = td.Variable(np.zeros(1000, np.float32))
    step = td.function([], [], updates=[(w, w + 1)])
    step()
    place = address(w)
    for _ in range(3):
        step()
        assert address(w) == place
    held = w.numpy()
    step()
    assert address(w) != place and held[0] == 4.0 and w.numpy()[0] == 5.0


def test_a_fetched_new_value_is_not_overwritten_by_the_next_run():
    w = td.Variable(np.zeros(1000, np.float32))
    step = td.function([], w + 1, updates=[(w, w + 1)])
    values = [step() for _ in range(3)]
    assert [value.numpy()[0] for value in values] == [1.0, 2.0, 3.0]


def test_a_pending_array_keeps_its_version_through_a_run():
    w = td.Variable(np.zeros(1000, np.float32))
    before = w + 100
    step = td.function([], [], updates=[(w, w + 1)])
    step(), step()
    assert before.numpy()[0] == 100.0 and w.numpy()[0] == 2.0


# -- feeding


def test_values_are_fed_by_placeholder_or_by_name():
    a, b = td.placeholder((), name="a"), td.placeholder((2,), name="b")
    session = td.Session()
    assert session.run(a * b, {"a": 2.0, b: [1.0, 2.0]}).tolist() == [2.0, 4.0]
    assert session.run(a * b, {a: np.float32(2), "b": np.array([1, 2], np.float32)}).tolist() == [2.0, 4.0]
    assert session.run([a, (b, {"k": a})], {a: 1.0, b: td.asarray([1.0, 2.0])})[1][1]["k"].item() == 1.0


def test_feeding_what_the_fetches_do_not_need_is_harmless():
    a, b = td.placeholder((), name="a"), td.placeholder((), name="b")
    assert td.Session().run(a + 1, {a: 1.0, b: 2.0}).item() == 2.0


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"the placeholder 'x', float32\[2\], made at .*doors.py:\d+: x = td.placeholder.* is not fed"),
        ({"z": 1.0}, "no placeholders of these fetches are named 'z'; there are: x"),
        ({3: 1.0}, "only placeholders are fed; this is a int"),
        ({None: 1.0}, "only placeholders are fed; this is a NoneType"),
        ({"x": [1.0, 2.0, 3.0]}, r"'x' takes float32\[2\], made at .*; it was fed float32\[3\]"),
        ({"x": np.zeros(2)}, r"'x' takes float32\[2\], made at .*; it was fed float64\[2\]: convert it"),
        ({"x": 1.0}, r"it was fed float32\[\]"),
        ([("x", 1.0)], "feed_dict is a list; it is a dict"),
    ],
)
def test_wrong_feeds_are_named(feeds, message):
    x = td.placeholder((2,), name="x")
    w = td.Variable(1.0)
    with pytest.raises(FeedError, match=message) as error:
        td.Session().run([x * 2, td.update(w, w + 1)], feeds)
    assert "test_doors.py" in str(error.value)
    assert float(w) == 1.0


def test_only_placeholders_are_fed():
    x, w = td.placeholder((2,), name="x"), td.Variable([1.0, 2.0], name="w")
    y = x * 2
    with pytest.raises(FeedError, match="this is the variable w"):
        td.Session().run(y, {x: [1.0, 2.0], w: [1.0, 2.0]})
    with pytest.raises(FeedError, match=r"this is multiply float32\[2\], made at"):
        td.Session().run(y, {x: [1.0, 2.0], y: [1.0, 2.0]})
    with pytest.raises(FeedError, match="fed twice"):
        td.Session().run(y, {x: [1.0, 2.0], "x": [1.0, 2.0]})
    with pytest.raises(FeedError, match="depends on a placeholder itself"):
        td.Session().run(y, {x: y})
    with pytest.raises(FeedError, match="cannot fetch a int"):
        td.Session().run([y, 3], {x: [1.0, 2.0]})


def test_what_is_fed_is_not_what_comes_out():
    x = td.placeholder((4,))
    host_array = np.zeros(4, np.float32)
    out = td.Session().run(x, {x: host_array})
    host_array[:] = 9
    assert out.tolist() == [0.0] * 4


def test_fed_memory_may_become_a_variable_without_being_shared():
    x, w = td.placeholder((4,)), td.Variable(np.ones(4, np.float32))
    host_array = np.zeros(4, np.float32)
    store = td.function([x], [], updates=[(w, x)])
    store(host_array)
    host_array[:] = 9
    assert w.tolist() == [0.0] * 4
    w += 1
    td.evaluate()
    assert host_array[0] == 9


def test_variables_and_pending_arrays_can_be_fed():
    x, w = td.placeholder((2,)), td.Variable([1.0, 2.0])
    w.assign(w + 1)
    assert td.Session().run(x * 2, {x: w}).tolist() == [4.0, 6.0]
    assert td.Session().run(x * 2, {x: w * 2}).tolist() == [8.0, 12.0]


# -- sizes


def test_symbolic_sizes_take_what_is_fed():
    x = td.placeholder((None, 3), name="x")
    y = (x * 2).sum(axis=1)
    session = td.Session()
    for size in (1, 4, 0, 4):
        assert session.run(y, {x: np.ones((size, 3), np.float32)}).tolist() == [6.0] * size
    with pytest.raises(FeedError, match=r"'x' takes float32\[x.0, 3\].*fed float32\[2, 2\]"):
        session.run(y, {x: np.ones((2, 2), np.float32)})


def test_equal_names_are_equal_sizes():
    a, b = td.placeholder(("batch", 2), name="a"), td.placeholder(("batch",), name="b")
    y = a + td.expand_dims(b, axis=1)
    session = td.Session()
    assert session.run(y, {a: np.zeros((3, 2), np.float32), b: [1.0, 2.0, 3.0]}).shape == (3, 2)
    with pytest.raises(FeedError, match="the size 'batch' is 3 in one placeholder and 2 in 'b'"):
        session.run(y, {a: np.zeros((3, 2), np.float32), b: [1.0, 2.0]})


def test_gradients_with_symbolic_sizes():
    x, w = td.placeholder((None, 3), name="x"), td.Variable(np.ones(3, np.float32))
    loss = td.mean((x * w) ** 2.0)
    slope = td.gradients(loss, w)
    got = td.Session().run(slope, {x: np.full((5, 3), 2.0, np.float32)})
    np.testing.assert_allclose(got.numpy(), np.full(3, 2 * 4 / 3), rtol=1e-6)


def test_a_size_is_a_number_a_name_or_none():
    with pytest.raises(ValueError, match=r"shape=\(-1,\): -1 is not a size"):
        td.placeholder((-1,))
    with pytest.raises(ValueError, match="is not a size"):
        td.placeholder((2.5,))


# -- values that are not there


def test_demanding_a_placeholders_value_names_it_and_its_line():
    x = td.placeholder((2,), name="image")
    y = x * 2 + 1
    for demand in (y.numpy, y.tolist, y.sum().item, lambda: float(y.sum()), lambda: np.asarray(y)):
        with pytest.raises(PlaceholderError) as error:
            demand()
        assert "depends on the placeholder 'image'" in str(error.value)
        assert 'x = td.placeholder((2,), name="image")' in str(error.value)
    with pytest.raises(PlaceholderError, match=r"td.where"):
        bool(y.sum() > 0)
    assert "of a static graph" in repr(y)


def test_demanding_an_update_says_who_performs_it():
    n = td.Variable(0.0, name="n")
    step = td.update(n, n + 1)
    with pytest.raises(PlaceholderError, match=r"depends on the update of n, made at .*step = td.update"):
        float(step)
    assert float(n) == 0.0


def test_assigning_a_value_that_depends_on_a_placeholder_is_an_error():
    x, w = td.placeholder(()), td.Variable(1.0, name="w")
    with pytest.raises(StateError, match=r"pass td.update\(w, value\).*or updates= of td.function"):
        w.assign(w * x)
    with pytest.raises(StateError, match="depends on a placeholder"):
        w += x
    assert float(w) == 1.0
    with pytest.raises(PlaceholderError, match="first value of a Variable"):
        td.Variable(x)


def test_building_a_static_graph_allocates_and_computes_nothing(monkeypatch):
    w = td.Variable(np.zeros((64, 64), np.float32))
    allocated = []
    original = host.allocate
    for name, module in list(sys.modules.items()):
        if name.startswith("treadle") and getattr(module, "allocate", None) is original:
            monkeypatch.setattr(module, "allocate", lambda n: allocated.append(n) or original(n))
    tracemalloc.start()
    x = td.placeholder((100_000, 64), name="x")
    hidden = td.maximum(x @ w + 1.5, 0.0)
    loss = td.mean((hidden @ w - td.ones((100_000, 64))) ** 2.0)
    gradient = td.gradients(loss, w)
    step = td.update(w, w - 0.1 * gradient)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert step.shape == (64, 64)
    assert allocated == []
    assert peak < 1_000_000


# -- functions


def test_functions_check_their_arguments():
    x, y, w = td.placeholder((), name="x"), td.placeholder((), name="y"), td.Variable(1.0, name="w")
    with pytest.raises(ArgumentError, match=r"inputs\[0\] is multiply"):
        td.function([x * 2], x)
    with pytest.raises(FeedError, match="needs the placeholder 'y', which is not among the inputs"):
        td.function([x], x * y)
    with pytest.raises(ArgumentError, match="updates are of variables; this is a Array"):
        td.function([x], x, updates=[(x, x)])
    with pytest.raises(StateError, match=r"w is float32\[\], the value is float32\[2\]"):
        td.function([x], x, updates=[(w, td.zeros((2,)) + x)])
    add = td.function([x, y], x + y)
    with pytest.raises(FeedError, match=r"takes 2 values \(x, y\), got 1"):
        add(1.0)
    assert add(1.0, 2.0).item() == 3.0


def test_givens_stand_in_for_parts_of_the_graph():
    x, w = td.placeholder((2,), name="x"), td.Variable([1.0, 2.0])
    y = x * w
    assert td.function([], y, givens={x: td.asarray([10.0, 20.0])})().tolist() == [10.0, 40.0]
    assert td.function([x], y, givens=[(w, w + 1)])([1.0, 1.0]).tolist() == [2.0, 3.0]
    with pytest.raises(ArgumentError, match="a given is"):
        td.function([], y, givens={x: td.asarray([1.0])})


def test_memory_is_known_before_a_call():
    x = td.placeholder((None,), name="x")
    f = td.function([x], (x * 2 + 1).sum())
    with td.debug(False):
        plan = f.memory(np.zeros(1000, np.float32))
    assert set(plan) == {"inputs", "outputs", "arena", "kept"}


# -- random numbers


def test_every_run_of_a_door_draws_anew_and_a_seed_repeats_it():
    def draws():
        td.random.seed(3)
        x = td.placeholder((), name="x")
        noise = td.random.uniform((4,)) * x
        session, f = td.Session(), td.function([x], noise)
        return [session.run(noise, {x: 1.0}).tolist() for _ in range(3)] + [f(1.0).tolist() for _ in range(2)]

    first = draws()
    assert len({tuple(d) for d in first[:3]}) == 3 and first[3] != first[4]
    assert draws() == first


def test_a_session_draws_anew_whatever_it_fetches():
    x, w = td.placeholder((), name="x"), td.Variable(0.0)
    noise = td.random.uniform((4,)) + x
    session = td.Session()
    seen = []
    for _ in range(3):
        got, _, _ = session.run([noise, td.update(w, w + 1), w], {x: 0.0})
        seen.append(tuple(got.tolist()))
    seen.append(tuple(session.run(noise, {x: 0.0}).tolist()))
    assert len(set(seen)) == 4


# -- compile


def test_a_compiled_function_is_traced_once_a_signature():
    calls = []

    @td.compile
    def f(x, scale, flag):
        calls.append(1)
        return x * scale if flag else x

    a = np.ones(3, np.float32)
    assert f(a, 2.0, True).tolist() == [2.0] * 3
    assert f(td.asarray(a), 3.5, True).tolist() == [3.5] * 3
    assert len(calls) == 1
    assert f(a, 3.5, False).tolist() == [1.0] * 3
    assert f(np.ones(4, np.float32), 1.5, True).shape == (4,)
    assert f(a, 2, True).dtype is td.float32
    assert len(calls) == 4
    assert f.traces == [
        "the first call",
        "argument [0][2] is False, in the last trace True",
        "argument [0][0] is float32[4], in the last trace float32[3]",
        "argument [0][0] is float32[3], in the last trace float32[4]",
    ]
    assert f(a, 5.0, True).tolist() == [5.0] * 3 and len(calls) == 4


def test_static_values_are_told_apart_by_type():
    calls = []

    @td.compile
    def f(x, n):
        calls.append(n)
        return x * n

    x = td.asarray([1.0])
    f(x, 1), f(x, True), f(x, 1)
    assert calls == [1, True]
    with pytest.raises(ArgumentError, match=r"argument \[0\]\[1\] is a set: .* must be hashable"):
        f(x, {1})


def test_traces_are_bounded():
    @td.compile
    def f(x, n):
        return x + n

    x = td.asarray([1.0])
    with td.debug():
        for n in range(300):
            f(x, n)
    assert len(f._traced) <= 256 and len(f.traces) <= 256


def test_variables_are_found_and_reads_after_an_assignment_see_it():
    w = td.Variable([1.0, 2.0])

    @td.compile
    def step(x):
        before = w * 1
        w.assign(w + x)
        middle = w * 1
        w.assign(w * 2)
        return before, middle, w

    before, middle, after = step(np.array([1.0, 1.0], np.float32))
    assert (before.tolist(), middle.tolist(), after.tolist()) == ([1.0, 2.0], [2.0, 3.0], [4.0, 6.0])
    assert w.tolist() == [4.0, 6.0] and w.cell.current.number == 1
    w.assign(td.zeros((2,)))
    assert step(np.array([1.0, 1.0], np.float32))[2].tolist() == [2.0, 2.0]


def test_groups_within_a_compiled_function():
    a, b = td.Variable(1.0), td.Variable(2.0)

    @td.compile
    def swap():
        with td.assignments():
            a.assign(b)
            b.assign(a)
        return a + 0

    assert swap().item() == 2.0
    assert (float(a), float(b)) == (2.0, 1.0)

    @td.compile
    def broken():
        with td.assignments():
            a.assign(5.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (float(a), float(b)) == (2.0, 1.0) and not pending.versions


def test_a_gradient_after_an_assignment_is_by_the_assigned_value():
    w = td.Variable([1.0, 2.0])

    def two_steps():
        for _ in range(2):
            w.assign(w - 0.25 * td.gradients((w * w).sum(), w))
        return (w * w).sum()

    eager = two_steps().item()
    after = w.tolist()
    w.assign(td.asarray([1.0, 2.0]))
    assert td.compile(two_steps)().item() == eager
    assert w.tolist() == after == [0.25, 0.5]


def test_arrays_closed_over_are_constants():
    td.random.seed(0)
    w = td.Variable([1.0, 2.0])
    outside, noise = w * 10, td.random.uniform((2,))
    alias = td.asarray(w)

    @td.compile
    def f(x):
        return outside + x, noise + x, alias + x, w + x

    zero = np.zeros(2, np.float32)
    first = [y.tolist() for y in f(zero)]
    w.assign(w + 1)
    again = [y.tolist() for y in f(zero)]
    assert first[:3] == again[:3] == [[10.0, 20.0], noise.tolist(), [1.0, 2.0]]
    assert first[3] == [1.0, 2.0] and again[3] == [2.0, 3.0]


def test_random_numbers_in_a_compiled_function_are_drawn_in_every_run():
    @td.compile
    def f():
        return td.random.uniform((4,))

    assert len({tuple(f().tolist()) for _ in range(3)}) == 3


def test_moving_an_outer_handle_inside_is_an_error_with_the_line():
    total = td.asarray([0.0])

    @td.compile
    def f(x):
        nonlocal total
        total += x
        return total

    with pytest.raises(StateError) as error:
        f(np.ones(1, np.float32))
    assert "an array from outside is changed in place inside a compiled function" in str(error.value)
    assert "total += x" in str(error.value)
    assert total.tolist() == [0.0]

    @td.compile
    def g(x):
        y = x * 1
        y += 1
        y[0] = 5.0
        return y

    assert g(np.ones(2, np.float32)).tolist() == [5.0, 2.0]


DEMANDS = [float, bool, int, lambda v: v.numpy(), lambda v: v.tolist(), lambda v: f"{v:.2f}"]


@pytest.mark.parametrize("demand", DEMANDS)
def test_demanding_a_value_inside_a_trace_is_an_error(demand):
    w = td.Variable(1.0)

    @td.compile
    def f(x, of_variable):
        return x * demand(w if of_variable else x)

    for of_variable in (True, False):
        with pytest.raises(PlaceholderError) as error:
            f(td.asarray(1.0), of_variable)
        assert "test_doors.py" in str(error.value)
    assert pending.trace is None and f.traces == []
    assert float(w) == 1.0


def test_a_trace_that_fails_leaves_nothing_behind():
    w = td.Variable(1.0)

    @td.compile
    def f(x):
        w.assign(w + x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        f(1.0)
    assert float(w) == 1.0
    w.assign(w + 1)
    assert float(w) == 2.0


def test_values_that_escape_a_trace_have_no_value():
    escaped = []

    @td.compile
    def f(x):
        escaped.append(x * 2)
        escaped.append(td.random.uniform(()))
        return x

    f(1.0)
    for value in escaped:
        with pytest.raises(PlaceholderError):
            value.numpy()


def test_compiled_functions_may_call_each_other():
    w = td.Variable(1.0)

    @td.compile
    def inner(x):
        w.assign(w + x)
        return w * 2

    @td.compile
    def outer(x):
        return inner(x) + inner(x)

    assert outer(1.0).item() == 4.0 + 6.0
    assert float(w) == 3.0


def test_sessions_do_not_run_inside_a_trace():
    x = td.placeholder(())

    @td.compile
    def f(y):
        return y + td.Session().run(x, {x: 1.0})

    with pytest.raises(StateError, match="runs inside a compiled function"):
        f(1.0)


def test_variables_are_not_made_inside_a_trace():
    @td.compile
    def f(x):
        return td.Variable(1.0) * x

    with pytest.raises(StateError, match="made anew for every trace"):
        f(1.0)


def test_backward_inside_a_compiled_step():
    w = td.Variable([1.0, 2.0])

    @td.compile
    def step():
        loss = (w * w).sum()
        loss.backward()
        w.assign(w - 0.5 * w.grad)
        return loss

    assert [step().item() for _ in range(3)] == [5.0, 0.0, 0.0]
    assert w.grad is None
    (w * w).sum().backward()

    @td.compile
    def again():
        loss = (w * w).sum()
        loss.backward()
        return loss

    with pytest.raises(StateError, match="there is a gradient from outside already"):
        again()


def test_a_compiled_method():
    class Model:
        def __init__(self):
            self.w = td.Variable(2.0)

        @td.compile
        def step(self, x):
            self.w.assign(self.w * x)
            return self.w

    model = Model()
    assert model.step(3.0).item() == 6.0 and float(model.w) == 6.0


def test_structures_go_in_and_come_out():
    @td.compile
    def f(batch, *, scale):
        return {"sum": batch["x"] + batch["y"][0], "n": 3, "pair": (batch["x"] * scale, None)}

    out = f({"x": np.ones(2, np.float32), "y": [td.asarray([1.0, 2.0])]}, scale=2.0)
    assert out["sum"].tolist() == [2.0, 3.0] and out["n"] == 3
    again = td.compile(lambda **named: named["a"] - named["b"])
    assert again(a=1.0, b=2.0).item() == again(b=2.0, a=1.0).item() == -1.0
    assert len(again.traces) == 1
    assert out["pair"][0].tolist() == [2.0, 2.0] and out["pair"][1] is None


# -- loops hold nothing, programs are bounded


def test_long_loops_through_doors_hold_no_nodes():
    x, w = td.placeholder((4,), name="x"), td.Variable(np.ones(4, np.float32))
    loss = ((x * w) ** 2.0).sum()
    slope = td.gradients(loss, w)
    session = td.Session()
    step = td.function([x], loss, updates=[(w, w - 0.01 * slope)])
    update = td.update(w, w - 0.01 * slope)

    @td.compile
    def compiled(x):
        loss = ((x * w) ** 2.0).sum()
        w.assign(w - 0.01 * td.gradients(loss, w))
        return loss

    batch = np.ones(4, np.float32)

    def all_styles():
        session.run([loss, update, w], {x: batch})
        step(batch)
        compiled(batch).item()

    for _ in range(5):
        all_styles()
    before = nodes.alive()
    for _ in range(100):
        all_styles()
    assert nodes.alive() <= before + 2


def test_cache_info_says_why_a_program_was_compiled():
    w = td.Variable(np.ones(7, np.float32))
    (w * 2).numpy()
    before = td.cache_info()
    (w * 2).numpy()
    assert td.cache_info()["hits"] == before["hits"] + 1
    td.Variable(np.ones(7, np.float32)).numpy()
    (w * 3.0).numpy(), (w / 3.0).numpy()
    assert "divide" in td.cache_info()["misses"][-1]
    assert td.cache_info()["programs"] <= td.cache_info()["most"]
    assert len(td.cache_info()["misses"]) <= 20


def test_the_program_cache_is_bounded(monkeypatch):
    from importlib import import_module

    programs = import_module("treadle.evaluate").programs
    monkeypatch.setattr(programs, "most", 8)
    with td.debug():
        for n in range(1, 30):
            w = td.Variable(np.ones(n, np.float32))
            (w * 2).numpy()
    assert td.cache_info()["programs"] <= 8


def test_a_cached_program_holds_no_users_memory():
    import gc
    import weakref

    x = td.asarray(np.ones(100, np.float32))

    @td.custom_vjp
    def double(x):
        return x * 2

    double.rule(lambda g, y, x: (g * 2,))
    w = td.Variable(np.ones(100, np.float32))
    y = double(x * w).sum()
    memory = weakref.ref(x.node.buffer)
    w.assign(w - td.gradients(y, w))
    y.numpy()
    del x, y
    gc.collect()
    assert memory() is None


def test_concurrent_runs_of_one_compiled_function():
    @td.compile
    def f(x):
        return (td.exp(x) * x).sum()

    inputs = [np.full(5000, i, np.float32) for i in range(4)]
    expected = [f(x).item() for x in inputs]
    wrong, barrier = [], threading.Barrier(4)

    def work(i):
        barrier.wait()
        for _ in range(20):
            if f(inputs[i]).item() != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_float_argument_is_as_weak_inside_as_outside():
    w = td.Variable([1.0, 2.0], dtype=td.bfloat16)
    wide = td.asarray([1.0], dtype=td.float64)

    @td.compile
    def step(rate):
        w.assign(w - rate * (0.5 * w) - (-rate) ** 2 * w)
        return wide * rate, rate, td.sqrt(rate), td.full((2,), rate), rate > 0.2

    scaled, rate, root, filled, larger = step(0.1)
    assert w.dtype is td.bfloat16 and w.tolist() == pytest.approx([0.94, 1.88], rel=0.01)
    assert scaled.dtype is td.float64 and scaled.item() == 0.1
    assert rate.dtype is root.dtype is filled.dtype is td.float32 and larger.item() is False
    step(0.3)
    assert len(step.traces) == 1
    v = td.Variable([0.0, 0.0])
    td.compile(lambda x: v.assign(x))(2.5)
    assert v.tolist() == [2.5, 2.5]
