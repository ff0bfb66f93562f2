"""Callbacks that act when what is measured gets no better."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import ArgumentError
from treadle.optim.schedules import Plateau
from treadle.train.best import Best
from treadle.train.callback import Callback
from treadle.train.interruption import INTERRUPTED

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer


class EarlyStopping(Callback):
    """Stops training when a measure has not become better for a while, and gives the model its best values
    back (Prechelt 1998).

    Args:
        measure: a name in ``trainer.latest``.
        patience: how many measurements without improvement are borne.
        threshold: by how much a value must be better than the best.
        larger_is_better: None where the measure's usual name says it (accuracy, loss ...).
        restore: whether the model has its best values when training has ended, also as planned. Of a run that
            was interrupted or failed it keeps those that it had.

    Raises:
        ArgumentError: `patience` is negative, or the measure means nothing.
    """

    def __init__(
        self,
        measure: str = "validation/loss",
        *,
        patience: int = 5,
        threshold: float = 0.0,
        larger_is_better: bool | None = None,
        restore: bool = True,
    ):
        if patience < 0:
            raise ArgumentError(f"[EarlyStopping] patience={patience} is negative")
        self.best = Best(measure, larger_is_better, threshold)
        self.patience, self.restore = patience, restore
        self.bad = 0
        """Measurements since the best one."""
        self.step = 0
        """The step of the best one."""
        self._values: Mapping[str, np.ndarray] = {}

    def begin(self, trainer: Trainer) -> None:
        self.best.check_validated("EarlyStopping", trainer)

    def evaluated(self, trainer: Trainer) -> None:
        if self.best.event == "evaluated":
            self._measured(trainer)

    def epoch_ended(self, trainer: Trainer) -> None:
        if self.best.event == "epoch_ended":
            self._measured(trainer)

    def _measured(self, trainer: Trainer) -> None:
        if self.best.improved(trainer):
            self.bad, self.step = 0, trainer.step
            if self.restore:
                ema = trainer.optimizer.ema
                with nullcontext() if ema is None else ema.applied():
                    self._values = trainer.model.state()
            return
        self.bad += 1
        if self.bad > self.patience:
            trainer.stop(
                f"{self.best.measure} did not get better than {self.best.value:.6g} of step {self.step}"
            )

    def ended(self, trainer: Trainer) -> None:
        if self._values and not trainer.failed and trainer.stopped != INTERRUPTED:
            trainer.model.load_state(self._values)

    def state(self) -> dict[str, Any]:
        return {"best": self.best.value, "bad": self.bad, "step": self.step, "values": dict(self._values)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best.value, self.bad, self.step = state["best"], state["bad"], state["step"]
        self._values = state["values"]


class LowerRate(Callback):
    """Lowers the learning rate when a measure has not become better for a while: `optim.Plateau`, told of it.

    Args:
        plateau: which rate, by how much, after how long; it says whether larger is better.
        measure: a name in ``trainer.latest``.
    """

    def __init__(self, plateau: Plateau, measure: str = "validation/loss"):
        self.plateau = plateau
        self.best = Best(measure, plateau.sign < 0)

    def begin(self, trainer: Trainer) -> None:
        self.best.check_validated("LowerRate", trainer)

    def evaluated(self, trainer: Trainer) -> None:
        if self.best.event == "evaluated":
            self.plateau.measured(self.best.measured(trainer))

    def epoch_ended(self, trainer: Trainer) -> None:
        if self.best.event == "epoch_ended":
            self.plateau.measured(self.best.measured(trainer))

    def state(self) -> dict[str, Any]:
        return dict(self.plateau.state())

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.plateau.load_state(state)
