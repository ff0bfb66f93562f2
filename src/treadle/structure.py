"""Nested arguments and results: arrays taken out of lists, tuples and dicts, and put back. Knows nothing of
what is done with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.array import Array, as_node
from treadle.errors import ArgumentError
from treadle.graph.node import Node


class Slot:
    """The place of an array in a structure."""

    def __repr__(self) -> str:
        return "<array>"


SLOT = Slot()


def fill(structure: Any, values: Any) -> Any:
    """Put values into the slots of a structure."""
    if structure is SLOT:
        return next(values)
    if isinstance(structure, dict):
        return {k: fill(v, values) for k, v in structure.items()}
    if isinstance(structure, (list, tuple)):
        items = [fill(v, values) for v in structure]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    return structure


def take_outputs(result: Any, outputs: list[Node]) -> Any:
    """A traced function's result, its arrays collected and replaced by slots."""
    if isinstance(result, Array):
        outputs.append(as_node(result))
        return SLOT
    if isinstance(result, dict):
        return {k: take_outputs(v, outputs) for k, v in result.items()}
    if isinstance(result, (list, tuple)):
        items = [take_outputs(v, outputs) for v in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    return result


def take_leaves(structure: Any, name: str, leaves: list[tuple[str, Any]]) -> Any:
    """A structure with slots in place of its arrays and numbers, which are collected with their paths."""
    if isinstance(structure, Array):
        leaves.append((name, as_node(structure)))
        return SLOT
    if isinstance(structure, (bool, int, float, complex, np.ndarray, np.generic)):
        leaves.append((name, structure))
        return SLOT
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {k: take_leaves(v, f"{name}[{k!r}]", leaves) for k, v in structure.items()}
    if isinstance(structure, (list, tuple)):
        items = [take_leaves(v, f"{name}[{i}]", leaves) for i, v in enumerate(structure)]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    raise ArgumentError(
        f"{name} is a {type(structure).__name__}; arrays, numbers, and tuples, lists and dicts of them are "
        f"taken"
    )
