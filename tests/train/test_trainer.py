"""The training loop: what it makes of data, when it calls whom, what it measures."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim, train
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError, StateError

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


def test_all_callbacks_hear_of_the_end():
    heard = []

    class Ending(train.Callback):
        def __init__(self, name):
            self.name = name

        def ended(self, trainer):
            heard.append(self.name)
            if self.name == "first":
                raise OSError("the disk is full")

    trainer = trainer_of(network(), callbacks=[Ending("first"), Ending("second")])
    with pytest.raises(OSError, match="the disk is full"):
        trainer.fit((X, Y), steps=1)
    assert heard == ["first", "second"]
    assert trainer.latest["rate"] == pytest.approx(0.02)


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
        ((X, Y), {"epochs": 0}, ArgumentError, "epochs=0 is not a positive integer"),
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
    with pytest.raises(ArgumentError, match="Progress is a class: make one"):
        trainer_of(network(), callbacks=[train.Progress])
    diary = Diary()
    assert trainer_of(network(), callbacks=diary).callbacks == [diary]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda net, opt: (net, "cross_entropy", opt), "loss is 'cross_entropy'; expected a function"),
        (
            lambda net, opt: (net, nn.cross_entropy, "adam"),
            r"optimizer is 'adam'; expected one .* optim.Adam",
        ),
        (lambda net, opt: (net, nn.cross_entropy, optim.Adam), "optimizer is the class Adam"),
        (lambda net, opt: (td.relu, nn.cross_entropy, opt), "model is a function; expected an nn.Module"),
        (lambda net, opt: (network(), nn.cross_entropy, opt), r"\(0.weight, .* are none of the model's"),
    ],
)
def test_what_a_trainer_cannot_be_made_of(make, text):
    net = network()
    with pytest.raises(ArgumentError, match=text):
        train.Trainer(*make(net, optim.SGD(net.parameters(), 0.1)))


def test_lists_of_numbers_are_data():
    x, y = X.tolist(), Y.tolist()
    one, other = network(), network()
    trainer_of(one).fit((X, Y), epochs=1)
    trainer = trainer_of(other)
    trainer.fit((x, y), epochs=1, validation=(x, y))
    np.testing.assert_array_equal(one.state()["0.weight"], other.state()["0.weight"])
    assert trainer.predict(x).dtype == np.float32
    np.testing.assert_array_equal(trainer.predict(x), trainer.predict(X))


def test_what_was_frozen_after_the_optimizer_was_made():
    net = network()
    trainer = trainer_of(net)
    trainer.fit((X, Y), epochs=1)
    net.freeze("0.*")
    before = net.state()
    with pytest.raises(StateError, match=r"since the optimizer was made: 0\.weight, 0\.bias; make"):
        trainer.fit((X, Y), epochs=2)
    loss = nn.cross_entropy(net(X), Y)
    for step in (
        lambda: trainer.optimizer.step(td.gradients(loss, trainer.optimizer.parameters)),
        lambda: trainer.optimizer.minimize(loss),
    ):
        with pytest.raises(StateError, match="frozen since"):
            step()
    assert all(np.array_equal(before[name], value) for name, value in net.state().items())
    trainer_of(net).fit((X, Y), epochs=1)
    assert np.array_equal(before["0.weight"], net.state()["0.weight"])
    net.unfreeze()
    trainer.fit((X, Y), epochs=1)


def test_measures_that_nothing_measures():
    net = network()
    plateau = optim.Plateau(optim.SGD(net.parameters(), 0.1))
    for callback in (train.EarlyStopping(), train.LowerRate(plateau)):
        trainer = trainer_of(net, callbacks=[callback])
        with pytest.raises(ArgumentError, match="is measured on a validation set: give fit validation="):
            trainer.fit((X, Y), epochs=1)
        assert trainer.step == 0
    with pytest.raises(ArgumentError, match="nothing measures 'validation/score'"):
        trainer_of(net, callbacks=[train.LowerRate(plateau, "validation/score")]).fit(
            (X, Y), epochs=1, validation=(X, Y)
        )
