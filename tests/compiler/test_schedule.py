"""The order of calls: what is read was written, what is overwritten is read no more, nothing fails late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle import dtypes
from treadle.compiler.fuse import fuse
from treadle.compiler.order import Lifetimes, short_lived
from treadle.compiler.program import Call, Fused, LibraryCall
from treadle.compiler.schedule import Schedule, _needs, schedule
from treadle.devices.cpu.build import can_fail
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.lowering import is_library
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.host import HostBuffer, from_array
from treadle.devices.reference import compute
from treadle.graph.node import Node, Type, new
from treadle.ops.contraction import matmul
from treadle.ops.elementwise import add, multiply, subtract, tanh
from treadle.ops.gather import take
from treadle.ops.movement import flip, permute_dims
from treadle.ops.record import INPUT, broadcast
from treadle.ops.reduction import sum as total

WEIGHTS = 4
TYPE = Type((5, 5), dtypes.float32)
ROWS = Type((5,), dtypes.int64)


def leaves() -> list[Node]:
    """The weights, and row numbers."""
    weights = [new(INPUT, (), (i,), TYPE) for i in range(WEIGHTS)]
    return [*weights, new(INPUT, (), (WEIGHTS,), ROWS)]


STEPS = (
    lambda a, b, rows: add(a, b),
    lambda a, b, rows: subtract(a, b),
    lambda a, b, rows: multiply(a, tanh(b)),
    lambda a, b, rows: tanh(matmul(a, b)),
    lambda a, b, rows: permute_dims(a, (1, 0)),
    lambda a, b, rows: multiply(a, broadcast(total(b, axis=0, keepdims=True), (5, 5))),
    lambda a, b, rows: flip(a, axis=0),
    lambda a, b, rows: add(take(a, rows, axis=0), b),
)
RECIPES = st.lists(st.tuples(*[st.integers(0, 31)] * 3), min_size=1, max_size=12)
CHOICES = st.lists(st.integers(0, 31), min_size=WEIGHTS, max_size=WEIGHTS)


def updates(recipe: Sequence[tuple[int, int, int]], choices: Sequence[int]) -> tuple[list[Node], list[Node]]:
    """Leaves, and the next value of every weight."""
    given = leaves()
    pool, rows = given[:-1], given[-1]
    for kind, a, b in recipe:
        left, right = pool[-1 - a % min(len(pool), 6)], pool[-1 - b % min(len(pool), 6)]
        pool.append(STEPS[kind % len(STEPS)](left, right, rows))
    # Each is made of the weight it replaces or not; two weights may swap, or become the same value.
    return given, [pool[-1 - choice % len(pool)] for choice in choices]


def check(fused: Fused, made: Schedule) -> None:
    assert sorted(map(id, made.calls)) == sorted(map(id, fused.calls))
    writers: dict[int, list[Call]] = {}
    for call in fused.calls:
        for buffer in call.writes:
            writers.setdefault(buffer, []).append(call)
    place = {id(call): i for i, call in enumerate(made.calls)}
    for call in fused.calls:
        for buffer in call.reads:
            for writer in writers.get(buffer, ()):
                assert writer is call or place[id(writer)] < place[id(call)], "read before it is written"
    for calls in writers.values():
        order = [place[id(call)] for call in calls]
        assert order == sorted(order), "written in another order"
    late = made.calls[made.commit :]
    assert not any(map(can_fail, late)), "fails after the first store"
    taken = [leaf for leaf in made.donations if leaf is not None]
    assert len(set(taken)) == len(taken), "one memory for two outputs"
    leaf_buffer = {info.index: b for b, info in enumerate(fused.buffers) if info.source == "input"}
    for output, leaf in enumerate(made.donations):
        if leaf is None:
            continue
        old, (store,) = leaf_buffer[leaf], writers[fused.outputs[output]]
        assert place[id(store)] >= made.commit, "stored before the commit point"
        for call in fused.calls:
            if old in call.reads and call is not store:
                assert place[id(call)] < place[id(store)], "read after it is overwritten"


@settings(max_examples=150)
@given(RECIPES, CHOICES)
def test_orders_of_random_programs(recipe, choices):
    _, outputs = updates(recipe, choices)
    fused = fuse(outputs, is_library)
    check(fused, schedule(fused, list(range(WEIGHTS)), can_fail))
    undonated = schedule(fused, [None] * WEIGHTS, can_fail)
    check(fused, undonated)
    assert undonated.commit == len(undonated.calls) and undonated.donations == [None] * WEIGHTS


@settings(max_examples=40)
@given(RECIPES, CHOICES)
def test_donated_memory_never_changes_a_result(recipe, choices):
    given_nodes, outputs = updates(recipe, choices)
    arrays = [np.random.default_rng(i).normal(size=(5, 5)).astype(np.float32) for i in range(WEIGHTS)]
    arrays.append(np.array([4, 0, 2, 2, 1]))
    expected = compute(outputs, dict(zip(given_nodes, arrays, strict=True)))
    program = CpuExecutable(outputs, list(range(WEIGHTS)), chosen_isa())
    buffers: list[HostBuffer] = [
        from_array(array, node.type) for array, node in zip(arrays, given_nodes, strict=True)
    ]
    buffers = buffers[: len(program.image.leaves)]
    reuse = [None if leaf is None else buffers[leaf] for leaf in program.donations]
    for found, wanted, donated in zip(program.run(buffers, reuse), expected, reuse, strict=True):
        np.testing.assert_allclose(found.view(TYPE), wanted, rtol=1e-4, atol=1e-4)
        assert donated is None or found.address == donated.address


def test_a_plain_step_takes_the_memory_of_every_weight():
    given_nodes = leaves()
    w, v, g = given_nodes[:3]
    momentum = add(multiply(v, tanh(v)), g)
    fused = fuse([subtract(w, momentum), momentum], is_library)
    assert schedule(fused, [0, 1], can_fail).donations == [0, 1]


def test_what_another_output_still_needs_is_not_overwritten_first():
    """w becomes v and v becomes w: at most one of the two can be written into the other's memory."""
    w, v = leaves()[:2]
    outputs = [tanh(v), matmul(w, w)]
    fused = fuse(outputs, is_library)
    made = schedule(fused, [0, 1], can_fail)
    check(fused, made)
    assert made.donations == [0, None] or made.donations == [None, 1]


def test_a_product_is_not_written_over_its_own_operand():
    w = leaves()[0]
    fused = fuse([matmul(w, w)], is_library)
    assert schedule(fused, [0], can_fail).donations == [None]


def test_a_product_stores_the_next_weight_over_the_old_one():
    w, v, g = leaves()[:3]
    given_up = matmul(g, permute_dims(w, (1, 0)))
    fused = fuse([subtract(w, matmul(permute_dims(v, (1, 0)), g)), given_up], is_library)
    made = schedule(fused, [0, None], can_fail)
    check(fused, made)
    assert made.donations == [0, None] and made.calls[-1].epilogue and made.calls[-1].in_place


def test_a_product_stores_the_next_weight_and_momentum_over_the_old_ones():
    w, v, g = leaves()[:3]
    moved = add(v, matmul(permute_dims(g, (1, 0)), g))
    given_up = matmul(g, permute_dims(w, (1, 0)))
    fused = fuse([subtract(w, moved), moved, given_up], is_library)
    made = schedule(fused, [0, 1, None], can_fail)
    check(fused, made)
    assert made.donations == [0, 1, None] and made.calls[-1].in_place and len(made.calls[-1].writes) == 2


def test_a_product_is_not_stored_over_what_it_reads_elsewhere():
    w, v = leaves()[:2]
    for read in (permute_dims(w, (1, 0)), add(w, flip(w, axis=0))):
        fused = fuse([subtract(read, matmul(v, v))], is_library)
        made = schedule(fused, [0], can_fail)
        check(fused, made)
        assert not any(isinstance(call, LibraryCall) and call.in_place for call in made.calls)


def test_what_can_fail_comes_before_the_first_store():
    w, v, *_, rows = leaves()
    fused = fuse([tanh(w), take(v, rows, axis=0)], is_library)
    made = schedule(fused, [0, None], can_fail)
    check(fused, made)
    assert any(map(can_fail, made.calls[: made.commit]))


@pytest.mark.parametrize("momentum", [True, False])
def test_stores_come_early_where_that_saves_memory(momentum):
    """The activation of each layer is let go by the product that updates its weight."""
    depth, batch, width = 6, 256, 64
    weights = [td.Variable(np.eye(width, dtype=np.float32)) for _ in range(depth)]
    opt = td.optim.SGD(weights, 0.1, momentum=0.9) if momentum else td.optim.Adam(weights)
    x = td.asarray(np.ones((batch, width), np.float32))

    @td.compile
    def step(x):
        h = x
        for w in weights:
            h = td.tanh(h @ w)
        opt.step(td.gradients(td.sum(h), weights))

    program = step.program(x)
    assert program.memory()["arena"] <= (depth + 2) * batch * width * 4
    taken = [leaf for leaf in program.donations if leaf is not None]
    assert len(taken) >= depth * (1 + len(opt.slots))


def test_a_large_gradient_is_computed_just_before_its_weight_is_stored():
    """Of three weights much larger than what their gradients are made of, one gradient is there at a time."""
    large = [new(INPUT, (), (i,), Type((40, 50), dtypes.float32)) for i in range(3)]
    rows = [new(INPUT, (), (3 + i,), Type((5, n), dtypes.float32)) for i, n in enumerate((40, 50))]
    outputs = []
    for i, w in enumerate(large):
        # Flipped, so that it is no product's epilogue that stores.
        gradient = flip(matmul(permute_dims(flip(rows[0], axis=i % 2), (1, 0)), rows[1]), axis=0)
        outputs.append(subtract(w, gradient))
    fused = fuse(outputs, is_library)
    made = schedule(fused, [0, 1, 2], can_fail)
    check(fused, made)
    assert made.donations == [0, 1, 2]
    lifetimes = Lifetimes(fused)
    place = {id(call): i for i, call in enumerate(fused.calls)}
    assert lifetimes.peak([place[id(call)] for call in made.calls]) < 2 * 40 * 50 * 4


@settings(max_examples=60)
@given(RECIPES, CHOICES)
def test_an_order_is_one_of_all_calls_and_its_peak_is_what_is_alive(recipe, choices):
    _, outputs = updates(recipe, choices)
    fused = fuse(outputs, is_library)
    needs = _needs(fused.calls)
    lifetimes = Lifetimes(fused)
    order = short_lived(lifetimes, needs, [range(len(needs))])
    assert sorted(order) == list(range(len(needs)))
    place = {i: p for p, i in enumerate(order)}
    assert all(place[n] < place[i] for i, before in enumerate(needs) for n in before)
    spans = {}
    for step, i in enumerate(order):
        for b in (*fused.calls[i].reads, *fused.calls[i].writes):
            if fused.buffers[b].source == "temporary":
                spans[b] = spans.get(b, (step, step))[0], step
    alive = [
        sum(fused.buffers[b].nbytes for b, (first, last) in spans.items() if first <= step <= last)
        for step in range(len(order))
    ]
    assert lifetimes.peak(order) == max(alive, default=0)
