"""The main job: the digits are learned, in one native call a step, and to the same bits every time."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.datasets import load_digits
from treadle.devices.cpu import runner
from treadle.errors import ArgumentError
from treadle.train.digits import cross_entropy, initialize, scores
from treadle.train.fit import BATCH, train_digits


@pytest.fixture(scope="module")
def trained():
    told = []
    parameters, outcome = train_digits(on_step=told.append)
    return parameters, outcome, told


def test_the_digits_are_learned(trained):
    parameters, outcome, _ = trained
    assert outcome.tested == 360
    assert outcome.accuracy >= 0.98
    *_, images, labels = load_digits()
    right = scores(parameters, td.asarray(images)).numpy().argmax(axis=1) == labels
    assert right.sum() == outcome.correct


def test_progress_is_told_after_every_step(trained):
    _, outcome, told = trained
    assert outcome.steps == len(told) == told[0].of == 15 * (1437 // BATCH)
    assert [progress.step for progress in told] == list(range(1, outcome.steps + 1))
    assert told[0].correct is None
    assert told[-1].epoch == 14
    assert np.mean([progress.loss for progress in told[-44:]]) < 0.05 < told[0].loss


def test_times_are_told_apart(trained):
    _, outcome, _ = trained
    assert list(outcome.seconds) == ["data", "steps", "evaluation", "compiling"]
    assert all(seconds > 0 for seconds in outcome.seconds.values())
    assert outcome.step_ms == pytest.approx(1e3 * outcome.seconds["steps"] / (outcome.steps - 1))


def test_equal_seeds_give_equal_bits_and_others_do_not():
    first, again, other = (train_digits(epochs=1, seed=seed)[0] for seed in (3, 3, 4))
    for name in first:
        assert first[name].numpy().tobytes() == again[name].numpy().tobytes()
    assert any(first[name].numpy().tobytes() != other[name].numpy().tobytes() for name in first)


def test_a_step_is_one_native_call(monkeypatch):
    calls, marks = [], []
    run = runner.Frame.run

    def counted(frame, bases, profile=False):
        calls.append(frame)
        return run(frame, bases, profile)

    monkeypatch.setattr(runner.Frame, "run", counted)
    train_digits(epochs=1, on_step=lambda progress: marks.append(len(calls)))
    assert set(np.diff(marks)) == {1}


def test_the_network_agrees_with_its_reference():
    train_images, train_labels, *_ = load_digits()
    images, labels = td.asarray(train_images[:4]), td.asarray(train_labels[:4])
    parameters = initialize(seed=1)
    variables = list(parameters.values())

    def loss_and_gradients():
        loss = cross_entropy(scores(parameters, images), labels)
        return [array.numpy() for array in (loss, *td.gradients(loss, variables))]

    compiled = loss_and_gradients()
    with td.debug():
        reference = loss_and_gradients()
    for found, wanted in zip(compiled, reference):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_no_epochs_is_an_error():
    with pytest.raises(ArgumentError, match="epochs=0: training takes at least one"):
        train_digits(epochs=0)
