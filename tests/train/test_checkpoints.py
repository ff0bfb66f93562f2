"""Checkpoints: a killed run goes on to the same bits; what is broken is named, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim, train
from treadle.errors import ArgumentError, CheckpointError, FormatError, StateError

RUN = Path(__file__).with_name("resumed_run.py")

numbers = np.random.default_rng(0)
X = numbers.normal(size=(40, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")


# -- the same bits


def run(folder, kind, where="none", number=0):
    """What a run in a process of its own came to; None if it killed itself."""
    words = [sys.executable, str(RUN), str(folder), kind, where, str(number)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Of a checkpoint: its files are brought to the disk (fsync 2 to 4, 1 is the trial), then it is renamed, then
# checkpoints.json; `replace` is called by each of the tensors' files, too.
@pytest.mark.parametrize(
    ("kind", "deaths"),
    [
        ("arrays", [("step", 1), ("step", 5), ("fsync", 3), ("rename", 2), ("replace", 6), ("step", 12)]),
        ("loader", [("replace", 3), ("fsync", 12), ("step", 10)]),
    ],
)
def test_a_run_killed_again_and_again_comes_to_the_same_bits(tmp_path, kind, deaths):
    whole = run(tmp_path / "whole", kind)
    assert whole["step"] == 20
    assert len(whole["drawn"]) == 4
    for where, number in deaths:
        assert run(tmp_path / "killed", kind, where, number) is None
    assert run(tmp_path / "killed", kind) == whole


def test_an_interrupted_run_comes_to_the_same_bits(tmp_path):
    stopped = run(tmp_path / "one", "arrays", "interrupt", 7)
    assert (stopped["step"], stopped["stopped"]) == (7, "interrupted")
    assert train.read_checkpoint(tmp_path / "one").training["step"] == 7
    assert run(tmp_path / "one", "arrays") == run(tmp_path / "other", "arrays")


# -- in this process


def network(width=8):
    td.random.seed(0)
    return nn.Sequential(nn.Dense(4, width), td.tanh, nn.Dense(width, 2))


def trainer_of(net, folder, **options):
    return train.Trainer(net, nn.cross_entropy, optim.Adam(net.parameters(), 0.02), folder=folder, **options)


def fit(trainer, epochs=3, **options):
    return trainer.fit((X, Y), **{"epochs": epochs, "batch": 16, "validation": (X, Y), **options})


def same(one, other):
    return all(np.array_equal(one[name], value) for name, value in other.items())


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def whole_checkpoint(name):
    return [
        name,
        *(f"{name}/{file}" for file in ("model.safetensors", "training.json", "training.safetensors")),
    ]


def test_the_last_and_the_best_are_kept(tmp_path):
    accuracies = iter([0.5, 0.9, 0.7, 0.8])

    def pretend(trainer):
        trainer.latest["training/score"] = next(accuracies)

    net = network()
    kept = train.Checkpoints(best="training/score", larger_is_better=True, keep=1)
    fit(trainer_of(net, tmp_path, callbacks=[train.every(epochs=1)(pretend), kept]), 4)
    wanted = ["checkpoints.json", *whole_checkpoint("step-00000006"), *whole_checkpoint("step-00000012")]
    assert files(tmp_path) == sorted(wanted)
    assert train.read_checkpoint(tmp_path, "best").path.name == "step-00000006"
    last = train.read_checkpoint(tmp_path)
    assert same(last.model, net.state())
    assert last.training["epoch"] == 4
    other = network()
    other.load_state(last.model)
    assert same(other.state(), net.state())


def test_more_epochs_go_on_where_a_run_ended(tmp_path):
    one, other = network(), network()
    fit(trainer_of(one, tmp_path / "a"), 4)
    fit(trainer_of(other, tmp_path / "b"), 2)
    again = trainer_of(network(5), tmp_path / "b")
    with pytest.raises(FormatError):
        fit(again, 4, resume=True)
    other = network()
    trainer = trainer_of(other, tmp_path / "b")
    history = fit(trainer, 4, resume=True)
    assert same(one.state(), other.state())
    assert history.column("validation/loss")[0] == [3, 6, 9, 12]
    assert fit(trainer_of(network(), tmp_path / "b"), 4, resume=True).stopped == "4 epochs made"


def test_two_fits_of_one_trainer_go_on(tmp_path):
    trainer = trainer_of(network(), tmp_path)
    fit(trainer, 1)
    fit(trainer, 1)
    assert (trainer.step, trainer.epoch) == (6, 2)
    assert train.read_checkpoint(tmp_path).training["step"] == 6


def test_ctrl_c_ends_after_the_step(tmp_path):
    def interrupt(trainer):
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopping = train.EarlyStopping()
    net = network()
    trainer = trainer_of(net, tmp_path, callbacks=[train.every(steps=1)(interrupt), stopping])
    assert fit(trainer).stopped == "interrupted"
    assert trainer.step == 4
    assert same(train.read_checkpoint(tmp_path).model, net.state())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    def interrupt(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    trainer = trainer_of(network(), tmp_path, callbacks=[train.every(steps=4)(interrupt)])
    with pytest.raises(KeyboardInterrupt):
        fit(trainer)
    assert train.read_checkpoint(tmp_path).training["step"] == 3


def test_early_stopping_gives_the_best_values_back(tmp_path):
    losses = iter([3.0, 2.0, 2.5, float("nan"), 2.1, 1.0])
    seen = []

    class Pretend(train.Callback):
        def evaluated(self, trainer):
            trainer.latest["validation/loss"] = next(losses)
            seen.append(trainer.model.state())

    net = network()
    stopping = train.EarlyStopping(patience=2)
    history = fit(trainer_of(net, tmp_path, callbacks=[Pretend(), stopping]), 9)
    assert history.stopped == "validation/loss did not get better than 2 of step 6"
    assert history.step == 15
    assert same(net.state(), seen[1])
    # A resumed run stays ended, and has the best values again.
    other = network()
    assert fit(trainer_of(other, tmp_path, callbacks=[train.EarlyStopping()]), 9, resume=True).step == 15
    assert same(other.state(), seen[1])
    assert same(train.read_checkpoint(tmp_path).model, seen[4])


def test_the_rate_is_lowered_when_nothing_gets_better(tmp_path):
    losses = iter([1.0, 1.0, 1.0, 0.5])

    class Pretend(train.Callback):
        def evaluated(self, trainer):
            trainer.latest["validation/loss"] = next(losses)

    def made(net):
        trainer = trainer_of(net, tmp_path)
        plateau = optim.Plateau(trainer.optimizer, factor=0.5, patience=1)
        trainer.callbacks += [Pretend(), train.LowerRate(plateau)]
        return trainer

    trainer = made(network())
    fit(trainer, 2)
    assert trainer.optimizer.rate == pytest.approx(0.02)
    trainer = made(network())
    fit(trainer, 4, resume=True)
    assert trainer.optimizer.rate == pytest.approx(0.01)


# -- wrong use


def test_a_folder_that_cannot_be_written_to_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("x")
    begun = []
    trainer = trainer_of(network(), tmp_path / "file" / "run")
    trainer.callbacks.append(train.every(steps=1)(lambda trainer: begun.append(1)))
    with pytest.raises(CheckpointError, match=r"checkpoints cannot be written to .*run"):
        fit(trainer)
    assert not begun
    assert trainer.step == 0


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """The limit on a file's size stands for the disk's end: the write fails halfway."""
    net = network(300)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(trainer):
        if trainer.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))

    trainer = trainer_of(net, tmp_path, callbacks=[train.every(epochs=1)(fill)])
    try:
        with pytest.raises(CheckpointError, match=r"step-00000006 could not be written: .*large"):
            fit(trainer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert files(tmp_path) == sorted(["checkpoints.json", *whole_checkpoint("step-00000003")])
    other = network(300)
    fit(trainer_of(other, tmp_path), resume=True)
    whole = network(300)
    fit(trainer_of(whole, tmp_path / "whole"))
    assert same(other.state(), whole.state())


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def scribble(path):
    path.write_bytes(b"\x00\x01 something else")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    fit(trainer_of(network(), folder), 1)
    return folder


@pytest.mark.parametrize("damage", [cut, scribble, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "training.json"])
def test_a_broken_file_is_named_and_nothing_changed(trained, tmp_path, name, damage):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    damage(folder / "step-00000003" / name)
    net = network()
    before = net.state()
    trainer = trainer_of(net, folder)
    listed = files(folder)
    with pytest.raises((FormatError, FileNotFoundError), match="step-00000003"):
        fit(trainer, resume=True)
    assert same(before, net.state())
    assert trainer.step == 0
    assert files(folder) == listed


def test_files_of_two_checkpoints_are_told_apart(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    fit(trainer_of(network(), folder), 2, resume=True)
    shutil.copy(trained / "step-00000003" / "model.safetensors", folder / "step-00000006")
    with pytest.raises(FormatError, match=r"model\.safetensors.* is of another checkpoint"):
        fit(trainer_of(network(), folder), 3, resume=True)


def test_what_fails_in_an_epoch_can_be_repaired_and_gone_on_with(tmp_path):
    """An item that cannot be read, and a label that is no class: nothing is lost, and no batch left out."""
    broken = [True]

    def read(row):
        if broken[0] and np.array_equal(row[0], X[37]):
            raise OSError("no such file")
        return row

    def data():
        return td.data.arrays(X, Y).shuffle(1).map(read).batch(8).loader(threads=0)

    def attempt(folder, data, **options):
        net = network()
        trainer_of(net, folder).fit(data, epochs=2, resume=True, **options)
        return net.state()

    with pytest.raises(td.errors.DataError, match="item 37"):
        attempt(tmp_path / "a", data())
    assert train.read_checkpoint(tmp_path / "a").training["step"] > 0
    broken[0] = False
    assert same(attempt(tmp_path / "a", data()), attempt(tmp_path / "b", data()))

    wrong = Y.copy()
    wrong[30] = 7
    with pytest.raises(td.errors.IndexingError, match=r"7 is not the number of a class.*in step 4"):
        attempt(tmp_path / "c", (X, wrong), batch=8, shuffle=False)
    assert train.read_checkpoint(tmp_path / "c").training["step"] == 3
    assert same(
        attempt(tmp_path / "c", (X, Y), batch=8, shuffle=False),
        attempt(tmp_path / "d", (X, Y), batch=8, shuffle=False),
    )


def test_an_index_that_is_none(trained, tmp_path):
    for number, text in enumerate(["{", "[]", '{"kind": "treadle checkpoint 1"}']):
        folder = tmp_path / str(number)
        shutil.copytree(trained, folder)
        (folder / "checkpoints.json").write_text(text)
        with pytest.raises(FormatError, match=r"checkpoints\.json"):
            fit(trainer_of(network(), folder), resume=True)


def test_a_checkpoint_of_another_model_lists_all_differences(trained):
    td.random.seed(0)
    net = nn.Sequential(nn.Dense(4, 9), td.tanh, nn.Dense(9, 2), nn.Dense(2, 2))
    before = net.state()
    with pytest.raises(FormatError) as failure:
        fit(trainer_of(net, trained), resume=True)
    text = str(failure.value)
    assert "is of another run" in text
    assert "2 missing: 3.weight, 3.bias" in text or "2 missing: 3.bias, 3.weight" in text
    assert "3 of another shape: 0.weight: (4, 8) where (4, 9) is needed" in text
    assert same(before, net.state())
    net = network()
    other = train.Trainer(net, nn.cross_entropy, optim.SGD(net.parameters(), 0.1), folder=trained)
    before = net.state()
    with pytest.raises(FormatError, match="SGD: "):
        fit(other, resume=True)
    assert same(before, net.state())


def test_a_run_goes_on_with_its_own_data(trained):
    with pytest.raises(StateError, match="examples was 40, is 39; batch was 16, is 8"):
        trainer_of(network(), trained).fit((X[1:], Y[1:]), epochs=2, batch=8, resume=True)


def test_checkpoints_are_found_without_their_index_and_others_folders_left_alone(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "checkpoints.json").unlink()
    (folder / "step-by-step").mkdir()
    (folder / "step-00000002.draft").mkdir()
    net = network()
    fit(trainer_of(net, folder), 2, resume=True)
    whole = network()
    fit(trainer_of(whole, tmp_path / "whole"), 2)
    assert same(net.state(), whole.state())
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints.json", "step-00000006", "step-by-step"
    ]  # fmt: skip


def test_values_of_every_kind_come_back(tmp_path):
    values = {"half": np.arange(3, dtype="float16"), "pair": np.array([1 + 2j]), "whole": np.array(2**40)}
    values["brain"] = td.ones((2,), dtype=td.bfloat16).numpy()
    rest = {
        "list": [1, None, {"deep": values["pair"]}],
        "float": 0.1,
        "nan": float("nan"),
        "count": np.int64(3),
        "a": {"b": np.zeros(1), "array": np.full(1, 2.0)},
        "a.b": np.ones(1),
        "values": {"array": np.full(1, 3.0)},
    }
    train.write_checkpoint(tmp_path, "one", values, rest)
    found = train.read_checkpoint(tmp_path / "one")
    assert all(found.model[name].dtype == value.dtype for name, value in values.items())
    assert same(found.model, values)
    assert found.training["list"][:2] == [1, None]
    assert found.training["list"][2]["deep"] == values["pair"]
    a = found.training["a"]
    assert [a["b"], a["array"], found.training["a.b"], found.training["values"]["array"]] == [0, 2, 1, 3]
    assert (found.training["float"], found.training["count"]) == (0.1, 3)
    assert np.isnan(found.training["nan"])


def test_another_run_is_not_written_over(trained):
    with pytest.raises(StateError, match="holds checkpoints of a run"):
        fit(trainer_of(network(), trained))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: train.Checkpoints(keep=0), "keep=0"),
        (lambda: train.Checkpoints(best="accuracy"), "expected 'validation/NAME'"),
        (lambda: train.EarlyStopping("validation/score"), "say with larger_is_better"),
        (lambda: train.EarlyStopping(patience=-1), "patience=-1"),
        (lambda: fit(trainer_of(network(), None), resume=True), "give the trainer the folder"),
        (lambda: fit(trainer_of(network(), None, callbacks=[train.Checkpoints()])), "there is no folder"),
        (
            lambda: fit(trainer_of(network(), None, callbacks=[train.EarlyStopping("validation/auc")])),
            "nothing measures 'validation/auc'",
        ),
    ],
)
def test_settings_that_mean_nothing(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no last checkpoint in"):
        train.read_checkpoint(tmp_path)
    net = network()
    assert fit(trainer_of(net, tmp_path), 1, resume=True).step == 3


# -- NaN


def test_the_line_where_nan_began_is_named_and_the_last_checkpoint_is_good(tmp_path):
    """The gradient of a root at 0 is infinite: the loss shows it a step later."""
    x = np.ones((12, 4), "float32")
    x[6:8] = 0

    class Norm(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((4,), 1.0)

        def forward(self, x):
            return td.sqrt(td.sum(td.square(x * self.weight)))

    net = Norm()
    trainer = train.Trainer(
        net, lambda norm, y: norm, optim.SGD(net.parameters(), 1e-3), folder=tmp_path,
        callbacks=[train.Checkpoints(every=train.every(steps=1))],
    )  # fmt: skip
    with pytest.raises(td.errors.NumericsError) as failure:
        trainer.fit((x, x[:, 0]), epochs=1, batch=2, shuffle=False)
    text = str(failure.value)
    assert (
        "after step 4 weight has values that are not finite; the model is taken back to before step 4" in text
    )
    assert "divide float32[], gradient in Norm, is the first value that is not finite" in text
    assert "test_checkpoints.py" in text
    assert "td.sqrt(td.sum(td.square(x * self.weight)))" in text
    assert "the last checkpoint is" in text
    assert trainer.step == 3
    assert trainer.failed
    good = train.read_checkpoint(tmp_path)
    assert good.training["step"] == 3
    assert same(good.model, net.state())


def test_nan_without_checkpoints():
    x = np.ones((40, 4), "float32")
    x[30, 2] = np.nan
    net = network()
    trainer = trainer_of(net, None)
    with pytest.raises(
        td.errors.NumericsError, match=r"the loss of step 8 is nan; .* before step 8, in which that began"
    ):
        trainer.fit((x, Y), epochs=1, batch=4, shuffle=False)
    assert all(np.isfinite(value).all() for value in net.state().values())


def test_nan_in_data_that_are_given_once():
    batches = [(X[:5], Y[:5])] * 3 + [(X[:5] * np.nan, Y[:5])]
    shared = iter(batches)

    class Once:
        def __iter__(self):
            yield from shared

    for data in (iter(batches), Once()):
        net = network()
        first = net.state()
        trainer = trainer_of(net, None)
        with pytest.raises(
            td.errors.NumericsError, match="the loss of step 4 is nan; made again from step 0 on"
        ):
            trainer.fit(data, steps=4)
        assert trainer.step == 0
        assert same(net.state(), first)


def test_a_full_disk_names_the_log(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    log, events = train.CsvLog(tmp_path / "log.csv", steps=1), train.TensorBoard(tmp_path / "tensorboard")
    for callback, name in ((log, r"log\.csv"), (events, r"tensorboard/events\.out")):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (120, hard))
            with pytest.raises(OSError, match=rf"large: .*{name}"):
                fit(trainer_of(network(), None, callbacks=[callback]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
