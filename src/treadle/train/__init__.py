"""Training: a loop of compiled steps with callbacks, metrics and checkpoints, on everything below it."""

from treadle.train.callback import Callback, every

__all__ = ["Callback", "every"]
