"""Where the first NaN or infinity of a run arose: an earlier state is kept in mind, and the steps since then
are made again, each looked at.

Keeping a state is no copy, but of what is stored in another order: the variables' buffers stay, and the next
step writes fresh ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import treadle as td
from treadle.errors import NumericsError, TreadleError
from treadle.nn.module import Module
from treadle.train.step import Step, pair

EVERY = 256
"""As many steps are made again at most."""


class Anchor:
    """The state of training at a step."""

    def __init__(self, step: int, maker: Step, data: Any):
        self.step = step
        self.maker = maker
        self.model, self.optimizer = maker.model.state(), maker.optimizer.state()
        self.data = data.state()

    def find(self, data: Any, last: int) -> tuple[int, NumericsError] | None:
        """The step, up to `last`, in which the first number that is not finite arises, and the error that
        says where; the variables are then as they were before it. None if it does not come again; they are
        then as they were at this step.
        """
        self._go_back()
        data.load_state(self.data)
        step, ended = self.step, False
        with td.check_numerics():
            while step < last:
                try:
                    batch = next(data, None)
                except TreadleError:
                    break  # data that are given once
                if batch is None and ended:
                    break
                ended = batch is None
                if batch is None:
                    continue
                try:
                    self.maker(*pair(batch))
                except NumericsError as error:
                    return step, error
                step += 1
        self._go_back()
        return None

    def _go_back(self) -> None:
        self.maker.model.load_state(self.model)
        self.maker.optimizer.load_state(self.optimizer)
        self.maker.continue_at(self.step)


def not_finite(model: Module) -> list[str]:
    """The names of parameters that hold a NaN or an infinity."""
    return [name for name, w in model.parameters().items() if not np.isfinite(w.numpy()).all()]
