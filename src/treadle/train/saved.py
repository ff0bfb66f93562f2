"""Where a trained network is kept: one safetensors file, written whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import treadle as td
from treadle.errors import FormatError
from treadle.train.digits import Parameters, initialize

KIND = "treadle digits 1"
TRAIN = "`treadle train digits`"


def default_path() -> Path:
    """The user's place for data: `digits.safetensors` in the platform's folder, or in `TREADLE_DATA_DIR`."""
    chosen = os.environ.get("TREADLE_DATA_DIR")
    if chosen:
        return Path(chosen) / "digits.safetensors"
    places = {
        "darwin": ("", "~/Library/Application Support"),
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
    }
    variable, fallback = places.get(sys.platform, ("XDG_DATA_HOME", "~/.local/share"))
    return Path(os.environ.get(variable) or os.path.expanduser(fallback)) / "treadle" / "digits.safetensors"


def save(parameters: Parameters, path: Path, notes: dict[str, str]) -> None:
    """Write parameters, with notes of what they are. Raises OSError where `path` cannot be written."""
    from safetensors.numpy import save as serialized

    arrays = {name: variable.numpy() for name, variable in parameters.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(serialized(arrays, metadata={"kind": KIND, **notes}))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> Parameters:
    """Read parameters back.

    Raises FileNotFoundError if nothing was saved there, FormatError if the file holds something else; both
    say what to do.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no trained network at {path} yet: type {TRAIN} first")
    parameters = initialize(seed=0)
    try:
        with safe_open(path, framework="np") as file:
            kind = (file.metadata() or {}).get("kind")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except SafetensorError as error:
        raise FormatError(
            f"{path} is not a whole safetensors file ({error}): make it anew with {TRAIN}"
        ) from None
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    wanted = {name: (variable.shape, str(variable.dtype)) for name, variable in parameters.items()}
    if kind != KIND or found != wanted:
        raise FormatError(f"{path} does not hold the network for the digits: make it anew with {TRAIN}")
    for name, variable in parameters.items():
        variable.assign(td.asarray(arrays[name]))
    td.evaluate()
    return parameters
