"""Optimizers: from gradients to the parameters' next values, in every style."""

from treadle.optim.adam import Adam, AdamW
from treadle.optim.adaptive import AdaGrad, RMSProp
from treadle.optim.clipping import clip_by_norm, clip_by_value, global_norm
from treadle.optim.ema import EMA
from treadle.optim.groups import Group
from treadle.optim.loss_scale import LossScale
from treadle.optim.optimizer import Optimizer
from treadle.optim.schedules import Plateau, cosine, linear, one_cycle, steps_down, warm_up
from treadle.optim.sgd import SGD
from treadle.unknown import advising_names

__all__ = [
    "EMA",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Group",
    "LossScale",
    "Optimizer",
    "Plateau",
    "RMSProp",
    "clip_by_norm",
    "clip_by_value",
    "cosine",
    "global_norm",
    "linear",
    "one_cycle",
    "steps_down",
    "warm_up",
]

advising_names(__name__)
