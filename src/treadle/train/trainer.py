"""The training loop's state, as callbacks see it."""

from __future__ import annotations

from pathlib import Path

from treadle.nn.module import Module
from treadle.optim.optimizer import Optimizer


class Trainer:
    """Trains a model."""

    model: Module
    optimizer: Optimizer
    folder: Path | None
    """Where the run keeps its files."""
    step: int
    """Steps made, over all epochs."""
    epoch: int
    """Epochs completed."""
    steps: int | None
    """Steps planned, if that is known."""
    latest: dict[str, float]
    """The last value of everything measured: loss, rate, validation/accuracy ..."""
    seconds: dict[str, float]
    """Where the time went: data, steps, evaluation, compiling, checkpoints, callbacks."""
    stopped: str | None
    """Why training ended; None while it goes on."""

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for data."""
        return self.seconds["data"] / (sum(self.seconds.values()) or 1.0)

    def stop(self, reason: str) -> None:
        """End training after the step that is being made."""
        self.stopped = reason
