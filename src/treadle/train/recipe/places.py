"""Where runs are kept that were given no folder: numbered folders in the user's place for data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from treadle.train.checkpoint_files import INDEX


def data_folder() -> Path:
    """The user's place for data: the platform's, or ``TREADLE_DATA_DIR``."""
    chosen = os.environ.get("TREADLE_DATA_DIR")
    if chosen:
        return Path(chosen)
    places = {
        "darwin": ("", "~/Library/Application Support"),
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
    }
    variable, fallback = places.get(sys.platform, ("XDG_DATA_HOME", "~/.local/share"))
    return Path(os.environ.get(variable) or os.path.expanduser(fallback)) / "treadle"


def _numbered(name: str) -> dict[int, Path]:
    """The runs of a name by number."""
    above = data_folder() / "runs" / name
    found = [path for path in above.iterdir() if path.name.isdecimal()] if above.is_dir() else []
    return {int(path.name): path for path in found}


def new_run(name: str) -> Path:
    """The folder of the next run of a name; it is made."""
    number = max(_numbered(name), default=0) + 1
    while True:
        folder = data_folder() / "runs" / name / str(number)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # by another process, meanwhile
            number += 1
        else:
            return folder


def last_run(name: str) -> Path | None:
    """The folder of the last run of a name that has a checkpoint."""
    runs = _numbered(name)
    return next(
        (runs[number] for number in sorted(runs, reverse=True) if (runs[number] / INDEX).exists()), None
    )
