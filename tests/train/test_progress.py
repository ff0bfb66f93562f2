"""Progress in a terminal, a log file and a notebook."""

from __future__ import annotations

import io
import re
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from watched import Run

import treadle as td
from treadle import nn, optim, train
from treadle.train import progress
from treadle.train.progress import Progress, duration_text, value_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_a_log_has_plain_lines_at_growing_intervals(clock):
    file = io.StringIO()
    run = Run(Progress(file=file), steps=40_000).begin()
    run.steps_on(1)
    times = []
    for _ in range(40_000 - 1):
        clock.now += 0.5
        before = len(file.getvalue())
        run.steps_on(1)
        if len(file.getvalue()) > before:
            times.append(clock.now - 100)
    run.end()
    lines = file.getvalue().splitlines()
    assert lines[0] == "epoch 1  step 1/40000  loss 1  1 ms/step  0 ms"
    assert lines[-1] == "epoch 0  step 40000/40000  loss 2.5e-05  1 ms/step  5:33:20"
    assert times[:3] == [5, 10, 15] and times[-1] - times[-2] > 300
    assert len(lines) < 300
    assert file.getvalue().isprintable() or not set(file.getvalue()) - set(map(chr, [10, *range(32, 127)]))


def test_the_end_of_an_epoch_is_shown_soon(clock):
    file = io.StringIO()
    run = Run(Progress(file=file, names=("validation/accuracy",)), steps=None).begin()
    run.steps_on(1)
    clock.now += 2
    run.steps_on(3)
    run.waiting = 0.31
    run.end_epoch({"accuracy": 0.98765})
    run.steps_on(1)
    clock.now += 0.5
    run.end_epoch()
    assert file.getvalue().splitlines() == [
        "epoch 1  step 1  1 ms/step  0 ms",
        "epoch 1  step 4  validation/accuracy 98.77%  waiting for data 31%  1 ms/step  2 s",
    ]


def test_the_last_line_is_not_there_twice(clock):
    file = io.StringIO()
    run = Run(Progress(file=file)).begin()
    run.steps_on(8)
    clock.now += 9
    run.end_epoch()
    run.end()
    assert [line.split("  ")[1] for line in file.getvalue().splitlines()] == ["step 1/8", "step 8/8"]


def test_a_resumed_run_says_where_it_goes_on(clock):
    file = io.StringIO()
    Run(Progress(file=file), step=5, epoch=2).begin()
    assert file.getvalue() == "from step 5/8 on\n"


def test_a_bar_in_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    texts = {}
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        file = Terminal()
        run = Run(Progress(file=file)).begin()
        run.steps_on(8)
        run.end_epoch({"loss": 0.5, "accuracy": 0.5}, loss=0.2)
        run.end()
        texts[width] = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue().rsplit("\r", 1)[-1])
        assert file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    begin, end = "epoch 1 ━━━━━━━━━━━━ 8/8  loss 0.125  validation/accuracy 50.00%  ", "ms/step 00:00"
    assert begin + "validation/loss 0.5  1 " + end in texts[120]
    assert begin.rstrip() + " 00:00" in texts[80]  # what there is no room for is left out


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    run = Run(Progress(file=file)).begin()
    run.steps_on(1)
    run.end()
    assert "\x1b" not in file.getvalue() and len(file.getvalue().splitlines()) == 2


def test_one_output_in_a_notebook_is_replaced(clock, monkeypatch):
    shown, updates = [], []
    display = SimpleNamespace(
        HTML=lambda text: text,
        display=lambda text, display_id: shown.append(text) or SimpleNamespace(update=updates.append),
    )
    package = ModuleType("IPython")
    package.display = display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setattr(import_module("treadle.train.progress"), "in_notebook", lambda: True)
    run = Run(Progress(), steps=1000).begin()
    for _ in range(1000):
        run.steps_on(1)
        clock.now += 0.01
    run.latest["training/<loss>"] = 1.0
    run.end()
    assert len(shown) == 1 and 20 <= len(updates) <= 22
    assert 'value="1000" max="1000"' in updates[-1] and "training/&lt;loss&gt; 1" in updates[-1]


def test_numbers_are_short():
    assert value_text("train/accuracy", 0.5) == "50.00%"
    assert value_text("perplexity", 1234.5678) == "1235"
    assert [duration_text(s) for s in (0.00001, 0.5, 12.34, 75, 3723)] == [
        "0.01 ms", "500 ms", "12.3 s", "1:15", "1:02:03",
    ]  # fmt: skip


def test_nan_that_takes_the_model_back_to_the_beginning_is_told():
    net = nn.Dense(4, 2)
    infinite = lambda y, _: td.sqrt(td.sum(td.square(y * 0)))  # noqa: E731  its gradient is
    trainer = train.Trainer(net, infinite, optim.SGD(net.parameters(), 0.1))
    trainer.callbacks.append(train.Progress(file=io.StringIO()))
    x = np.ones((4, 4), "float32")
    with pytest.raises(td.errors.NumericsError, match="back to before step 1"):
        trainer.fit((x, x), epochs=1, batch=1)
    assert trainer.step == 0
