"""Triggers call so often, and pass on the rest."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from treadle import train
from treadle.errors import ArgumentError


class Heard(train.Callback):
    def __init__(self):
        self.events = []

    def stepped(self, trainer):
        self.events.append(("step", trainer.step))

    def epoch_ended(self, trainer):
        self.events.append(("epoch", trainer.epoch))

    def evaluated(self, trainer):
        self.events.append(("evaluated", trainer.step))

    def state(self):
        return {"events": len(self.events)}


def run(callback):
    """Two epochs of three steps, each evaluated."""
    trainer = SimpleNamespace(step=0, epoch=0)
    for _ in range(2):
        for _ in range(3):
            trainer.step += 1
            callback.stepped(trainer)
        trainer.epoch += 1
        callback.evaluated(trainer)
        callback.epoch_ended(trainer)


def test_a_trigger_calls_a_function_so_often():
    steps, epochs = [], []
    run(train.every(steps=4)(lambda trainer: steps.append(trainer.step)))
    run(train.every(epochs=2)(lambda trainer: epochs.append(trainer.step)))
    assert steps == [4]
    assert epochs == [6]


def test_a_trigger_narrows_the_event_it_names():
    by_steps, by_epochs = Heard(), Heard()
    run(train.every(steps=4)(by_steps))
    assert by_steps.events == [
        *(("evaluated", 3), ("epoch", 1)), ("step", 4), *(("evaluated", 6), ("epoch", 2))
    ]  # fmt: skip
    triggered = train.every(epochs=2)(by_epochs)
    run(triggered)
    assert [event for event in by_epochs.events if event[0] == "epoch"] == [("epoch", 2)]
    assert [event for event in by_epochs.events if event[0] == "step"] == [("step", n) for n in range(1, 7)]
    assert triggered.state() == {"events": 9}


@pytest.mark.parametrize("wrong", [{}, {"steps": 1, "epochs": 1}, {"steps": 0}, {"epochs": 1.5}])
def test_a_trigger_that_means_nothing(wrong):
    with pytest.raises(ArgumentError, match=r"\[every\]"):
        train.every(**wrong)


def test_a_trigger_takes_a_function_or_a_callback():
    with pytest.raises(ArgumentError, match="neither a callback nor a function"):
        train.every(steps=1)(3)
