"""`treadle curves`: the curves of a run, also of one that is still going on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from treadle.cli.runs import run_of


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run", help="a run's folder, a log.csv, or the name of a recipe: its last run")
    parser.add_argument(
        "--out", type=Path, help="the file to write, ending in .html or .png (curves.html of the run)"
    )


def run(options: Namespace) -> int:
    """Draw, and say where."""
    from treadle.train import draw_curves

    given = Path(options.run)
    log = given if given.suffix == ".csv" else run_of(options.run) / "log.csv"
    if not log.exists():
        raise FileNotFoundError(f"there is no {log}")
    print(f"drawn: {draw_curves(log, options.out or log.with_name('curves.html'))}")
    return 0
