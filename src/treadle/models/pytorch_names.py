"""PyTorch's values for a network of ours: its names, and its order of dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import numpy as np

from treadle import nn
from treadle.models.classifier import Classifier
from treadle.nn.values import assign_all

M = TypeVar("M", bound=nn.Module)
NOT_KEPT = "num_batches_tracked"
"""What PyTorch's batch-norm counts, and nothing uses."""

TRANSPOSED = (nn.Dense, nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)
"""Layers whose weights PyTorch keeps the other way round."""


def from_pytorch(net: nn.Module, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """PyTorch's values by our names: matrices of dense and recurrent layers are transposed, and what nothing
    uses is left out.
    """
    named = net.torch_name if isinstance(net, Classifier) else str
    ours = {named(path): path for path in net.variables()}
    transposed = {
        f"{path}.{name}".removeprefix(".")
        for path, layer in net.modules().items()
        if isinstance(layer, TRANSPOSED)
        for name in vars(layer)
        if name.startswith("weight")
    }
    unused = net.unused if isinstance(net, Classifier) else ()
    found = {}
    for name, value in values.items():
        path = ours.get(name, name)
        if name.rpartition(".")[2] != NOT_KEPT and not any(fnmatchcase(name, p) for p in unused):
            found[path] = np.transpose(value) if path in transposed else value
    return found


def load_pytorch(net: M, values: Mapping[str, Any], *, strict: bool = True) -> M:
    """Assign values that have PyTorch's names and order of dimensions; all of them or none.

    Args:
        net: a network; those of `models` know torchvision's names.
        values: arrays by name, as `read_weights` gives them.
        strict: whether every variable must have a value, and every value a variable.

    Returns:
        The network.

    Raises:
        FormatError: values are missing, unexpected or of another shape: the message lists all of them, and
            nothing was changed.

    >>> import numpy as np
    >>> import treadle as td
    >>> layer = td.nn.Dense(3, 2)
    >>> values = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    >>> td.models.load_pytorch(layer, values).weight.shape
    (3, 2)
    """
    assign_all(type(net).__name__, net.variables(), from_pytorch(net, values), strict)
    return net
