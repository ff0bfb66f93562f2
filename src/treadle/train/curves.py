"""Curves of what was measured in training, drawn from the log: one HTML page, or a PNG file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from treadle.errors import ArgumentError, DataError
from treadle.train.callback import Callback
from treadle.train.csv_log import FIRST, NAME, TRAINING, VALIDATION, read_log, where

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

PAGE = "curves.html"
KINDS = {"": "each step", TRAINING: "training", VALIDATION: "validation"}
"""By how a name begins: what its curve is called. They are drawn in this order."""


class Curve(NamedTuple):
    """A line of points (step, value)."""

    kind: str
    points: list[tuple[float, float]]


@dataclass
class Panel:
    """The curves of one measurement."""

    name: str
    curves: list[Curve] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """All finite values."""
        return [y for curve in self.curves for _, y in curve.points]


class Curves(Callback):
    """Draws, when training ends, what `CsvLog` wrote.

    Args:
        path: None for ``curves.html`` in the trainer's folder; what ends in .png is drawn by Matplotlib.
        log: the file that `CsvLog` writes; None for ``log.csv`` in the trainer's folder.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, log: str | os.PathLike[str] | None = None
    ):
        self.path = None if path is None else Path(path)
        self.log = None if log is None else Path(log)
        if self.path is not None:
            _writer(self.path)

    def begin(self, trainer: Trainer) -> None:
        where(self.path, trainer, PAGE, "Curves")
        where(self.log, trainer, NAME, "Curves")

    def ended(self, trainer: Trainer) -> None:
        log = where(self.log, trainer, NAME, "Curves")
        # A run that failed before it measured anything has nothing to draw.
        if log.exists() and panels_of(rows := read_log(log)):
            draw_curves(rows, where(self.path, trainer, PAGE, "Curves"))


def draw_curves(
    log: str | os.PathLike[str] | Iterable[Mapping[str, float]], path: str | os.PathLike[str]
) -> Path:
    """Draw curves over the steps: a panel for each measurement, with training and validation in it.

    Args:
        log: a file that `CsvLog` wrote, or rows like its: dicts of numbers with "step".
        path: ends in .html, one page that needs nothing else, or in .png, which needs Matplotlib.

    Returns:
        The path.

    Raises:
        ArgumentError: path ends in something else, or nothing was measured.
        DataError: Matplotlib is not there.

    >>> from treadle import train
    >>> rows = [{"step": i, "loss": 1 / i, "validation/loss": 1.5 / i} for i in range(1, 5)]
    >>> train.draw_curves(rows, "curves.html").name
    'curves.html'
    """
    path = Path(path)
    write = _writer(path)
    rows = read_log(log) if isinstance(log, str | os.PathLike) else list(log)
    panels = panels_of(rows)
    if not panels:
        raise ArgumentError(
            f"[draw_curves] nothing was measured in {len(rows)} rows: there is nothing to draw"
        )
    write(panels, path)
    return path


def panels_of(rows: Sequence[Mapping[str, float]]) -> list[Panel]:
    """What to draw of rows: names that differ in their kind alone share a panel. Values that are not finite
    are left out.
    """
    panels: dict[str, Panel] = {}
    names = dict.fromkeys(name for row in rows for name in row if name not in FIRST)
    for start, kind in KINDS.items():
        for name in names:
            base = name.removeprefix(start)
            if start != next(s for s in (TRAINING, VALIDATION, "") if name.startswith(s)):
                continue
            points = [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
            if points:
                panels.setdefault(base, Panel(base)).curves.append(Curve(kind, points))
    return sorted(panels.values(), key=lambda panel: panel.name != "loss")


def _write_page(panels: Sequence[Panel], path: Path) -> None:
    from treadle.train.curves_page import page

    path.write_text(page(panels, path.resolve().parent.name or "training"), encoding="utf-8")


def _write_png(panels: Sequence[Panel], path: Path) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # type: ignore[import-not-found]
        from matplotlib.figure import Figure  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        raise DataError(
            f"drawing {path.name} needs the package matplotlib, which is not installed: "
            "pip install 'treadle[train]'; a path that ends in .html needs nothing"
        ) from None
    from treadle.train.curves_page import COLOURS, is_logarithmic

    figure = Figure(figsize=(6, 3.2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        for curve in panel.curves:
            x, y = zip(*curve.points)
            marker = "o" if len(x) == 1 else ""
            axes.plot(x, y, marker=marker, color=COLOURS[curve.kind][0], label=curve.kind, linewidth=1.5)
        axes.set(title=panel.name, xlabel="step", yscale="log" if is_logarithmic(panel) else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


WRITERS = {".html": _write_page, ".png": _write_png}


def _writer(path: Path) -> Callable[[Sequence[Panel], Path], None]:
    if path.suffix.lower() not in WRITERS:
        raise ArgumentError(
            f"[curves] {str(path)!r} ends in {path.suffix!r}; curves are {', '.join(WRITERS)}"
        )
    return WRITERS[path.suffix.lower()]
