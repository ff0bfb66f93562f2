"""A stand-in for the trainer: what callbacks read, moved on by hand."""

from __future__ import annotations

from types import SimpleNamespace


class Run(SimpleNamespace):
    """Tells callbacks of steps and epochs as a trainer does."""

    def __init__(self, *callbacks, folder=None, step=0, steps=8, epoch=0, model=None):
        super().__init__(
            callbacks=callbacks, folder=folder, step=step, steps=steps, epoch=epoch, model=model, latest={},
            seconds={"data": 0.25, "steps": 0.5}, waiting=0.0, stopped=None,
        )  # fmt: skip

    def tell(self, what):
        for callback in self.callbacks:
            getattr(callback, what)(self)

    def begin(self):
        self.tell("begin")
        return self

    def steps_on(self, count, rate=0.1):
        for _ in range(count):
            self.step += 1
            self.seconds["steps"] += 0.001
            self.latest |= {"loss": 1 / self.step, "rate": rate}
            self.tell("stepped")

    def evaluate(self, **values):
        self.latest |= {f"validation/{name}": value for name, value in values.items()}
        self.tell("evaluated")

    def end_epoch(self, validation=None, **values):
        self.epoch += 1
        self.latest |= {f"training/{name}": value for name, value in values.items()}
        if validation is not None:
            self.evaluate(**validation)
        self.tell("epoch_ended")

    def end(self):
        self.stopped = "done"
        self.tell("ended")
