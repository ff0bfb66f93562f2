"""Layers, losses and first values: what networks are made of.

A module is a tree of variables and children; calling it builds nodes, so that it works on arrays, on
placeholders and in compiled functions alike.
"""

from treadle.nn import initial
from treadle.nn.containers import Sequential
from treadle.nn.convolution import Conv
from treadle.nn.dense import Dense
from treadle.nn.dropout import Dropout
from treadle.nn.module import Module, Parameter, Statistic
from treadle.nn.normalization import BatchNorm

__all__ = [
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Module",
    "Parameter",
    "Sequential",
    "Statistic",
    "initial",
]
