"""Modules: names, values, modes, and errors that say where; in every style."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, FormatError, ShapeError, StateError


class Block(nn.Module):
    def __init__(self, width):
        self.first = nn.Dense(width, width)
        self.branches = [nn.Dense(width, width, bias=False), {"deep": nn.Dense(width, 1)}]
        self.scale = nn.Parameter((width,), 1.0)
        self.seen = nn.Statistic((), 0.0)
        self.tied = self.first

    def forward(self, x):
        x = self.seen.keep(x, lambda before: before + 1)
        return td.relu(self.first(x) + self.branches[0](x)) * self.scale + self.branches[1]["deep"](x)


def test_names_are_places_in_the_tree():
    block = Block(3)
    names = ["scale", "seen", "first.weight", "first.bias", "branches.0.weight"]
    names += ["branches.1.deep.weight", "branches.1.deep.bias"]
    assert list(block.variables()) == names
    assert list(block.parameters()) == [name for name in names if name != "seen"]
    assert block.first.weight.name == "first.weight"
    assert list(block.modules()) == ["", "first", "branches.0", "branches.1.deep"]
    assert repr(block).splitlines()[:2] == ["Block", "  first: Dense(3 -> 3)"]


def test_a_state_goes_through_and_wrong_ones_change_nothing():
    first, second = Block(3), Block(3)
    second.load_state(first.state())
    x = td.ones((2, 3))
    np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())
    before = second.state()
    wrong = {**first.state(), "scale": np.zeros(4), "other": np.zeros(1)}
    del wrong["first.bias"]
    with pytest.raises(FormatError) as error:
        second.load_state(wrong)
    for part in (
        "1 missing: first.bias",
        "1 unexpected: other",
        "scale: (4,) where (3,)",
        "nothing was changed",
    ):
        assert part in str(error.value)
    for name, value in second.state().items():
        np.testing.assert_array_equal(value, before[name])
    second.load_state({"scale": np.full(3, 7.0)}, strict=False)
    assert second.scale.tolist() == [7.0, 7.0, 7.0]


WRONG_VALUES = {
    "words": ({"weight": np.array([["a"]]), "bias": np.zeros(1)}, "weight: no numbers where float32"),
    "nothing": ({"weight": None, "bias": np.zeros(1)}, "weight: no numbers"),
    "ragged": ({"weight": [[1], [2, 3]], "bias": np.zeros(1)}, "weight: no numbers"),
    "complex": (
        {"weight": np.ones((1, 1), complex), "bias": np.zeros(1)},
        "complex128 where float32",
    ),
    "a list": ([np.ones((1, 1)), np.zeros(1)], "values are a list; expected a dict"),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_values_that_are_no_numbers_change_nothing(name):
    values, words = WRONG_VALUES[name]
    layer = nn.Dense(1, 1, first=3.0)
    with pytest.raises(FormatError, match=words):
        layer.load_state(values)
    assert layer.weight.tolist() == [[3.0]]


def test_freezing_by_pattern():
    block = Block(2).freeze("first.*")
    assert not any(name.startswith("first") for name in block.parameters())
    assert "first.weight" in block.state()
    block.unfreeze()
    assert "first.weight" in block.parameters() and "seen" not in block.parameters()
    with pytest.raises(ArgumentError, match="no parameter of Block matches 'last"):
        block.freeze("last.*")


def test_an_error_says_in_which_module():
    net = nn.Sequential(nn.Dense(4, 3), Block(2))
    with pytest.raises(ShapeError, match=r"must be 2, in 1\.first, Dense\(2 -> 2\)"):
        net(td.ones((1, 4)))


def test_scopes_are_the_modules_names():
    block = Block(2)
    scopes = {node.scope for node in td.Array(block(td.ones((1, 2))).node).node.inputs}
    assert all(scope[0] == "Block" for scope in scopes)


def test_statistics_are_kept_in_every_style():
    x = np.arange(6.0, dtype="float32").reshape(3, 2)
    mean, var = x.mean(0), x.var(0, ddof=1)

    def check(norm, times):
        expected_mean, expected_var = np.zeros(2), np.ones(2)
        for _ in range(times):
            expected_mean += 0.1 * (mean - expected_mean)
            expected_var += 0.1 * (var - expected_var)
        np.testing.assert_allclose(norm.running_mean.numpy(), expected_mean, rtol=1e-5)
        np.testing.assert_allclose(norm.running_var.numpy(), expected_var, rtol=1e-5)

    td.evaluate()
    eager = nn.BatchNorm(2)
    y = eager(td.asarray(x)) + eager(td.asarray(x))
    assert len(td.state.pending.versions) == 2  # two passes, one program
    np.testing.assert_allclose(y.numpy(), 2 * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4)
    check(eager, 2)

    compiled = nn.BatchNorm(2)
    run = td.compile(lambda x: compiled(x) + compiled(x))
    run(x), run(x)
    check(compiled, 4)

    static = nn.BatchNorm(2)
    fed = td.placeholder((None, 2))
    once, twice = static(fed), static(static(fed))
    session = td.Session()
    session.run(once, {fed: x})
    check(static, 1)
    session.run([once * 2, once + 1], {fed: x})
    check(static, 2)
    before = static.running_mean.numpy().copy()
    session.run(twice, {fed: x})
    # The outer pass sees mean 0 and starts from what the inner one gives.
    np.testing.assert_allclose(static.running_mean.numpy(), (before + 0.1 * (mean - before)) * 0.9, rtol=1e-4)
    static.eval()
    session.run(static(fed), {fed: x})
    np.testing.assert_allclose(static.running_mean.numpy(), (before + 0.1 * (mean - before)) * 0.9, rtol=1e-4)


def test_gradients_go_through_what_keeps_statistics():
    x = td.asarray(np.random.default_rng(0).normal(size=(5, 3)).astype("float32"))
    norm = nn.BatchNorm(3)
    eager = td.gradients(td.sum(td.square(norm(x)) * x), list(norm.parameters().values()))
    fed = td.placeholder((5, 3))
    static = td.gradients(td.sum(td.square(norm(fed)) * fed), list(norm.parameters().values()))
    for a, b in zip(eager, td.Session().run(static, {fed: x}), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)


def test_a_compiled_function_follows_the_modes_of_its_modules():
    net = nn.Sequential(nn.Dropout(0.5), nn.Dense(101, 1, first=1.0, bias=False))
    run = td.compile(lambda x: net(x))
    x = np.ones((1, 101), "float32")
    assert float(run(x).sum()) != 101.0
    assert len({float(run(x).sum()) for _ in range(8)}) > 1
    net.eval()
    assert float(run(x).sum()) == 101.0
    net.train()
    assert float(run(x).sum()) != 101.0
    assert len(run.traces) == 2 and "Dropout is in evaluation mode" in run.traces[1]
    with pytest.raises(StateError, match="mode is changed inside"):
        td.compile(lambda x: net.eval()(x))(x)


def test_copies_and_pickles_have_variables_of_their_own():
    block = Block(2)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(nn.Dense(2, 2)))):
        assert isinstance(next(iter(other.parameters().values())), td.Variable)
    other = copy.deepcopy(block)
    other.scale.assign(other.scale * 5)
    assert other.scale.tolist() == [5.0, 5.0] and block.scale.tolist() == [1.0, 1.0]
    assert isinstance(other.seen, nn.Statistic) and other.tied is other.first


def test_first_values_follow_the_seed():
    td.random.seed(3)
    first = nn.Dense(4, 5).state()
    td.random.seed(3)
    second, third = nn.Dense(4, 5).state(), nn.Dense(4, 5).state()
    np.testing.assert_array_equal(first["weight"], second["weight"])
    assert (first["weight"] != third["weight"]).any()
