"""Fine-tuning: another last layer on a network that has learned."""

from __future__ import annotations

from typing import Any, TypeVar

from treadle import nn
from treadle.errors import ArgumentError
from treadle.models.classifier import Classifier
from treadle.nn import initial

M = TypeVar("M", bound=nn.Module)


def replace_head(net: M, num_classes: int, *, first: Any = None) -> M:
    """Put a new `Dense` layer in the place of the network's last, for other classes.

    Args:
        net: one of the classifiers of `models`.
        num_classes: how many logits the new layer gives.
        first: first values of its weight; None for `nn.initial.xavier_uniform`.

    Returns:
        The network, changed.

    Raises:
        ArgumentError: the network has no last layer to be replaced.

    >>> import treadle as td
    >>> net = td.models.load("mobilenet_v2", num_classes=100, width=0.25)
    >>> td.models.replace_head(net, 10)(td.placeholder((2, 3, 32, 32))).shape
    (2, 10)
    """
    heads = net.heads() if isinstance(net, Classifier) else {}
    if not heads:
        raise ArgumentError(f"[replace_head] {type(net).__name__} does not say which layer is its last")
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ArgumentError(f"[replace_head] num_classes={num_classes!r}; expected a positive integer")
    first = initial.xavier_uniform if first is None else first
    for path, layer in heads.items():
        _put(net, path, nn.Dense(layer.weight.shape[0], num_classes, first=first, dtype=layer.weight.dtype))
    return net


def _put(net: nn.Module, path: str, layer: nn.Module) -> None:
    """A module at a path of the tree."""
    above, _, name = path.rpartition(".")
    parent: Any = net.modules()[above]
    if isinstance(parent, nn.Sequential):
        parent[int(name)] = layer
    else:
        setattr(parent, name, layer)
    layer.train(parent.training)
