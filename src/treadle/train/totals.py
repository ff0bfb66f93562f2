"""Running totals of metrics: variables that the compiled program adds to in place. Knows nothing of loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ShapeError
from treadle.train.metrics import Metric


class Totals:
    """The totals of metrics over batches.

    What a batch gives has shapes that are known when outputs are: `prepare` makes the variables, outside of
    any compiled function, `add` adds to them inside.
    """

    def __init__(self, metrics: Mapping[str, Metric]):
        self.metrics = dict(metrics)
        self.variables: dict[str, list[td.Variable]] = {}
        self.collected: dict[str, list[tuple[np.ndarray, ...]]] = {}
        self._loaded: Mapping[str, Any] = {}
        self.reset()

    def prepare(self, outputs: Any, targets: Any) -> None:
        """Make the variables, of the types that the metrics of such arrays, or placeholders, have."""
        for name, metric in self.metrics.items():
            if metric.collects:
                continue
            types = [(array.shape, _wide(array)) for array in metric.batch(outputs, targets)]
            before = self._loaded.get(name)
            self.variables[name] = [
                td.Variable(
                    np.zeros(shape, str(dtype)) if before is None else before[i],
                    f"{name}.{i}",
                    trainable=False,
                )
                for i, (shape, dtype) in enumerate(types)
            ]
        self._loaded = {}

    def add(self, outputs: Any, targets: Any) -> dict[str, tuple[td.Array, ...]]:
        """Assign the totals with a batch's added; what is collected, for `collect`."""
        kept: dict[str, tuple[td.Array, ...]] = {}
        for name, metric in self.metrics.items():
            sums = tuple(metric.batch(outputs, targets))
            if metric.collects:
                kept[name] = sums
                continue
            for variable, value in zip(self.variables[name], sums, strict=True):
                if value.shape != variable.shape:
                    raise ShapeError(
                        f"[{type(metric).__name__}.batch] {name} gives {value.shape} for this batch and gave "
                        f"{variable.shape} before: what is added up has one shape for batches of any size"
                    )
                variable.assign(variable + td.astype(value, variable.dtype))
        return kept

    def collect(self, kept: Mapping[str, tuple[td.Array, ...]]) -> None:
        """Take what `add` gave."""
        for name, arrays in kept.items():
            self.collected[name].append(tuple(array.numpy() for array in arrays))

    def reset(self) -> None:
        """Start at zero."""
        self.collected = {name: [] for name, metric in self.metrics.items() if metric.collects}
        self._loaded = {}
        for variables in self.variables.values():
            for variable in variables:
                variable.assign(td.zeros(variable.shape, dtype=variable.dtype))

    def results(self) -> dict[str, Any]:
        """What each metric makes of its totals."""
        found: dict[str, Any] = {}
        for name, metric in self.metrics.items():
            if metric.collects:
                parts = zip(*self.collected[name], strict=True)
                found[name] = metric.result(*[np.concatenate(part) for part in parts])
            else:
                found[name] = metric.result(*self.state()[name])
        return found

    def state(self) -> dict[str, list[np.ndarray]]:
        """The totals so far, those that are added up."""
        made = {name: [variable.numpy() for variable in found] for name, found in self.variables.items()}
        return made or dict(self._loaded)

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Go on from totals; what was not prepared yet begins with them."""
        self._loaded = {} if self.variables else values
        for name, variables in self.variables.items():
            for i, variable in enumerate(variables):
                variable.assign(values[name][i] if name in values else td.zeros_like(variable))


def _wide(array: td.Array) -> Any:
    """The dtype that an array is added up in."""
    return td.float64 if array.dtype.kind == "float" else td.int64
