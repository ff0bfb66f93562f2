"""How far training is, where it is watched: a bar in a terminal, lines in a log, one line in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import IO, TYPE_CHECKING, Any

from treadle.train.callback import Callback
from treadle.view.show import in_notebook

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

REDRAWN_S, NOTEBOOK_S = 0.1, 0.5
"""A bar in a terminal, and a line in a notebook, are brought up to date so often, in seconds."""
LINE_S, LINES = 5.0, 50
"""Lines are this many seconds apart at least, and this part of the time so far."""
EPOCH_S = 1.0
"""The end of an epoch is shown this soon."""
PERCENT = ("accuracy", "top5")
BAR, AROUND = 12, 10
"""Characters of the bar, and of the spaces and the time beside it."""
WAITING = 0.05
"""From this share of the time on, waiting for data is worth telling."""


class Progress(Callback):
    """Shows step, epoch, what was measured last, and the time.

    In a terminal it is a bar that moves; in a notebook one line that is replaced; in a file or a pipe, lines
    without control characters, at intervals that grow with the time.

    Args:
        file: where to write; None for standard output.
        names: what of ``trainer.latest`` to show; None for the loss and what was measured in evaluations, or,
            where there are none, over epochs.
    """

    def __init__(self, *, file: IO[str] | None = None, names: Sequence[str] | None = None):
        self.file, self.names = file, names
        self._place: _Place | None = None
        self._first = 0
        self._seconds = 0.0

    def begin(self, trainer: Trainer) -> None:
        self._first, self._seconds = trainer.step, trainer.seconds["steps"]
        self._place = _place(self.file)
        self._place.begin(trainer)

    def stepped(self, trainer: Trainer) -> None:
        if self._place is not None and self._place.due():
            self._place.show(trainer, trainer.epoch + 1, self._parts(trainer))

    def epoch_ended(self, trainer: Trainer) -> None:
        if self._place is not None and self._place.due(epoch=True):
            self._place.show(trainer, trainer.epoch, self._parts(trainer))

    def ended(self, trainer: Trainer) -> None:
        if self._place is not None:
            self._place.end(trainer, self._parts(trainer))
            self._place = None

    def _parts(self, trainer: Trainer) -> list[str]:
        """What there is to say, the most important first."""
        parts = shown_values(trainer.latest, self.names)
        if trainer.waiting > WAITING:
            parts.append(f"waiting for data {trainer.waiting:.0%}")
        seconds = trainer.seconds["steps"] - self._seconds
        made = trainer.step - self._first  # none where NaN took the model back
        if seconds > 0 and made > 0:  # what the first step takes counts as compiling
            parts.append(f"{duration_text(seconds / made)}/step")
        return parts


def shown_values(latest: Mapping[str, float], names: Sequence[str] | None = None) -> list[str]:
    """Measurements as text: shares as percent, other numbers to four digits.

    >>> shown_values({"loss": 0.123456, "training/loss": 0.13, "validation/accuracy": 0.983, "rate": 0.001})
    ['loss 0.1235', 'validation/accuracy 98.30%']
    """
    if names is None:
        over = "validation/" if any(name.startswith("validation/") for name in latest) else "training/"
        measured = [name for name in latest if name.startswith(over)]
        names = ["loss", *sorted(measured, key=lambda name: name.endswith("/loss"))]
    return [f"{name} {value_text(name, latest[name])}" for name in names if name in latest]


def value_text(name: str, value: float) -> str:
    """One measurement."""
    return f"{value:.2%}" if name.rsplit("/", 1)[-1] in PERCENT else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """A duration in the unit that fits.

    >>> duration_text(0.00107), duration_text(75)
    ('1.07 ms', '1:15')
    """
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Place:
    """Where progress is shown, not too often."""

    apart_s = REDRAWN_S

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.next = 0.0

    def due(self, epoch: bool = False) -> bool:
        """Whether to show how far it is: asked after every step and epoch, so it is quick."""
        now = time.monotonic()
        if now < (min(self.next, self.last + EPOCH_S) if epoch else self.next):
            return False
        self.last, self.next = now, now + self.apart(now - self.began)
        return True

    def apart(self, elapsed_s: float) -> float:
        """How many seconds are to pass until it is shown again."""
        return self.apart_s

    def begin(self, trainer: Trainer) -> None:
        raise NotImplementedError

    def show(self, trainer: Trainer, epoch: int, parts: Sequence[str]) -> None:
        raise NotImplementedError

    def end(self, trainer: Trainer, parts: Sequence[str]) -> None:
        self.show(trainer, trainer.epoch, parts)


def _place(file: IO[str] | None) -> _Place:
    if file is None and in_notebook():
        return _Notebook()
    from rich.console import Console

    console = Console(file=file, highlight=False)
    return _Bar(console) if console.is_terminal and not console.is_dumb_terminal else _Log(file or sys.stdout)


def _count(trainer: Trainer) -> str:
    return f"{trainer.step}/{trainer.steps}" if trainer.steps else str(trainer.step)


class _Bar(_Place):
    """A bar in a terminal."""

    def __init__(self, console: Any):
        super().__init__()
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=BAR),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        self.console = console
        self.bar = Progress(*columns, console=console, refresh_per_second=8)

    def begin(self, trainer: Trainer) -> None:
        self.task = self.bar.add_task("", total=trainer.steps, epoch=trainer.epoch + 1, text="")
        self.bar.start()

    def show(self, trainer: Trainer, epoch: int, parts: Sequence[str]) -> None:
        text = _count(trainer)
        room = self.console.width - len(f"epoch {epoch}") - BAR - AROUND
        for part in parts:  # as much as a line of the terminal has room for
            if len(text) + 2 + len(part) <= room:
                text += f"  {part}"
        self.bar.update(self.task, total=trainer.steps, completed=trainer.step, epoch=epoch, text=text)

    def end(self, trainer: Trainer, parts: Sequence[str]) -> None:
        self.show(trainer, trainer.epoch, parts)
        self.bar.stop()


class _Log(_Place):
    """Lines in a file or a pipe."""

    def __init__(self, file: IO[str]):
        super().__init__()
        self.file = file
        self.told = (0, -1)

    def apart(self, elapsed_s: float) -> float:
        return max(LINE_S, elapsed_s / LINES)

    def begin(self, trainer: Trainer) -> None:
        if trainer.step:
            print(f"from step {_count(trainer)} on", file=self.file, flush=True)

    def show(self, trainer: Trainer, epoch: int, parts: Sequence[str]) -> None:
        took = duration_text(time.monotonic() - self.began)
        self.told = (epoch, trainer.step)
        words = [f"epoch {epoch}", f"step {_count(trainer)}", *parts, took]
        print("  ".join(words), file=self.file, flush=True)

    def end(self, trainer: Trainer, parts: Sequence[str]) -> None:
        if self.told != (trainer.epoch, trainer.step):
            self.show(trainer, trainer.epoch, parts)


class _Notebook(_Place):
    """One output of a notebook's cell that is replaced, in any front end."""

    apart_s = NOTEBOOK_S

    def __init__(self) -> None:
        super().__init__()
        from IPython import display  # type: ignore[import-not-found]

        self.display = display
        self.shown: Any = None

    def begin(self, trainer: Trainer) -> None:
        self.shown = self.display.display(self._line(trainer, trainer.epoch + 1, []), display_id=True)

    def show(self, trainer: Trainer, epoch: int, parts: Sequence[str]) -> None:
        self.shown.update(self._line(trainer, epoch, parts))

    def _line(self, trainer: Trainer, epoch: int, parts: Sequence[str]) -> Any:
        # Without a value the bar moves to and fro: how many steps there will be is not known.
        value = f'value="{trainer.step}" max="{trainer.steps}"' if trainer.steps else ""
        took = duration_text(time.monotonic() - self.began)
        said = escape("  ".join([f"epoch {epoch}", _count(trainer), *parts, took]))
        return self.display.HTML(
            f'<progress {value}></progress> <code style="white-space: pre">{said}</code>'
        )
