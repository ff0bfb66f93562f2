"""Layers, losses and first values: what networks are made of.

A module is a tree of variables and children; calling it builds nodes, so that it works on arrays, on
placeholders and in compiled functions alike.
"""

from treadle.nn import initial
from treadle.nn.activations import (
    PReLU,
    elu,
    glu,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    mish,
    relu6,
    selu,
    silu,
    softplus,
)
from treadle.nn.attention import MultiHeadAttention, attention
from treadle.nn.augment import ColorJitter, Cutout, RandomFlip, RandomShift, Views, standard_views
from treadle.nn.containers import Residual, Sequential
from treadle.nn.convolution import Conv
from treadle.nn.dense import Dense
from treadle.nn.dropout import DropConnect, Dropout, GaussianNoise, StochasticDepth
from treadle.nn.embedding import Embedding
from treadle.nn.initial import without_values
from treadle.nn.losses import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    kl_divergence,
    squared_error,
    triplet,
)
from treadle.nn.mixed import mixed
from treadle.nn.mixup import Mixup
from treadle.nn.module import Module, Parameter, Statistic
from treadle.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm
from treadle.nn.penalties import MaxNorm, l1, l2, max_norm
from treadle.nn.pooling import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool,
)
from treadle.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from treadle.nn.summary import Summary, summary
from treadle.nn.transposed import ConvTranspose
from treadle.unknown import advising_names

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "AveragePool",
    "BatchNorm",
    "ColorJitter",
    "Conv",
    "ConvTranspose",
    "Cutout",
    "Dense",
    "DropConnect",
    "Dropout",
    "Embedding",
    "GRUCell",
    "GaussianNoise",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNorm",
    "InstanceNorm",
    "LSTMCell",
    "LayerNorm",
    "LocalResponseNorm",
    "MaxNorm",
    "MaxPool",
    "Mixup",
    "Module",
    "MultiHeadAttention",
    "PReLU",
    "Parameter",
    "RNNCell",
    "RandomFlip",
    "RandomShift",
    "Residual",
    "Sequential",
    "Statistic",
    "StochasticDepth",
    "Summary",
    "Views",
    "absolute_error",
    "attention",
    "binary_cross_entropy",
    "cross_entropy",
    "elu",
    "glu",
    "hard_sigmoid",
    "hard_swish",
    "hinge",
    "huber",
    "initial",
    "kl_divergence",
    "l1",
    "l2",
    "leaky_relu",
    "max_norm",
    "mish",
    "mixed",
    "relu6",
    "selu",
    "silu",
    "softplus",
    "squared_error",
    "standard_views",
    "summary",
    "triplet",
    "without_values",
]

advising_names(__name__)
