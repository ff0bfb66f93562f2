"""The training loop: what it makes of data, when it calls whom, what it measures."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim, train
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError

numbers = np.random.default_rng(0)
X = numbers.normal(size=(50, 4)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int64")


def network(*between):
    td.random.seed(0)
    return nn.Sequential(nn.Dense(4, 8), td.tanh, *between, nn.Dense(8, 2))


def trainer_of(net, **options):
    return train.Trainer(net, nn.cross_entropy, optim.Adam(net.parameters(), 0.02), **options)


def by_hand(net, epochs, batch):
    opt = optim.Adam(net.parameters(), 0.02)
    order = train.batches.ArrayBatches((X, Y), batch, shuffle=True, seed=0)
    for _ in range(epochs):
        for x, y in order:
            loss = nn.cross_entropy(net(td.asarray(x)), td.asarray(y))
            opt.step(td.gradients(loss, net.parameters()))
            td.evaluate(loss)


def test_it_trains_as_by_hand():
    one, other = network(), network()
    trainer = trainer_of(one)
    history = trainer.fit((X, Y), epochs=3, batch=16)
    by_hand(other, 3, 16)
    assert trainer.step == 12
    assert trainer.epoch == 3
    assert history.stopped == "3 epochs made"
    for name, value in other.state().items():
        np.testing.assert_allclose(one.state()[name], value, rtol=2e-5, atol=1e-6)


class Diary(train.Callback):
    def __init__(self):
        self.events = []

    def begin(self, trainer):
        self.events.append("begin")

    def stepped(self, trainer):
        self.events.append(trainer.step)

    def evaluated(self, trainer):
        self.events.append(f"evaluated {trainer.latest['validation/accuracy']:.2f}")

    def epoch_ended(self, trainer):
        self.events.append(f"epoch {trainer.epoch}")

    def ended(self, trainer):
        self.events.append(trainer.stopped)


def test_whom_it_calls_when():
    diary = Diary()
    trainer = trainer_of(network(), metrics=["accuracy"], callbacks=[diary])
    trainer.fit((X, Y), epochs=2, batch=25, validation=(X, Y))
    right = [event for event in diary.events if str(event).startswith("evaluated")]
    assert diary.events == [
        "begin", 1, 2, right[0], "epoch 1", 3, 4, right[1], "epoch 2", "2 epochs made"
    ]  # fmt: skip
    assert trainer.latest["validation/accuracy"] == trainer.evaluate((X, Y))["accuracy"]
    assert trainer.history.column("validation/accuracy")[0] == [2, 4]
    assert trainer.steps == 4
    diary.events.clear()
    trainer.fit((X, Y), steps=3, batch=25, validation=(X, Y), validate=train.every(steps=2))
    assert [event for event in diary.events if isinstance(event, int)] == [5, 6, 7]
    assert len([event for event in diary.events if str(event).startswith("evaluated")]) == 2
    assert trainer.stopped == "7 steps made"


def test_a_callback_can_stop_it():
    trainer = trainer_of(
        network(), callbacks=[train.every(steps=3)(lambda trainer: trainer.stop("good enough"))]
    )
    history = trainer.fit((X, Y), epochs=9, batch=10)
    assert (history.step, history.stopped) == (3, "good enough")


def test_epoch_means_are_over_examples():
    trainer = trainer_of(network(), metrics=["accuracy"])
    seen = []
    loss = trainer._step.loss
    trainer.callbacks.append(train.every(steps=1)(lambda trainer: seen.append(trainer.latest["loss"])))
    trainer.fit((X, Y), epochs=1, batch=32)
    assert trainer.latest["training/loss"] == pytest.approx((32 * seen[0] + 18 * seen[1]) / 50)
    assert loss is nn.cross_entropy


def test_a_last_smaller_batch_is_one_more_program():
    trainer = trainer_of(network())
    trainer.fit((X, Y), epochs=4, batch=16, validation=(X, Y))
    assert trainer.history.programs == 4


def test_what_data_may_be():
    data = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    pipeline = td.data.arrays(X, Y).batch(25)
    for given, steps in ((data, 4), (pipeline, 4), (pipeline.loader(), 4)):
        trainer = trainer_of(network())
        trainer.fit(given, epochs=2, validation=given)
        assert trainer.step == steps
    trainer.fit(td.data.arrays(X, Y), epochs=1, batch=10)
    assert trainer.step == steps + 5
    trainer.fit((td.asarray(X), td.asarray(Y)), epochs=1)
    assert trainer.step == steps + 7


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            self.out = nn.Dense(4, 2)

        def forward(self, a, b):
            return self.out(a - b)

    net = Two()
    trainer = trainer_of(net)
    trainer.fit(((X, 0 * X), Y), epochs=1)
    assert trainer.predict((X, 0 * X)).shape == (50, 2)


def test_batches_without_targets():
    class Code(nn.Module):
        def __init__(self):
            self.out = nn.Dense(4, 4)

        def forward(self, x):
            return td.mean(td.square(self.out(x) - x), axis=1)

    net = Code()
    trainer = train.Trainer(net, lambda errors, _: td.mean(errors), optim.SGD(net.parameters(), 0.1))
    data = [(X[:20], None), (X[20:], None)]
    trainer.fit(data, epochs=1, validation=data)
    errors = trainer.predict(data)
    assert trainer.latest["validation/loss"] == pytest.approx(errors.mean(), rel=1e-5)


def test_prediction_fills_up_the_last_batch():
    net = network(nn.Dropout(0.5))
    trainer = trainer_of(net)
    trainer.fit((X, Y), epochs=1)
    whole = net.eval()(td.asarray(X)).numpy()
    net.train()
    np.testing.assert_allclose(trainer.predict(X, batch=16), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trainer.predict([X[:20], (X[20:], Y[20:])]), whole, rtol=1e-5, atol=1e-6)
    assert len(trainer._prediction._compiled.traces) == 3
    assert net.training


def test_modes_of_parts_stay():
    frozen = nn.Dropout(0.9).eval()
    net = network(frozen)
    trainer = trainer_of(net)
    trainer.fit((X, Y), epochs=1, validation=(X, Y))
    assert net.training
    assert not frozen.training


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        ((X[:0], Y[:0]), {}, ArgumentError, "the data set is empty"),
        ([], {}, ArgumentError, "gave no batch"),
        (iter([(X, Y)]), {"epochs": 2}, ArgumentError, "exhausted after one pass"),
        ((X, Y[:9]), {}, ShapeError, "9, 50 examples"),
        (3, {}, ArgumentError, "data is a int"),
        ([(X, Y, Y)], {}, ArgumentError, "this one is a tuple of 3"),
        (td.data.arrays(X, Y), {}, ShapeError, r"Make batches of it with \.batch\(32\)"),
        (td.data.arrays(X, Y).repeat().batch(4), {}, ArgumentError, "the data have no end"),
        ((X, Y), {"steps": 1}, ArgumentError, "give one of them"),
        ((X, Y), {"epochs": 0}, ArgumentError, "not a positive integer"),
        ((X, Y), {"batch": 0}, ArgumentError, "batch=0"),
        ((X, 2 * Y), {}, IndexingError, "2 is not the number of a class.*in step 1"),
    ],
)
def test_data_that_will_not_do(data, options, error, text):
    net = network()
    before = net.state()
    trainer = trainer_of(net)
    with pytest.raises(error, match=text):
        trainer.fit(data, **{"epochs": 1, **options})
    if trainer.step == 0:
        assert all(np.array_equal(before[name], value) for name, value in net.state().items())
    trainer.fit((X, Y), epochs=1)


def test_data_that_run_dry():
    batches = iter([(X[:5], Y[:5])] * 3)

    class Once:
        def __iter__(self):
            yield from batches

    trainer = trainer_of(network())
    with pytest.raises(
        ArgumentError, match=r"gave no batch in epoch 2; .* an object whose __iter__ begins anew"
    ):
        trainer.fit(Once(), steps=10)
    assert trainer.step == 3


def test_measurements_are_of_whole_passes():
    trainer, data = trainer_of(network()), td.data.arrays(X, Y).batch(8)
    with data.loader() as loader:
        whole = trainer.evaluate((X, Y), batch=8)
        next(iter(loader))
        assert trainer.evaluate(loader) == whole
        next(iter(loader))
        assert len(trainer.predict(loader)) == len(X)
        with pytest.raises(ArgumentError, match="validation is the loader that is trained on"):
            trainer.fit(loader, validation=loader, validate=train.every(steps=2), epochs=1)
    for call in (trainer.evaluate, trainer.predict, lambda d: trainer.fit((X, Y), validation=d, epochs=1)):
        with pytest.raises(ArgumentError, match="the data have no end"):
            call(data.repeat())


@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (lambda o, t: nn.cross_entropy(o, t, reduction="none"), ShapeError, r"\[loss\] it gives \(50,\)"),
        (lambda o, t: td.max(t), DTypeError, r"\[loss\] it gives int64"),
        (lambda o, t: 3.0, ShapeError, r"\[loss\] it gives float"),
    ],
)
def test_losses_that_are_none(loss, error, text):
    net = network()
    trainer = train.Trainer(net, loss, optim.SGD(net.parameters(), 0.1))
    with pytest.raises(error, match=text):
        trainer.fit((X, Y), epochs=1, batch=50)


def test_callbacks_that_are_none():
    with pytest.raises(ArgumentError, match=r"wrap a function as train.every"):
        trainer_of(network(), callbacks=[print])
