"""When checkpoints are written, and which are kept. How files are written is not settled here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.errors import ArgumentError, StateError
from treadle.train.best import Best
from treadle.train.callback import Callback, Trigger, every
from treadle.train.checkpoint_files import (
    Checkpoint,
    check_writable,
    read_checkpoint,
    read_index,
    remove_others,
    write_checkpoint,
    write_index,
)

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer


class Checkpoints(Callback):
    """Writes the state of training into the trainer's folder: the last one and the best one stay. A trainer
    with a folder has one of these by itself; give another one for other settings.

    It writes after all other callbacks have heard of a step or an epoch, so that their state is in it.

    Args:
        every: how often; after every epoch if None. The end of training, and what is better than all before,
            are written in any case.
        best: by which measure the best is told, a name in ``trainer.latest``; the validation loss if None,
            where there is one.
        larger_is_better: None where the measure's usual name says it (accuracy, loss ...).
        keep: how many of the last ones stay.

    Raises:
        ArgumentError: `keep` is not positive, or the measure means nothing.
    """

    def __init__(
        self,
        *,
        every: Trigger | None = None,
        best: str | None = None,
        larger_is_better: bool | None = None,
        keep: int = 1,
    ):
        if not isinstance(keep, int) or keep < 1:
            raise ArgumentError(f"[Checkpoints] keep={keep!r} is not a positive integer")
        self.trigger, self.keep = every or _EVERY_EPOCH, keep
        self.best = Best(best or "validation/loss", larger_is_better)
        self._asked = best is not None
        self._improved = False
        self._kept: list[str] = []
        self._best: str | None = None

    # -- what the trainer calls

    def prepare(self, trainer: Trainer, resume: bool) -> Checkpoint | None:
        """Before anything else: see that the folder can be written to, and read the last checkpoint.

        Raises:
            CheckpointError: the folder cannot be written to.
            StateError: another run's checkpoints are there, and it is not to be resumed.
            FormatError: a checkpoint there is broken.
        """
        folder = self._folder(trainer)
        check_writable(folder)
        index = read_index(folder)
        if index is None:
            return None
        if not resume:
            if self._kept:
                return None
            raise StateError(
                f"[fit] {folder} holds checkpoints of a run ({index['last']}): fit(..., resume=True) goes on "
                f"from there; for a new run give another folder"
            )
        found = read_checkpoint(folder)
        self._kept, self._best = list(index["kept"]), index["best"]
        remove_others(folder, {*self._kept, *([self._best] if self._best else [])})
        return found

    def heard(self, trainer: Trainer, event: str) -> None:
        """Note whether the measure that tells the best has become better."""
        if event == self.best.event and (self._asked or self.best.measure in trainer.latest):
            self._improved = self.best.improved(trainer) or self._improved

    def due(self, trainer: Trainer, epoch_ended: bool) -> bool:
        """Whether to write after what was just done."""
        regular = self.trigger.after_epoch if epoch_ended else self.trigger.after_step
        return self._improved or regular(trainer)

    def write(self, trainer: Trainer, model: Mapping[str, Any], training: Mapping[str, Any]) -> Path:
        """Write a checkpoint of this step and make it the last, and the best if it is.

        Raises:
            CheckpointError: it could not be written; the ones before stay.
        """
        folder, name = self._folder(trainer), f"step-{trainer.step:08d}"
        fresh = name not in (*self._kept, self._best)
        # One of the same step is replaced under another name, so that what is listed is whole at any moment.
        name = name if fresh else _next_name(name, {*self._kept, self._best})
        best = name if self._improved else self._best
        kept = [*self._kept, name][-self.keep :]
        write_checkpoint(folder, name, model, training)
        write_index(
            folder,
            {
                "last": name,
                "best": best,
                "kept": kept,
                "measure": self.best.measure,
                "value": self.best.value,
            },
        )
        self._kept, self._best, self._improved = kept, best, False
        remove_others(folder, {*kept, *([best] if best else [])})
        return folder / name

    def last(self, trainer: Trainer) -> Path | None:
        """Where the last checkpoint is."""
        return self._folder(trainer) / self._kept[-1] if self._kept else None

    def state(self) -> dict[str, Any]:
        return {"best": self.best.value}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best.value = state["best"]

    def _folder(self, trainer: Trainer) -> Path:
        if trainer.folder is None:
            raise ArgumentError("[Checkpoints] there is no folder to write to: give Trainer(folder=...)")
        return trainer.folder


_EVERY_EPOCH = every(epochs=1)


def _next_name(name: str, taken: set[str | None]) -> str:
    """The name of another checkpoint of the same step."""
    number = 1
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"
