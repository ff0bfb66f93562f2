"""A checkpoint on the disk: arrays as safetensors, the rest as JSON, written whole or not at all. Knows
nothing of training.

A checkpoint is a folder ``step-N`` of three files: ``model.safetensors``, the model's variables under their
names; ``training.safetensors``, all other arrays; ``training.json``, the rest, in which ``{"array": name}``
stands for an array. All three say one random id. Beside them ``checkpoints.json`` says which is the last and
which the best. A folder is written under another name, brought to the disk and then renamed, after it
``checkpoints.json`` in the same way: whenever the machine stops, what ``checkpoints.json`` names is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from treadle import dtypes
from treadle.errors import CheckpointError, FormatError
from treadle.graph.node import Type
from treadle.graphfile.container import Container
from treadle.graphfile.container import write as write_tensors

KIND = "treadle checkpoint 1"
INDEX = "checkpoints.json"
DRAFT = ".draft"
NAME = re.compile(r"step-\d{8,}(-\d+)?")


class Checkpoint(NamedTuple):
    """What was read of a checkpoint."""

    path: Path
    model: dict[str, np.ndarray]
    """The model's variables by name, for `load_state`."""
    training: dict[str, Any]
    """All else: step, epoch, what was measured, the optimizer's state."""


def write_checkpoint(
    folder: str | Path, name: str, model: Mapping[str, np.ndarray], training: Mapping[str, Any]
) -> None:
    """Write a checkpoint, or nothing.

    Args:
        folder: where; it is made.
        name: of the checkpoint's own folder in it; what has that name is replaced.
        model: a module's `state()`.
        training: all else: numbers, text, arrays, lists and dicts of them.

    Raises:
        CheckpointError: it could not be written: the disk is full, the folder cannot be written to.

    >>> from treadle import nn, train
    >>> net = nn.Dense(2, 3)
    >>> train.write_checkpoint("run", "first", net.state(), {"step": 0})
    >>> train.read_checkpoint("run/first").training["step"]
    0
    """
    folder = Path(folder)
    draft = folder / (name + DRAFT)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        arrays: dict[str, np.ndarray] = {}
        said = {"kind": KIND, "id": os.urandom(8).hex()}
        text = json.dumps({**said, **_without_arrays(training, "", arrays)}, indent=1)
        for file, values in (("model", model), ("training", arrays)):
            write_tensors(draft / f"{file}.safetensors", values, {**said, **_complex(values)})
        (draft / "training.json").write_text(text, encoding="utf-8")
        for file in draft.iterdir():
            to_disk(file)
        to_disk(draft)
        shutil.rmtree(folder / name, ignore_errors=True)
        os.rename(draft, folder / name)
        to_disk(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(f"{folder / name} could not be written: {error}") from error


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Say which checkpoints there are.

    Raises:
        CheckpointError: it could not be written.
    """
    draft = folder / (INDEX + DRAFT)
    try:
        draft.write_text(json.dumps({"kind": KIND, **index}, indent=1), encoding="utf-8")
        to_disk(draft)
        os.replace(draft, folder / INDEX)
        to_disk(folder)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CheckpointError(f"{folder / INDEX} could not be written: {error}") from error


def remove_others(folder: Path, kept: set[str]) -> None:
    """Remove the checkpoints that are not to be kept, and what a writer that was killed has left."""
    for path in folder.glob("step-*"):
        if path.name not in kept and NAME.fullmatch(path.name.removesuffix(DRAFT)):
            shutil.rmtree(path, ignore_errors=True)
    (folder / (INDEX + DRAFT)).unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Make a folder, and see that files can be written there.

    Raises:
        CheckpointError: they cannot.
    """
    trial = folder / ("trial" + DRAFT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"x")
        to_disk(trial)
        trial.unlink()
    except OSError as error:
        raise CheckpointError(
            f"checkpoints cannot be written to {folder}: {error}; give a folder that can be written to"
        ) from error


def read_index(folder: Path) -> dict[str, Any] | None:
    """What `write_index` wrote, or would have written if it had not been killed after the first checkpoint;
    None if there are no checkpoints.

    Raises:
        FormatError: the file is something else.
    """
    path = folder / INDEX
    if not path.exists():
        whole = [file.parent.name for file in folder.glob("step-*/training.json")]
        names = sorted(name for name in whole if NAME.fullmatch(name))
        return {"last": names[-1], "best": names[-1], "kept": names} if names else None
    found = _read_json(path)
    if not isinstance(found.get("last"), str):
        raise FormatError(f"{path} names no last checkpoint: it was not written by training")
    return found


def read_checkpoint(folder: str | Path, which: str = "last") -> Checkpoint:
    """Read a checkpoint.

    Args:
        folder: a run's folder, or that of one checkpoint.
        which: of a run's folder, "last" or "best".

    Raises:
        FileNotFoundError: there is none.
        FormatError: a file of it is cut off, or something else; the message names it.

    Its `model` is for ``net.load_state``.
    """
    place = Path(folder)
    if not (place / "training.json").exists():
        index = read_index(place)
        name = None if index is None else index.get(which)
        if not name:
            raise FileNotFoundError(f"there is no {which} checkpoint in {place}")
        place = place / name
    text = _read_json(place / "training.json")
    model, arrays = (
        _read_tensors(place / f"{file}.safetensors", text.get("id")) for file in ("model", "training")
    )
    return Checkpoint(place, model, _with_arrays(text, arrays, place))


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(f"{path} is not there: the checkpoint is not whole") from None
    except ValueError as error:
        raise FormatError(f"{path} is no whole JSON file: {error}") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise FormatError(f"{path} is no file of a checkpoint: it does not say {KIND!r}")
    return found


def _read_tensors(path: Path, id: str | None) -> dict[str, np.ndarray]:
    try:
        file = open(path, "rb")  # noqa: SIM115  closed below
    except FileNotFoundError:
        raise FormatError(f"{path} is not there: the checkpoint is not whole") from None
    with file:
        container = Container(path, file)
        if container.metadata.get("kind") != KIND:
            container.fail(0, f"its metadata do not say {KIND!r}: it is no file of a checkpoint")
        if container.metadata.get("id") != id:
            container.fail(0, "it is of another checkpoint than training.json beside it")
        names = json.loads(container.metadata.get("complex", "{}"))
        types = {name: entry.type for name, entry in container.entries.items()}
        for name, dtype in names.items():
            types[name] = Type(types[name].shape[:-1], getattr(dtypes, dtype))
        return {name: container.read(name, type) for name, type in types.items()}


def _complex(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata that say which tensors, pairs of real numbers, are complex."""
    found = {name: str(array.dtype) for name, array in arrays.items() if array.dtype.kind == "c"}
    return {"complex": json.dumps(found)} if found else {}


def _without_arrays(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Nested lists and dicts whose arrays are put into `arrays`, under their paths."""
    if isinstance(value, Mapping):
        return {
            str(k): _without_arrays(v, f"{path}.{k}" if path else str(k), arrays) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_arrays(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, np.ndarray):
        while path in arrays:  # a key that has a dot
            path += "'"
        arrays[path] = value
        return {"array": path}
    return value


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray], folder: Path) -> Any:
    if isinstance(value, list):
        return [_with_arrays(item, arrays, folder) for item in value]
    if isinstance(value, dict):
        if set(value) == {"array"} and isinstance(value["array"], str):
            if value["array"] not in arrays:
                raise FormatError(
                    f"{folder / 'training.safetensors'} has no array {value['array']!r}, which training.json "
                    f"names"
                )
            return arrays[value["array"]]
        return {key: _with_arrays(item, arrays, folder) for key, item in value.items()}
    return value
