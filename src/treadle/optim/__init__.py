"""Optimizers: from gradients to the parameters' next values, in every style."""

from treadle.optim.adam import Adam, AdamW
from treadle.optim.optimizer import Group, Optimizer
from treadle.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Group", "Optimizer"]
