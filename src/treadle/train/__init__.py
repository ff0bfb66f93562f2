"""Training: a loop of compiled steps with callbacks, metrics and checkpoints, on everything below it."""

from treadle.train.callback import Callback, every
from treadle.train.csv_log import CsvLog, read_log
from treadle.train.curves import Curves, draw_curves
from treadle.train.event_file import EventFile
from treadle.train.history import History
from treadle.train.metrics import AUC, Accuracy, Confusion, Mean, Metric, Perplexity
from treadle.train.prediction import Prediction
from treadle.train.progress import Progress
from treadle.train.step import Evaluation, Step
from treadle.train.tensorboard import TensorBoard
from treadle.train.trainer import Trainer

__all__ = [
    "AUC",
    "Accuracy",
    "Callback",
    "Confusion",
    "CsvLog",
    "Curves",
    "Evaluation",
    "EventFile",
    "History",
    "Mean",
    "Metric",
    "Perplexity",
    "Prediction",
    "Progress",
    "Step",
    "TensorBoard",
    "Trainer",
    "draw_curves",
    "every",
    "read_log",
]
