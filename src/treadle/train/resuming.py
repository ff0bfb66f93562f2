"""The state of a training run, all that its next step depends on, and how a run takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import treadle as td
from treadle.errors import FormatError, TreadleError
from treadle.train.callback import Callback, inner
from treadle.train.checkpoint_files import Checkpoint
from treadle.train.interruption import INTERRUPTED

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

NEEDED = (
    "step", "epoch", "begun", "finished", "latest", "losses", "rows", "seconds", "data", "validation",
    "random", "callbacks", "totals", "optimizer",
)  # fmt: skip
"""What a checkpoint says of training."""


def training_state(trainer: Trainer, position: Mapping[str, Any]) -> dict[str, Any]:
    """All but the model's variables; `position` is where the data stand."""
    planned = trainer.stopped in (None, INTERRUPTED, trainer._planned_end) or trainer.failed
    return {
        "step": trainer.step,
        "epoch": trainer.epoch,
        "begun": trainer._begun,
        "finished": None if planned else trainer.stopped,
        "latest": trainer.latest,
        "losses": (trainer._losses, trainer._examples),
        "rows": trainer.history.rows,
        "seconds": trainer.history.seconds,
        "data": position,
        "validation": None if trainer._held is None else trainer._held.state(),
        "random": td.random.get_state(),
        "callbacks": [
            {"class": type(inner(callback)).__name__, "state": callback.state()}
            for callback in [*trainer.callbacks, trainer._checkpoints]
            if callback is not None
        ],
        "totals": trainer._step.totals.state(),
        "optimizer": trainer.optimizer.state(),
    }


def restore(trainer: Trainer, found: Checkpoint) -> None:
    """Let a trainer stand where a checkpoint was written.

    Raises:
        FormatError: it is of another model or optimizer; all differences are listed.
        StateError: the data are not those of the run.

    Nothing is changed where it fails.
    """
    state = found.training
    missing = [name for name in NEEDED if name not in state]
    if missing:
        raise FormatError(f"{found.path / 'training.json'} does not say {', '.join(missing)}")
    parts: list[tuple[Any, Any]] = [
        (trainer.model, found.model), (trainer.optimizer, state["optimizer"]), (trainer._data, state["data"])
    ]  # fmt: skip
    if trainer._held is not None and state["validation"] is not None:
        parts.append((trainer._held, state["validation"]))
    before = [part.state() for part, _ in parts]
    try:
        for part, values in parts:
            part.load_state(values)
    except TreadleError as error:
        for (part, _), values in zip(parts, before, strict=True):
            part.load_state(values)
        raise type(error)(f"[fit] {found.path} is of another run: {error.message}") from None
    trainer.step, trainer.epoch = state["step"], state["epoch"]
    trainer._begun = tuple(state["begun"])
    trainer.history.stopped = state["finished"]
    trainer.latest = dict(state["latest"])
    trainer._losses, trainer._examples = state["losses"]
    trainer.history.rows, trainer.history.seconds = state["rows"], state["seconds"]
    trainer._step.continue_at(trainer.step)
    trainer._step.totals.load_state(state["totals"])
    (high, low), drawn = state["random"]
    td.random.set_state(((high, low), drawn))
    _restore_callbacks([*trainer.callbacks, trainer._checkpoints], state["callbacks"])


def _restore_callbacks(callbacks: list[Callback | None], saved: list[Mapping[str, Any]]) -> None:
    """Give each callback the state of the first of its class that is left; what has none begins anew."""
    left = list(saved)
    for callback in callbacks:
        if callback is None:
            continue
        name = type(inner(callback)).__name__
        entry = next((entry for entry in left if entry["class"] == name), None)
        if entry is not None:
            left.remove(entry)
            callback.load_state(entry["state"])
