"""Training as TensorBoard shows it: scalars, histograms of parameters, pictures, the graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import ArgumentError
from treadle.train.callback import Callback
from treadle.train.csv_log import epoch_values, step_values, validation_values, where
from treadle.train.event_file import EventFile

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer

FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Writes events that ``tensorboard --logdir FOLDER`` shows. It needs no further package.

    In a run that is resumed TensorBoard forgets what an earlier one wrote after the checkpoint.

    Args:
        folder: None for ``tensorboard`` in the trainer's folder.
        steps: the loss and rate of every so many steps are written; what is measured over an epoch, at its
            end.
        histograms: of all parameters at the end of every epoch.
        images: functions of the trainer by name, which give a picture at the end of every epoch: ``[height,
            width]`` or ``[height, width, channels]``, uint8, or floating from 0 to 1.
        graph: whatever `td.show` takes: drawn once, grouped by modules.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        steps: int = 10,
        histograms: bool = True,
        images: Mapping[str, Callable[[Trainer], Any]] | None = None,
        graph: Any = None,
    ):
        if steps < 1:
            raise ArgumentError(f"[TensorBoard] steps={steps} is not positive")
        self.folder = None if folder is None else Path(folder)
        self.steps, self.histograms, self.graph = steps, histograms, graph
        self.images = dict(images or {})
        self._events: EventFile | None = None

    def begin(self, trainer: Trainer) -> None:
        folder = where(self.folder, trainer, FOLDER, "TensorBoard")
        self._events = EventFile(folder, restart=trainer.step + 1 if trainer.step else None)
        if self.graph is not None and not trainer.step:
            self._events.graph(self.graph)

    def stepped(self, trainer: Trainer) -> None:
        if self._events is not None and trainer.step % self.steps == 0:
            self._events.scalars(trainer.step, step_values(trainer.latest))

    def evaluated(self, trainer: Trainer) -> None:
        if self._events is not None:
            self._events.scalars(trainer.step, validation_values(trainer.latest))

    def epoch_ended(self, trainer: Trainer) -> None:
        if self._events is None:
            return
        self._events.scalars(trainer.step, epoch_values(trainer.latest))
        if self.histograms:
            for path, parameter in trainer.model.parameters().items():
                self._events.histogram(trainer.step, path.replace(".", "/"), parameter.numpy())
        for name, function in self.images.items():
            self._events.image(trainer.step, name, np.asarray(function(trainer)))

    def ended(self, trainer: Trainer) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
