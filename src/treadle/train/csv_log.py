"""What was measured in training as a CSV file: a row a step that something was measured at."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from treadle.errors import ArgumentError, FormatError
from treadle.train.callback import Callback
from treadle.train.naming import naming

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

NAME = "log.csv"
TRAINING, VALIDATION = "training/", "validation/"
"""In front of the names of what was measured over an epoch, and in an evaluation."""
FIRST = ("step", "epoch", "seconds")
Row = dict[str, float]


def step_values(latest: Mapping[str, float]) -> Row:
    """Of ``trainer.latest``, what belongs to the step that was made last."""
    return {name: latest[name] for name in ("loss", "rate") if name in latest}


def validation_values(latest: Mapping[str, float]) -> Row:
    """Of ``trainer.latest``, what the last evaluation measured."""
    return {name: value for name, value in latest.items() if name.startswith(VALIDATION)}


def epoch_values(latest: Mapping[str, float]) -> Row:
    """Of ``trainer.latest``, what was measured over the epoch that ended, and the rate at its end."""
    return {name: value for name, value in latest.items() if name == "rate" or name.startswith(TRAINING)}


class CsvLog(Callback):
    """Writes a CSV file (RFC 4180): for each epoch, and for each evaluation within one, a row of what was
    measured; with `steps`, also of the loss at every so many steps.

    Each row is in the file when the next step begins. Names that appear later become new columns. A run that
    is resumed writes the rows after its checkpoint again, a new one the whole file.

    Args:
        path: None for ``log.csv`` in the trainer's folder.
        steps: None for no rows within epochs.

    Raises:
        ArgumentError: there is neither a path nor a folder.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, steps: int | None = None):
        if steps is not None and steps < 1:
            raise ArgumentError(f"[CsvLog] steps={steps} is not positive")
        self.path = None if path is None else Path(path)
        self.steps = steps
        self._columns: list[str] = []
        self._file: IO[str] | None = None
        self._held: Row = {}

    def begin(self, trainer: Trainer) -> None:
        path = where(self.path, trainer, NAME, "CsvLog")
        rows = read_log(path) if trainer.step and path.exists() else []
        rows = [row for row in rows if row.get("step", 0) <= trainer.step]
        if not trainer.step or any(row.get("step") == self._held.get("step") for row in rows):
            self._held = {}
        self._start(path, rows)

    def state(self) -> dict[str, Any]:
        return {"held": dict(self._held)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._held = dict(state["held"])

    def _start(self, path: Path, rows: Sequence[Row]) -> None:
        """Write the file anew, whole or not at all, and go on at its end."""
        self._columns = columns_of([*rows, dict.fromkeys((*FIRST, *self._columns), 0.0)])
        if self._file is not None:
            self._file.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.draft")
        with naming(draft):
            draft.write_text(log_text(self._columns, rows), encoding="utf-8")
        os.replace(draft, path)
        self._file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115  closed by ended
        self._path = path

    def stepped(self, trainer: Trainer) -> None:
        self._flush(unless=trainer.step)
        if self.steps is not None and trainer.step % self.steps == 0:
            self._hold(trainer, step_values(trainer.latest))

    def evaluated(self, trainer: Trainer) -> None:
        self._hold(trainer, validation_values(trainer.latest))

    def epoch_ended(self, trainer: Trainer) -> None:
        self._hold(trainer, epoch_values(trainer.latest))
        self._flush()

    def ended(self, trainer: Trainer) -> None:
        self._flush()
        if self._file is not None:
            with naming(self._path):
                self._file.close()
            self._file = None

    def _hold(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        """Put values into the row of the last step, which goes into the file when the next one is made."""
        seconds = round(sum(trainer.seconds.values()), 3)
        self._held |= {"step": trainer.step, "epoch": trainer.epoch, "seconds": seconds, **values}

    def _flush(self, unless: int | None = None) -> None:
        row = self._held
        if not row or self._file is None or row["step"] == unless:
            return
        self._held = {}
        if not set(self._columns).issuperset(row):
            self._columns = columns_of([dict.fromkeys(self._columns, 0.0), row])
            self._file.flush()
            self._start(self._path, read_log(self._path))
        with naming(self._path):
            self._file.write(_line(self._columns, row))
            self._file.flush()


def where(path: Path | None, trainer: Trainer, name: str, callback: str) -> Path:
    """A callback's file: the one given, or that of a name in the trainer's folder."""
    if path is not None:
        return path
    if trainer.folder is None:
        raise ArgumentError(
            f"[{callback}] there is no place for {name}: give {callback} a path or the Trainer a folder"
        )
    return Path(trainer.folder) / name


def columns_of(rows: Iterable[Mapping[str, float]]) -> list[str]:
    """All names in rows, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def log_text(columns: Sequence[str], rows: Iterable[Mapping[str, float]]) -> str:
    """A whole file."""
    return "".join([_line(columns, {name: name for name in columns}), *(_line(columns, row) for row in rows)])


def _line(columns: Sequence[str], row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_shown(row.get(name, "")) for name in columns])
    return line.getvalue()


def _shown(value: Any) -> str:
    """A number as text that reads back as the same number."""
    whole = isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return str(int(value)) if whole else str(value)


def read_log(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a file that `CsvLog` wrote, without what is empty and without a last line that was cut off.

    Raises:
        FormatError: it is no such file; it says which line.
        FileNotFoundError: it is not there.

    >>> from pathlib import Path
    >>> from treadle import train
    >>> _ = Path("log.csv").write_text("step,loss,rate\\n1,0.5,\\n2,0.25,0.1\\n")
    >>> train.read_log("log.csv")
    [{'step': 1.0, 'loss': 0.5}, {'step': 2.0, 'loss': 0.25, 'rate': 0.1}]
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is no CSV file in UTF-8: {error}") from None
    if not lines or "step" not in lines[0]:
        raise FormatError(f"{path} is no log of training: its first line does not name a column `step`")
    header = lines[0]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            rows.append({name: float(value) for name, value in zip(header, line, strict=True) if value})
        except ValueError as error:
            raise FormatError(f"{path}, line {number}: {error}") from None
    return rows
