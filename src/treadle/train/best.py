"""Whether what is measured has become better. Knows nothing of what follows from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.errors import ArgumentError

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

LARGER = {"loss": False, "perplexity": False, "accuracy": True, "top5": True, "auc": True}
"""Whether larger is better, of what goes by its usual name."""


class Best:
    """The best value of a measure so far.

    Args:
        measure: a name in ``trainer.latest``: ``validation/...``, which each evaluation measures, or
            ``training/...``, each epoch.
        larger: whether larger is better; None where its usual name says so.
        threshold: by how much a value must be better than the best.

    Raises:
        ArgumentError: it is no such name, or does not say whether larger is better.
    """

    def __init__(self, measure: str, larger: bool | None = None, threshold: float = 0.0):
        place, _, name = measure.partition("/")
        if place not in ("validation", "training") or not name:
            raise ArgumentError(f"measure={measure!r}: expected 'validation/NAME' or 'training/NAME'")
        if larger is None and name not in LARGER:
            raise ArgumentError(
                f"measure={measure!r}: say with larger_is_better=True or False which is better"
            )
        self.measure = measure
        self.event = "evaluated" if place == "validation" else "epoch_ended"
        """After which event there is a new value."""
        self.larger = LARGER[name] if larger is None else larger
        self.threshold = threshold
        self.value: float | None = None

    def check_validated(self, owner: str, trainer: Trainer) -> None:
        """Raise ArgumentError if it is measured in evaluations and there will be none."""
        if self.event == "evaluated" and not trainer.validates:
            raise ArgumentError(
                f"[{owner}] {self.measure!r} is measured on a validation set: give fit validation=..., or "
                f"choose a measure 'training/NAME'"
            )

    def measured(self, trainer: Trainer) -> float:
        """The value just measured.

        Raises:
            ArgumentError: nothing of that name is measured.
        """
        if self.measure not in trainer.latest:
            raise ArgumentError(
                f"nothing measures {self.measure!r}; there are {', '.join(trainer.latest)}: give the trainer "
                f"that metric, and fit a validation set"
            )
        return trainer.latest[self.measure]

    def improved(self, trainer: Trainer) -> bool:
        """Whether the value just measured is the best so far; NaN never is. Raises as `measured`."""
        value = self.measured(trainer)
        sign = 1 if self.larger else -1
        if math.isnan(value):
            return False
        if self.value is not None and not sign * (value - self.value) > self.threshold:
            return False
        self.value = value
        return True
