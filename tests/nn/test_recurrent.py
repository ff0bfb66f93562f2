"""Recurrent layers: against PyTorch's numbers, kept in recurrent.npz by make_recurrent.py, and by rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, DTypeError, ShapeError

FOUND = dict(np.load(Path(__file__).with_name("recurrent.npz")))
LENGTHS = [2, 5, 3]
KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def wave(*shape, phase=0.0):
    return np.sin(np.arange(np.prod(shape), dtype="float32") * 0.7 + phase).reshape(shape)


def turned(path, value):
    """A parameter as PyTorch has it, whose weights are transposed, or back."""
    return value.T if path.startswith("weight") else value


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def loaded(kind, **options):
    net = KINDS[kind](2, 4, layers=2, bidirectional=True, **options)
    for i, (path, w) in enumerate(net.parameters().items()):
        shape = w.shape[::-1] if path.startswith("weight") else w.shape
        w.assign(turned(path, wave(*shape, phase=i + 1.0)))
    return net


def given_state(kind):
    first = [td.asarray(0.5 * wave(4, 3, 4, phase=k)) for k in range(2 if kind == "LSTM" else 1)]
    for part in first:
        part.requires_grad = True
    return tuple(first) if len(first) > 1 else first[0]


@pytest.mark.parametrize("time_first", [False, True], ids=["batch first", "time first"])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNN.lengths", "LSTM.lengths", "GRU.lengths"])
def test_outputs_states_and_gradients_are_pytorchs(name, time_first):
    kind, lengths = name.split(".")[0], LENGTHS if name.endswith("lengths") else None
    net = loaded(kind, time_first=time_first)
    x = td.asarray(wave(3, 5, 2))
    x.requires_grad = True
    first = given_state(kind)
    y, last = net(td.permute_dims(x, (1, 0, 2)) if time_first else x, first, lengths=lengths)
    y = td.permute_dims(y, (1, 0, 2)) if time_first else y
    total = td.sum(y * wave(*y.shape, phase=0.5))
    for k, part in enumerate(parts(last)):
        total = total + td.sum(part * wave(*part.shape, phase=1.5 + k))
    parameters = net.parameters()
    dx, *rest = td.gradients(total, [x, *parts(first), *parameters.values()])
    found = {"y": y, "dx": dx}
    for k, (part, gradient) in enumerate(zip(parts(last), rest)):
        found |= {f"last{k}": part, f"dfirst{k}": gradient}
    found |= {f"d.{path}": turned(path, g.numpy()) for path, g in zip(parameters, rest[len(parts(last)) :])}
    assert {f"{name}.{key}" for key in found} <= set(FOUND)
    for key, value in found.items():
        expected = FOUND[f"{name}.{key}"]
        np.testing.assert_allclose(np.asarray(value), expected, rtol=2e-4, atol=2e-4, err_msg=key)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_cell_along_a_sequence(kind):
    layer, cell = KINDS[kind](3, 4), CELLS[kind](3, 4)
    cell.load_state({path.removesuffix("_l0"): value for path, value in layer.state().items()})
    x = wave(2, 6, 3)
    y, last = layer(x)
    state = None
    for t in range(6):
        state = cell(x[:, t], state)
        np.testing.assert_allclose(y.numpy()[:, t], parts(state)[0].numpy(), rtol=1e-5, atol=1e-6)
    for one, other in zip(parts(last), parts(state)):
        np.testing.assert_allclose(one.numpy()[0], other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_style_gives_the_same(kind):
    net, x, lengths = KINDS[kind](3, 4, layers=2, bidirectional=True), wave(2, 6, 3), np.array([4, 6])
    expected = net(x, lengths=lengths)[0].numpy()
    compiled = td.compile(lambda x, lengths: net(x, lengths=lengths)[0])
    np.testing.assert_allclose(compiled(x, lengths).numpy(), expected, rtol=1e-5, atol=1e-6)
    inputs = td.placeholder(("batch", "steps", 3))
    ends = td.placeholder(("batch",), dtype=td.int64)
    run = td.function([inputs, ends], [net(inputs, lengths=ends)[0]])
    np.testing.assert_allclose(run(x, lengths)[0].numpy(), expected, rtol=1e-5, atol=1e-6)
    mapped = td.vmap(lambda x: net(x[None])[0][0])(td.asarray(x))
    np.testing.assert_allclose(mapped.numpy(), net(x)[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_to_second_order(kind):
    net = KINDS[kind](2, 3, dtype=td.float64)
    x = td.asarray(wave(2, 4, 2).astype("float64"))

    def slope(w):
        net.weight_hh_l0.assign(w)
        g = td.gradients(td.sum(td.square(net(x)[0])), net.weight_hh_l0)
        return td.sum(g * wave(*g.shape)), g

    w = net.weight_hh_l0.numpy()
    value, _ = slope(td.asarray(w))
    second = td.gradients(value, net.weight_hh_l0).numpy()
    direction = wave(*w.shape, phase=2.0).astype("float64")
    ends = [slope(td.asarray(w + h * direction))[0].item() for h in (1e-5, -1e-5)]
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((second * direction).sum()), rel=1e-6)


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_inputs_states_and_products_of_other_widths(layer):
    net = layer(3, 4, bias=False)
    narrow = td.asarray(np.ones((2, 5, 3)), dtype=td.float16)
    y, state = net(narrow)
    assert y.dtype is td.float32
    np.testing.assert_allclose(y.numpy(), net(td.ones((2, 5, 3)))[0].numpy(), rtol=1e-6)
    halves = tuple(
        [td.astype(part, td.float16) for part in (state if isinstance(state, tuple) else (state,))]
    )
    assert net(narrow, halves if len(halves) > 1 else halves[0])[0].dtype is td.float32
    net.compute_dtype = "bfloat16"
    mixed, _ = net(td.ones((2, 5, 3)), lengths=[5, 2])
    assert mixed.dtype is td.float32
    np.testing.assert_allclose(mixed.numpy()[0], y.numpy()[0], atol=0.02)


def test_what_is_computed_of_the_inputs_alone_is_one_product():
    net = nn.LSTM(3, 4)
    text = td.explain(net(wave(2, 50, 3))[0])
    assert "float32[100, 16]" in text.split("==")[1]


def test_dropout_is_between_layers():
    net, x = nn.GRU(3, 8, layers=2, dropout=0.5), wave(4, 5, 3)
    assert (net(x)[0].numpy() != net(x)[0].numpy()).any()
    net.eval()
    np.testing.assert_array_equal(net(x)[0].numpy(), net(x)[0].numpy())
    alone = nn.GRU(3, 8, dropout=0.5)
    np.testing.assert_array_equal(alone(x)[0].numpy(), alone(x)[0].numpy())


def test_first_values():
    net = nn.LSTM(6, 8)
    blocks = np.split(net.weight_hh_l0.numpy(), 4, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(net.bias_ih_l0.numpy().reshape(4, 8)[1], 1)


NET = nn.LSTM(3, 4)
X = np.ones((2, 5, 3), "float32")
REFUSED = {
    "features": (lambda: NET(X[..., :2]), ShapeError, r"\(2, 5, 2\); expected \[batch, steps, 3\]"),
    "dimensions": (lambda: NET(X[0]), ShapeError, "expected"),
    "cell": (lambda: nn.GRUCell(3, 4)(X), ShapeError, r"expected \[batch, 3\]"),
    "state": (lambda: NET(X, td.zeros((1, 2, 4))), ArgumentError, r"1 arrays; expected a pair \(h, c\)"),
    "state's shape": (lambda: NET(X, (td.zeros((2, 4)),) * 2), ShapeError, r"\(2, 4\); expected \(1, 2, 4\)"),
    "lengths' shape": (lambda: NET(X, lengths=[5]), ShapeError, r"\(1,\); expected \(2,\)"),
    "lengths' dtype": (lambda: NET(X, lengths=[5.0, 2.0]), DTypeError, "expected integers"),
    "lengths": (lambda: NET(X, lengths=[6, 2]), ArgumentError, "2 to 6; x has 5 steps"),
    "activation": (lambda: nn.RNN(3, 4, activation="gelu"), ArgumentError, "one of tanh, relu"),
    "layers": (lambda: nn.RNN(3, 4, layers=0), ArgumentError, "layers=0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
