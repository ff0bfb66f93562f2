"""Training: a loop of compiled steps with callbacks, metrics and checkpoints, on everything below it."""

from treadle.train.callback import Callback, every
from treadle.train.checkpoint_files import Checkpoint, read_checkpoint, write_checkpoint
from treadle.train.checkpoints import Checkpoints
from treadle.train.csv_log import CsvLog, read_log
from treadle.train.curves import Curves, draw_curves
from treadle.train.early_stopping import EarlyStopping, LowerRate
from treadle.train.event_file import EventFile
from treadle.train.history import History
from treadle.train.metrics import AUC, Accuracy, Confusion, Mean, Metric, Perplexity
from treadle.train.prediction import Prediction
from treadle.train.progress import Progress
from treadle.train.recipe import Recipe, Run, make_run, read_recipe, read_run
from treadle.train.step import Evaluation, Step
from treadle.train.tensorboard import TensorBoard
from treadle.train.trainer import Trainer

__all__ = [
    "AUC",
    "Accuracy",
    "Callback",
    "Checkpoint",
    "Checkpoints",
    "Confusion",
    "CsvLog",
    "Curves",
    "EarlyStopping",
    "Evaluation",
    "EventFile",
    "History",
    "LowerRate",
    "Mean",
    "Metric",
    "Perplexity",
    "Prediction",
    "Progress",
    "Recipe",
    "Run",
    "Step",
    "TensorBoard",
    "Trainer",
    "draw_curves",
    "every",
    "make_run",
    "read_checkpoint",
    "read_log",
    "read_recipe",
    "read_run",
    "write_checkpoint",
]
