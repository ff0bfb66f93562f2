"""What modules are called with, and made of, that is no array, no module or of another width."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, FormatError, ShapeError


def test_lists_of_numbers_are_arrays():
    dense, table = nn.Dense(2, 3), nn.Embedding(5, 2)
    x = [[1.0, 2.0], [3.0, 4.0]]
    np.testing.assert_array_equal(dense(x).numpy(), dense(np.asarray(x, "float32")).numpy())
    assert nn.Sequential(dense, td.relu)(x).dtype == td.float32
    assert table([1, 4]).shape == (2, 2)
    assert nn.LSTM(2, 3)([x], lengths=[2])[0].shape == (1, 2, 3)


class Silent(nn.Module):
    def __init__(self):
        self.layer = nn.Dense(2, 3)

    def forward(self, x):
        self.layer(x)


@pytest.mark.parametrize(
    ("net", "x", "message"),
    [
        (nn.Dense(2, 3), "text", r"\[Dense\] it was given a str and takes an array"),
        (nn.Dense(2, 3), None, "was given None"),
        (nn.Sequential(Silent(), nn.Dense(3, 1)), [[1, 2]], r"given None: .* return\?, in 1, Dense"),
        (
            nn.Sequential(nn.LSTM(2, 3), nn.Dense(3, 1)),
            np.ones((1, 2, 2), "float32"),
            "a tuple of 2 .*in 1, D",
        ),
        (td.compile(nn.Dense(2, 3)), [[1.0, 2.0]], r"a list and takes an array: pass td.asarray"),
    ],
)
def test_what_is_no_array_is_said_with_the_place(net, x, message):
    with pytest.raises(ArgumentError, match=message):
        net(x)


def test_an_attribute_that_is_missing_elsewhere_stays_that_error():
    class Wrong(nn.Module):
        def forward(self, x):
            return self.nothing

    with pytest.raises(AttributeError, match="nothing") as caught:
        Wrong()([1.0])
    assert not isinstance(caught.value, ArgumentError)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([nn.Dense(2, 3)], r"part 1 is a list: .*\*parts"),
        (nn.Dense, "part 1 is the class Dense: make one"),
        (None, "part 1 is None"),
        ("relu", "part 1 is 'relu'"),
    ],
)
def test_parts_that_cannot_be_called(part, message):
    with pytest.raises(ArgumentError, match=message):
        nn.Sequential(td.relu, part)
    net = nn.Sequential(td.relu, td.exp)
    with pytest.raises(ArgumentError, match=message):
        net[1] = part


@pytest.mark.parametrize("size", ["2", 2.0, True, None])
def test_sizes_of_parameters_are_integers(size):
    with pytest.raises(ShapeError, match="sizes are positive integers"):
        nn.Dense(size, 3)


def test_float64_meeting_float32_parameters_is_told():
    net = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3))
    with pytest.warns(
        UserWarning, match=r'\[Sequential\] x is float64, the parameters are float32.*"float32"'
    ):
        assert net(np.ones((4, 2))).dtype == td.float64
    with pytest.warns(UserWarning, match="float64"):
        td.compile(net)(np.ones((4, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(np.ones((4, 2), "float32"))
        nn.Dense(2, 3, dtype="float64")(np.ones((4, 2)))
        nn.Dropout(0.5)(np.ones((4, 2)))


def test_a_variable_is_not_replaced_by_an_array():
    net = nn.Dense(2, 3)
    for value in (net.weight - 0.1, np.ones((2, 3)), 0.5, [[1.0]]):
        with pytest.raises(ArgumentError, match=r"weight is a variable, .* \.weight\.assign\(value\)"):
            net.weight = value
    net.weight = td.Variable(np.ones((2, 3), "float32"))
    net.bias = None
    assert list(net.parameters()) == ["weight"]


def test_values_of_which_none_is_meant_are_refused_also_without_strict():
    net = nn.Dense(2, 3)
    with pytest.raises(FormatError, match="2 unexpected: weigth, b; nothing was changed"):
        net.load_state({"weigth": np.ones((2, 3)), "b": 1}, strict=False)
    net.load_state({"weight": np.ones((2, 3)), "b": 1}, strict=False)
    net.load_state({}, strict=False)
    assert net.weight.numpy().min() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv(1, "a", 3), r"\[Conv\] outputs='a': expected positive integers"),
        (lambda: nn.Conv(1, 2, 3.0), r"\[Conv\] window=3.0; expected one integer"),
        (lambda: nn.Conv(1, 2, "3"), r"\[Conv\] window='3'; expected one integer, .* 2 spatial"),
        (lambda: nn.Conv(1, 2, 3, stride=1.5), r"\[Conv\] stride=1.5; expected one integer"),
        (lambda: nn.ConvTranspose(1, "a", 3), r"\[ConvTranspose\] outputs='a'"),
        (lambda: nn.GroupNorm("2", 8), r"\[GroupNorm\] groups='2'"),
        (lambda: nn.Embedding(10, "a"), r"\[Embedding\] size='a'"),
        (lambda: nn.LSTM("a", True), r"\[LSTM\] inputs='a', width=True: expected"),
        (lambda: nn.MultiHeadAttention("8", 2), r"\[MultiHeadAttention\] size='8'"),
        (lambda: nn.Dropout("0.5"), r"\[Dropout\] rate='0.5' is not in"),
        (lambda: nn.Dense(2, 3, first="xavier"), r"first='xavier' is text: give a rule such as nn.initial"),
    ],
)
def test_settings_of_another_kind(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
