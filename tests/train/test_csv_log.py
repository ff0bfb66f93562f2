"""The log of training: its rows, later columns, a resumed run, and files that are none."""

from __future__ import annotations

import math

import pytest
from watched import Run

from treadle.errors import ArgumentError, FormatError
from treadle.train.csv_log import CsvLog, read_log


def two_epochs(run):
    for _ in range(2):
        run.steps_on(3)
        run.end_epoch({"accuracy": 0.5 + run.epoch / 4}, loss=0.25)
    run.end()


def test_a_row_an_epoch(tmp_path):
    run = Run(CsvLog(), folder=tmp_path).begin()
    two_epochs(run)
    text = (tmp_path / "log.csv").read_text()
    assert text.splitlines()[0] == "step,epoch,seconds,validation/accuracy,rate,training/loss"
    assert text.splitlines()[1].startswith("3,1,0.753,0.5,0.1,0.25")
    assert "\r" not in text and text.endswith("\n")
    assert [row["validation/accuracy"] for row in read_log(tmp_path / "log.csv")] == [0.5, 0.75]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_steps_between_and_columns_that_come_later(tmp_path):
    path = tmp_path / "deep" / "mine.csv"
    run = Run(CsvLog(path, steps=2)).begin()
    run.steps_on(5)
    before = path.read_text()
    assert before.splitlines()[0] == "step,epoch,seconds,loss,rate"
    run.evaluate(loss=2.0)  # within the epoch, at a step that has a row of its own
    run.steps_on(1)
    run.end_epoch(loss=0.3, accuracy=math.nan)
    run.end()
    rows = read_log(path)
    assert [row["step"] for row in rows] == [2, 4, 5, 6]
    assert rows[0] == {"step": 2, "epoch": 0, "seconds": 0.752, "loss": 0.5, "rate": 0.1}
    assert rows[2]["validation/loss"] == 2.0 and "loss" not in rows[2]
    assert rows[3]["loss"] == 1 / 6 and rows[3]["training/loss"] == 0.3
    assert math.isnan(rows[3]["training/accuracy"])


def test_a_resumed_run_writes_what_one_that_was_never_interrupted_writes(tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    two_epochs(Run(CsvLog(whole, steps=1)).begin())

    first = Run(log := CsvLog(cut, steps=1)).begin()
    first.steps_on(3)
    first.end_epoch({"accuracy": 0.5}, loss=0.25)
    remembered, seconds = log.state(), dict(first.seconds)
    first.steps_on(2)
    cut.write_text(cut.read_text() + "5,0,0.7")  # killed within a line

    again = Run(log := CsvLog(cut, steps=1), step=3, epoch=1)
    again.seconds = seconds
    log.load_state(remembered)
    again.begin()
    again.steps_on(3)
    again.end_epoch({"accuracy": 0.75}, loss=0.25)
    again.end()
    assert cut.read_text() == whole.read_text()


def test_a_row_that_waits_is_in_the_state(tmp_path):
    run = Run(log := CsvLog(tmp_path / "log.csv")).begin()
    run.steps_on(2)
    run.evaluate(accuracy=0.5)
    again = Run(other := CsvLog(tmp_path / "log.csv"), step=2)
    other.load_state(log.state())
    again.begin().end()
    assert [row["validation/accuracy"] for row in read_log(tmp_path / "log.csv")] == [0.5]


def test_a_new_run_writes_a_new_file(tmp_path):
    for _ in range(2):
        two_epochs(Run(CsvLog(), folder=tmp_path).begin())
    assert len(read_log(tmp_path / "log.csv")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "does not name a column `step`"),
        (b"", "does not name a column `step`"),
        (b"step,loss\n1,0.5\n2,half\n", r"line 3: .*half"),
        (b"step,loss\n1\n", "line 2"),
        (b"\xff\xfe", "no CSV file in UTF-8"),
    ],
)
def test_files_that_are_no_log(content, message, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_log(path)


def test_no_place_and_no_steps():
    with pytest.raises(
        ArgumentError, match=r"no place for log\.csv: give CsvLog a path or the Trainer a fol"
    ):
        Run(CsvLog()).begin()
    with pytest.raises(ArgumentError, match="steps=0 is not positive"):
        CsvLog(steps=0)
