"""A model in use: outputs for inputs, batch by batch, with one program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ArgumentError
from treadle.nn.module import Module, evaluating
from treadle.train.batches import ArrayBatches, as_batches, listed, whole_pass
from treadle.train.metrics import examples
from treadle.train.step import called, drawing


class Prediction:
    """What a model, in evaluation mode, makes of inputs.

    >>> import numpy as np
    >>> from treadle import nn, train
    >>> train.Prediction(nn.Dense(2, 3))(np.ones((5, 2), "float32"), batch=4).shape
    (5, 3)
    """

    def __init__(self, model: Module):
        self.model = model
        self._key = td.random.fold_in(td.random.key(0), 3)
        self._compiled = td.compile(self._batch)

    def __call__(self, inputs: Any, batch: int = 32) -> Any:
        """Outputs as NumPy arrays ``[examples, ...]``; arrays are cut into batches of one size, the last
        filled up and what it gives cut off. Of batches that are pairs, the targets are left out.
        """
        (inputs,) = listed((inputs,))
        whole = hasattr(inputs, "shape") or isinstance(inputs, tuple | Mapping)
        if whole:
            batches: Any = ArrayBatches(inputs, batch)
        elif isinstance(inputs, Iterable) or hasattr(inputs, "loader"):
            batches = whole_pass("predict", as_batches(inputs))
        else:
            raise ArgumentError(
                f"[predict] inputs are a {type(inputs).__name__}: give arrays or batches of them"
            )
        self._compiled.continue_at(0)
        made: list[Any] = []
        with evaluating(self.model):
            for given in batches:
                if not whole and isinstance(given, tuple | list) and len(given) == 2:
                    given = given[0]
                count = examples(given)
                outputs = self._compiled(_filled(given, batch) if whole and made else given)
                made.append(_on_host(outputs, count))
        if not made:
            raise ArgumentError("[predict] there are no inputs")
        return _joined(made)

    def _batch(self, inputs: Any) -> Any:
        with drawing(self._key):
            return called(self.model, inputs)


def _filled(structure: Any, count: int) -> Any:
    """Arrays of `count` examples, the last repeated where there are fewer."""
    if isinstance(structure, Mapping):
        return {key: _filled(value, count) for key, value in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_filled(item, count) for item in structure)
    missing = count - len(structure)
    return (
        structure if missing <= 0 else np.concatenate([structure, np.repeat(structure[-1:], missing, axis=0)])
    )


def _on_host(structure: Any, count: int) -> Any:
    if isinstance(structure, Mapping):
        return {key: _on_host(value, count) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(_on_host(item, count) for item in structure)
    return structure.numpy()[:count]


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(items)) for items in zip(*parts, strict=True))
    return np.concatenate(parts)
