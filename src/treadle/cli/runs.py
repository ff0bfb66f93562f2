"""What the commands about runs share: which run is meant, and what is to be otherwise in its recipe."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any


def add_overrides(parser: ArgumentParser) -> None:
    """The option --set."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="what is to be otherwise in the recipe: --set optimizer.rate=0.001; may be repeated",
    )  # fmt: skip


def add_run(parser: ArgumentParser) -> None:
    """Which run, and which of its checkpoints."""
    parser.add_argument("run", help="a run's folder, or the name of a recipe: its last run")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="which of its checkpoints (best)"
    )
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, or reference for NumPy (cpu)")
    add_overrides(parser)


def run_of(name: str | Path) -> Path:
    """The folder of a run: a folder itself, or that of the last run of a recipe.

    Raises:
        FileNotFoundError: there is none.
    """
    from treadle.train.recipe.places import last_run
    from treadle.train.recipe.run import FILE

    path = Path(name)
    if (path / FILE).exists():
        return path
    found = None if path.is_dir() else last_run(path.stem)
    if found is None:
        what = f"no run in {path}" if path.is_dir() else f"no run of {path.stem!r} yet"
        raise FileNotFoundError(f"there is {what}: type `treadle train {path}` first")
    return found


def read(name: str, which: str, overrides: list[str]) -> tuple[Any, Any]:
    """The run that a command is given, and its checkpoint."""
    from treadle.train.recipe.run import read_run

    return read_run(run_of(name), which, overrides)
