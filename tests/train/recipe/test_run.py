"""The main job: the digits are learned from their recipe, in one native call a step, to the same bits every
time; and what is kept in a run's folder is enough to go on with it, and to use it.
"""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.devices.cpu import runner
from treadle.errors import FormatError, StateError
from treadle.train import EarlyStopping, every, read_log, read_recipe, read_run
from treadle.train.recipe.run import make_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, make_run(read_recipe("digits")).fit(folder)


def short(*overrides):
    return make_run(read_recipe("digits", ["training.epochs=2", *overrides]))


def test_the_digits_are_learned(trained):
    folder, trainer = trained
    assert trainer.latest["validation/accuracy"] >= 0.98
    assert trainer.step == trainer.steps == 15 * (1437 // 32)
    assert trainer.latest["rate"] < 1e-7  # the cosine's end
    run, _ = read_run(folder)
    measured = run.evaluate(["accuracy", "confusion"])
    assert measured["confusion"].shape == (10, 10) and measured["confusion"].sum() == 360
    assert measured["accuracy"] == pytest.approx(measured["confusion"].trace() / 360)
    assert measured["accuracy"] >= 0.98
    image, label = run.data.example(7)
    scores = run.model(td.asarray(run.data.prepare.inputs(image[None])))
    assert int(td.argmax(scores)) == label


def test_a_folder_holds_all_there_is_to_know(trained):
    folder, trainer = trained
    names = {path.name for path in folder.iterdir()}
    assert {"recipe.toml", "checkpoints.json", "log.csv", "curves.html"} <= names
    rows = read_log(folder / "log.csv")
    assert len(rows) == trainer.step
    assert rows[-1]["validation/accuracy"] == trainer.latest["validation/accuracy"]
    with pytest.raises(StateError, match=r"holds a run: resume=True \(--resume\) goes on with it"):
        short().fit(folder)
    with pytest.raises(
        StateError, match=r"of another recipe: data\.batch was 32, is 16; a run is resumed with"
    ):
        short("data.batch=16").fit(folder, resume=True)
    (folder / "recipe.toml").rename(folder / "moved")
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*: it has no recipe\.toml"):
        read_run(folder)
    (folder / "moved").rename(folder / "recipe.toml")


def values(trainer):
    return {name: array.tobytes() for name, array in trainer.model.state().items()}


def test_a_run_that_was_cut_goes_on_to_the_same_bits(tmp_path):
    augment = ["data.augment.shift=1", "data.augment.noise=0.1"]
    whole = short(*augment).fit(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        short(*augment).fit(tmp_path / "cut", callbacks=[every(steps=60)(lambda trainer: 1 / 0)])
    resumed = short(*augment).fit(tmp_path / "cut", resume=True)
    assert resumed.step == whole.step == 88
    assert values(resumed) == values(whole)
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "cut")]
    for first, second in zip(*logs, strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}
    other = short(*augment, "training.seed=1").fit(tmp_path / "other")
    assert values(other) != values(whole)


def test_a_step_is_one_native_call(tmp_path, monkeypatch):
    calls, marks = [], []
    run = runner.Frame.run

    def counted(frame, *arguments):
        calls.append(frame)
        return run(frame, *arguments)

    monkeypatch.setattr(runner.Frame, "run", counted)
    made = short("training.epochs=1")
    made.fit(tmp_path, callbacks=[every(steps=1)(lambda trainer: marks.append(len(calls)))])
    assert set(np.diff(marks)) == {1}


def test_the_network_agrees_with_its_reference():
    made = short()
    x, labels = map(td.asarray, next(made.data.training))

    def loss_and_gradients():
        loss = made.loss(made.model(x), labels)
        gradients = td.gradients(loss, made.model.parameters())
        return [array.numpy() for array in (loss, *gradients.values())]

    compiled = loss_and_gradients()
    with td.debug():
        reference = loss_and_gradients()
    for found, wanted in zip(compiled, reference):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


REGRESSION = """\
[model]
name = "line.py:Line"

[data]
kind = "csv"
file = "line.csv"
target = "y"
batch = 10

[loss]
name = "huber"
delta = 2

[optimizer]
name = "sgd"
rate = 0.1
momentum = 0.9
ema = 0.5

[schedule]
name = "one_cycle"
warm_up = 2

[training]
epochs = 30
tensorboard = true
patience = 20
"""
LINE = """\
from treadle import nn

class Line(nn.Module):
    def __init__(self):
        self.dense = nn.Dense(1, 1)

    def forward(self, x):
        return self.dense(x)
"""


@pytest.fixture
def line(tmp_path):
    (tmp_path / "line.py").write_text(LINE)
    rows = [f"{x},{3 * x - 1 + 0.5}" for x in np.linspace(-1, 1, 100)]
    (tmp_path / "line.csv").write_text("\n".join(["x,y", *rows]))
    (tmp_path / "line.toml").write_text(REGRESSION)
    return tmp_path / "line.toml"


def test_a_file_of_ones_own(line, tmp_path, monkeypatch):
    trainer = make_run(read_recipe(line)).fit(tmp_path / "run")
    assert trainer.latest["validation/loss"] < 1e-3
    assert "training/accuracy" not in trainer.latest
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"Line/dense/matmul" in events.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run, _ = read_run(tmp_path / "run", "last")
    assert run.evaluate(training=True)["loss"] < 1e-3
    assert list(run.evaluate()) == ["loss"]


def test_training_data_are_measured_as_they_are(tmp_path):
    made = short("data.augment.noise=100", "data.limit=70")
    assert made.evaluate(training=True) == made.evaluate(training=True)
    assert sum(len(y) for _, y in made.data.plain()) == 70


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(td.errors.CheckpointError, match=r"file/run.*give a folder that can be written to"):
        short().fit(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.momentum=2", r"line 14: \[optimizer\] \[SGD\] momentum"),
        ("loss.delta=-1", r"delta=-1 is not positive"),
        ("schedule.rising=2", r"line 20: \[schedule\] \[one_cycle\]"),
        ("data.holdout=0.001", r"line 4: \[data\] holdout=0.001 holds 0 of 100"),
        ("data.target=z", r"line 4: \[data\] \[data\.csv\] .* has no column 'z'"),
        ("training.patience=-1", r"line 24: \[training\] \[EarlyStopping\] patience=-1 is negative"),
    ],
)
def test_what_cannot_be_made_names_its_section(line, tmp_path, override, message):
    with pytest.raises((FormatError, td.errors.ArgumentError), match=message):
        make_run(read_recipe(line, [override])).fit(tmp_path / "run")


def test_no_patience_is_none(line, tmp_path):
    trainer = make_run(read_recipe(line, ["training.patience=0", "training.epochs=1"])).fit(tmp_path / "run")
    assert [item.patience for item in trainer.callbacks if isinstance(item, EarlyStopping)] == [0]


def test_a_rate_is_needed_where_there_is_no_usual_one(line, tmp_path):
    line.write_text(REGRESSION.replace("rate = 0.1\n", ""))
    with pytest.raises(FormatError, match=r"\[optimizer\] there is no rate: it needs a number"):
        make_run(read_recipe(line)).fit(tmp_path / "run")


def test_what_is_frozen_stays(tmp_path):
    made = short("data.limit=64", 'training.freeze=["conv*", "dense1.weight"]')
    before = made.model.state()
    made.fit(tmp_path)
    after = made.model.state()
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"dense1.bias", "dense2.weight", "dense2.bias"}
    with pytest.raises(FormatError, match=r"\[training\] no parameter of Digits matches 'convs\*'"):
        short('training.freeze=["convs*"]')


def test_the_rate_falls_on_plateaus(tmp_path):
    # Nothing becomes better by 99 %, so that every evaluation after the first halves the rate.
    keys = ("name='plateau'", "factor=0.5", "patience=0", "threshold=0.99")
    plateau = ("training.epochs=3", *(f"schedule.{key}" for key in keys))
    trainer = short(*plateau, "optimizer.rate=0.004").fit(tmp_path / "loss")
    assert trainer.optimizer.rate == pytest.approx(0.001)
    # A measure of which more is better, that of the best checkpoint.
    trainer = short(*plateau, "training.best='validation/accuracy'").fit(tmp_path / "accuracy")
    assert trainer.optimizer.rate == pytest.approx(0.0005)
    for key, text in (("warm_up=3", "warm_up"), ("factor=2", r"\[Plateau\] factor")):
        with pytest.raises(FormatError, match=text):
            short(*plateau, f"schedule.{key}").fit(tmp_path / "wrong")


def test_a_model_that_is_none(line):
    (line.parent / "line.py").write_text("def Line():\n    return 3\n")
    with pytest.raises(FormatError, match=r"line\.py:Line gives a int, which is no nn\.Module"):
        make_run(read_recipe(line))


def test_a_recipe_may_compute_in_16_bits_and_add_up_parts_of_batches(tmp_path):
    recipe = ("training.compute_dtype='float16'", "optimizer.accumulate=2", "optimizer.ema=0.9")
    trainer = short(*recipe).fit(tmp_path)
    scale = float(trainer.optimizer.loss_scale.scale)  # half as large for every step that was not made
    assert float(trainer.optimizer.steps) + np.log2(65536 / scale) == trainer.step // 2
    assert trainer.latest["validation/accuracy"] > 0.5
    # The schedule ends with the steps, of two batches each.
    schedule = trainer.optimizer.groups[0].schedule
    assert schedule(td.asarray(float(trainer.step // 2))).item() == pytest.approx(0, abs=1e-9)
    run, _ = read_run(tmp_path, "last")
    assert run.model.compute_dtype is td.float16
    # What was evaluated in training are the averages.
    found = run.evaluate(["accuracy"])
    assert found["accuracy"] == trainer.latest["validation/accuracy"]
    assert found["loss"] == pytest.approx(trainer.latest["validation/loss"], rel=1e-6)
    with pytest.raises(FormatError, match=r"compute_dtype.*'int8', which there is not"):
        short("training.compute_dtype='int8'")
