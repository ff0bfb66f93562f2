"""Schedules, clipping, and the rate that follows a measurement."""

from __future__ import annotations

import math

import numpy as np
import pytest

import treadle as td
from treadle import optim
from treadle.errors import ArgumentError, FormatError


def rates(schedule, steps):
    return [float(schedule(td.asarray(float(step)))) for step in steps]


def test_schedules():
    assert rates(optim.steps_down(1.0, [2, 4]), range(6)) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates(optim.cosine(2.0, 4, last=1.0), [0, 2, 4, 9]) == pytest.approx([2, 1.5, 1, 1])
    assert rates(optim.linear(1.0, 4), [0, 1, 4, 5]) == pytest.approx([1, 0.75, 0, 0])
    assert rates(optim.warm_up(4, optim.cosine(1.0, 2)), [0, 3, 4, 5, 6]) == pytest.approx(
        [0.25, 1, 1, 0.5, 0]
    )
    assert rates(optim.warm_up(2, 0.5), [0, 1, 7]) == pytest.approx([0.25, 0.5, 0.5])
    cycle = rates(optim.one_cycle(1.0, 11, rising=0.4, first=10.0, last=100.0), range(11))
    assert cycle[0] == pytest.approx(0.1) and max(cycle) == pytest.approx(1.0, abs=0.05)
    assert cycle[-1] == pytest.approx(0.001)
    assert cycle.index(max(cycle)) in (3, 4)


def test_an_optimizer_follows_its_schedule_and_resumes_it():
    w = td.Variable([0.0])
    schedule = optim.linear(1.0, 4)
    opt = optim.SGD([w], schedule)
    seen = []
    for _ in range(2):
        opt.step([td.ones((1,))])
        seen.append(opt.rate)
    other = optim.SGD([w], schedule)
    other.load_state(opt.state())
    other.step([td.ones((1,))])
    assert [*seen, other.rate] == pytest.approx([1.0, 0.75, 0.5])
    assert w.tolist() == pytest.approx([-2.25])


def test_clipping():
    gradients = {"a": td.asarray([3.0, 0.0]), "b": td.asarray([[-4.0]])}
    assert optim.global_norm(gradients).item() == pytest.approx(5.0)
    clipped = optim.clip_by_norm(gradients, 1.0)
    assert clipped["a"].tolist() == pytest.approx([0.6, 0.0]) and clipped["b"].tolist() == [
        [pytest.approx(-0.8)]
    ]
    assert optim.clip_by_norm([td.zeros((2,))], 1.0)[0].tolist() == [0.0, 0.0]
    assert optim.clip_by_value(gradients, 1.0)["b"].tolist() == [[-1.0]]
    with pytest.raises(ArgumentError, match="limit=0"):
        optim.clip_by_norm(gradients, 0)


def test_schedules_that_are_none():
    for make, said in (
        (lambda: optim.cosine(-1.0, 10), r"\[cosine\] rate=-1"),
        (lambda: optim.cosine(0.1, 0), r"\[cosine\] steps=0"),
        (lambda: optim.linear(0.1, 1.5), r"\[linear\] steps=1.5"),
        (lambda: optim.warm_up(3, "cosine"), r"\[warm_up\] rate='cosine'"),
        (lambda: optim.warm_up(3, optim.cosine), "no function of the number of steps"),
        (lambda: optim.one_cycle(0.1, 10, rising=1.5), "rising=1.5"),
        (lambda: optim.steps_down(0.1, 10), "at=10; expected a list"),
        (lambda: optim.steps_down(0.1, [10], -1), "factor=-1"),
        (lambda: optim.Plateau(optim.SGD([td.Variable(1.0)], optim.cosine(0.1, 9))), "rate is a schedule"),
        (lambda: optim.Plateau(0.1), "optimizer is a float"),
        (lambda: optim.LossScale(0.0), r"\[LossScale\] first=0"),
        (lambda: optim.LossScale(growth=0.5), "growth=0.5"),
        (lambda: optim.LossScale(backoff=1.5), "backoff=1.5"),
        (lambda: optim.LossScale(interval=0), "interval=0"),
    ):
        with pytest.raises(ArgumentError, match=said):
            make()


def test_a_plateau_is_resumed():
    plateaus = []
    for _ in range(2):
        opt = optim.SGD([td.Variable([1.0])], 1.0)
        plateaus.append(optim.Plateau(opt, factor=0.5, patience=1))
    first, second = plateaus
    for value in (1.0, 1.0):
        first.measured(value)
    second.load_state(first.state())
    assert [p.measured(1.0) for p in plateaus] == [True, True]
    with pytest.raises(FormatError, match="expected best and bad"):
        second.load_state({"best": 1.0})


def test_a_plateau_raises_no_rate():
    groups = [optim.Group([td.Variable(1.0)], 0.5), optim.Group([td.Variable(1.0)], 0.0)]
    opt = optim.SGD(groups, 0.1)
    plateau = optim.Plateau(opt, patience=0, lowest=0.2)
    assert [plateau.measured(1.0), plateau.measured(1.0)] == [False, True]
    np.testing.assert_allclose([group.rate.item() for group in opt.groups], [0.2, 0.0])


def test_a_plateau_lowers_the_rate():
    opt = optim.SGD([td.Variable([1.0])], 1.0)
    plateau = optim.Plateau(opt, factor=0.5, patience=1, lowest=0.3)
    lowered = [plateau.measured(v) for v in (1.0, 0.9, 0.9, 0.9, 0.95, 0.95, math.inf)]
    assert lowered == [False, False, False, True, False, True, False]
    assert opt.rate == np.float32(0.3)
