"""Training: a loop of compiled steps with callbacks, metrics and checkpoints, on everything below it."""

from treadle.train.callback import Callback, every
from treadle.train.history import History
from treadle.train.metrics import AUC, Accuracy, Confusion, Mean, Metric, Perplexity
from treadle.train.prediction import Prediction
from treadle.train.step import Evaluation, Step
from treadle.train.trainer import Trainer

__all__ = [
    "AUC",
    "Accuracy",
    "Callback",
    "Confusion",
    "Evaluation",
    "History",
    "Mean",
    "Metric",
    "Perplexity",
    "Prediction",
    "Step",
    "Trainer",
    "every",
]
