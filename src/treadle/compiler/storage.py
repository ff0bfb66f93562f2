"""In which order of dimensions variables had better be stored, seen from a graph that updates them.

Kernels say in which order they read the weights of a convolution and write their gradient. A variable that
is such a weight is stored so, and so is what is updated with it element by element: an optimizer's state, a
running mean. Then nothing is turned around between a gradient and the next step's weights. Others stay as
they are: what is updated in a branch or a loop, and what no kernel asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from treadle.graph.node import Node

Order = tuple[int, ...]
Key = TypeVar("Key", bound=Hashable)

GRADIENT = "conv_weight_gradient"


def storage_orders(
    order: Sequence[Node],
    updates: Mapping[Key, Node],
    read: Callable[[Node], Key | None],
    asked: Callable[[Node], Order | None],
    chosen: Callable[[Key], Order | None],
) -> dict[Key, Order]:
    """The orders of variables that have none yet, by their keys.

    Args:
        order: the graph, inputs first.
        updates: the next value of each variable that it updates.
        read: the variable that a node reads; None for other nodes.
        asked: the order in which a device had better have the gradient by weights that a node is.
        chosen: the order that a variable has; None if none was chosen.
    """
    weights = {
        read(_source(node.inputs[1])) for node in order if node.op.name in ("conv", "conv_input_gradient")
    }
    found: dict[Key, Order] = {}
    near: dict[Key, list[Key]] = {}
    """Variables whose next values are made of each other's values, element by element."""
    for key, value in updates.items():
        gradients, variables = _below(value, read)
        together = [key, *[other for other in variables if other in updates]]
        for other in together:
            near.setdefault(other, []).extend(together)
        wanted = {asked(node) for node in gradients}
        if key in weights and len(wanted) == 1:
            (one,) = wanted
            if one is not None:
                found[key] = chosen(key) or one
    waiting = list(found)
    while waiting:
        key = waiting.pop()
        for other in near[key]:
            if other not in found:
                found[other] = chosen(other) or found[key]
                waiting.append(other)
    return {key: value for key, value in found.items() if chosen(key) is None}


def _source(node: Node) -> Node:
    """What is multiplied by, before it was cast."""
    while node.op.name == "astype" or node.op.identity:
        node = node.inputs[0]
    return node


def _below(value: Node, read: Callable[[Node], Key | None]) -> tuple[list[Node], list[Key]]:
    """The gradients by weights, and the variables, of which a value is made element by element."""
    gradients: list[Node] = []
    variables: dict[Key, None] = {}
    waiting, met = [value], {value}
    while waiting:
        node = waiting.pop()
        key = read(node)
        if key is not None:
            variables[key] = None
        elif node.op.name == GRADIENT:
            gradients.append(node)
        elif node.op.elementwise or node.op.identity:
            for child in node.inputs:
                if child.shape == value.shape and child not in met:
                    met.add(child)
                    waiting.append(child)
    return gradients, list(variables)
