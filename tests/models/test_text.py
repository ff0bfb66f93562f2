"""The networks of text and the neural Turing machine: sizes, causality, samples, and that they learn."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import models, nn, optim
from treadle.errors import ArgumentError, ShapeError


def count(net):
    return sum(w.size for w in net.parameters().values())


def test_parameter_counts():
    # An embedding, two LSTM layers of four gates with two biases each, and the head.
    lstm = models.CharacterLSTM(84, width=256)
    assert count(lstm) == 84 * 256 + 2 * (4 * 256 * (256 + 256) + 2 * 4 * 256) + 256 * 84 + 84
    # Table and places; a block is four projections, two dense layers and two norms; a last norm; a tied head.
    gpt = models.GPT(84, context=64, layers=4, width=128)
    block = 4 * (128 * 128 + 128) + (128 * 512 + 512) + (512 * 128 + 128) + 4 * 128
    assert count(gpt) == 84 * 128 + 64 * 128 + 4 * block + 2 * 128


def test_gpt_2s_smallest_has_124_million_parameters():
    with nn.initial.without_values():
        net = models.GPT(50257, context=1024, layers=12, width=768, heads=12)
    assert count(net) == 124_439_808


MODELS = {
    "lstm": lambda: models.CharacterLSTM(11, width=16),
    "gpt": lambda: models.GPT(11, context=12, layers=2, width=16, heads=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_comes_later_changes_nothing_before(name):
    net = MODELS[name]()
    numbers = np.random.default_rng(0).integers(0, 11, (2, 12))
    other = numbers.copy()
    other[:, 7:] = (other[:, 7:] + 1) % 11
    a, b = net(numbers).numpy(), net(other).numpy()
    assert a.shape == (2, 12, 11)
    np.testing.assert_allclose(a[:, :7], b[:, :7], atol=1e-5)
    assert (np.abs(a[:, 7:] - b[:, 7:]).max(axis=(0, 2)) > 1e-4).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_learned_and_continued(name):
    td.random.seed(0)
    net, text = MODELS[name](), np.arange(13) * 3 % 11
    adam = optim.Adam(net.parameters(), 1e-2)

    @td.compile
    def step(numbers, targets):
        loss = nn.cross_entropy(net(numbers), targets)
        adam.step(td.gradients(loss, net.parameters()))
        return loss

    losses = [float(step(text[None, :-1], text[None, 1:])) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]
    expected = list(np.arange(10) * 3 % 11)
    assert net.sample([0], 9, temperature=0) == expected
    assert net.training
    hot = [net.sample([0], 9, temperature=50.0, seed=seed) for seed in range(3)]
    assert hot[0] == net.sample([0], 9, temperature=50.0, seed=0) and len({tuple(s) for s in hot}) == 3
    assert net.sample([0], 9, temperature=50.0, most_likely=1) == expected


def test_a_text_goes_on_beyond_the_context():
    gpt = MODELS["gpt"]()
    gpt.blocks[0].eval()
    assert len(gpt.sample([1, 2, 3], 20)) == 23
    assert gpt.training and not gpt.blocks[0].training


def test_the_state_goes_on():
    net, numbers = MODELS["lstm"](), np.random.default_rng(1).integers(0, 11, (2, 9))
    first, state = net.along(numbers[:, :4])
    second, _ = net.along(numbers[:, 4:], state)
    whole = net(numbers).numpy()
    np.testing.assert_allclose(np.concatenate([first.numpy(), second.numpy()], 1), whole, atol=1e-5)


def copying(generator, length, width=3):
    """A sequence to copy: a flag, the sequence, another flag, and room for the copy."""
    sequence = generator.integers(0, 2, (16, length, width)).astype("float32")
    x = np.zeros((16, 2 * length + 2, width + 2), "float32")
    x[:, 1 : length + 1, :width] = sequence
    x[:, 0, width] = x[:, length + 1, width + 1] = 1
    return x, sequence


def test_the_turing_machine_learns_to_copy_short_sequences():
    td.random.seed(0)
    net = models.load("neural_turing_machine", inputs=5, outputs=3, width=32, rows=8, columns=8)
    assert net(np.zeros((2, 7, 5), "float32")).shape == (2, 7, 3)
    adam, generator = optim.Adam(net.parameters(), 1e-2), np.random.default_rng(0)

    @td.compile
    def step(x, sequence):
        loss = nn.binary_cross_entropy(net(x)[:, -sequence.shape[1] :], sequence)
        adam.step(optim.clip_by_norm(td.gradients(loss, net.parameters()), 10.0))
        return loss

    losses = [float(step(*copying(generator, 2))) for _ in range(250)]
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


def test_where_a_head_looks_is_a_distribution():
    net = models.NeuralTuringMachine(4, 3, width=8, rows=6, columns=5)
    memory = td.asarray(np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32"))
    at = td.one_hot(td.asarray([0, 3]), 6)
    weights = net.reading(td.ones((2, 8)), memory, at).numpy()
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


REFUSED = {
    "lstm": (lambda: MODELS["lstm"]()(np.zeros(5, "i8")), ShapeError, r"expected \[batch, steps\]"),
    "gpt": (lambda: MODELS["gpt"]()(np.zeros((1, 13), "i8")), ShapeError, "of at most 12 steps"),
    "gpt's sizes": (lambda: models.GPT(0), ArgumentError, "vocabulary=0"),
    "ntm": (lambda: models.NeuralTuringMachine(4, 3)(td.ones((2, 5, 3))), ShapeError, "batch, steps, 4"),
    "empty start": (lambda: MODELS["lstm"]().sample([], 3), ArgumentError, "expected numbers from 0 to 10"),
    "start": (lambda: MODELS["gpt"]().sample([11], 3), ArgumentError, "expected numbers from 0 to 10"),
    "temperature": (lambda: MODELS["gpt"]().sample([1], 3, temperature=-1), ArgumentError, "temperature=-1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
