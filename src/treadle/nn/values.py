"""Giving many variables values by name: all of them or none. Knows nothing of where values come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import treadle as td
from treadle.errors import FormatError, TreadleError


def assign_all(
    owner: str, variables: Mapping[str, td.Variable], values: Mapping[str, Any], strict: bool = True
) -> None:
    """Assign values of the variables' shapes, converted to their dtypes.

    With `strict` every variable must have a value, and every value a variable; without, one of them.

    Raises:
        FormatError: values are missing, unexpected or of another shape: the message lists all of them.
    """
    if not isinstance(values, Mapping):
        raise FormatError(
            f"[load_state] {owner}: values are a {type(values).__name__}; expected a dict of arrays by name"
        )
    arrays = {name: _array(values[name]) for name in variables if name in values}
    misshapen = [
        f"{name}: {array.shape} where {variables[name].shape} is needed"
        for name, array in arrays.items()
        if array is not None and array.shape != variables[name].shape
    ]
    strange = [
        f"{name}: {'no numbers' if array is None else array.dtype} where {variables[name].dtype} is needed"
        for name, array in arrays.items()
        if array is None or (array.dtype.kind == "complex" and variables[name].dtype.kind != "complex")
    ]
    kinds = {
        "missing": [name for name in variables if name not in values] if strict else [],
        "unexpected": [str(name) for name in values if name not in variables] if strict else [],
        "of another shape": misshapen,
        "of another kind": strange,
    }
    if values and not arrays and not strict:
        kinds["unexpected"] = [str(name) for name in values]  # none is meant for these variables
    told = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if told:
        raise FormatError(f"[load_state] {owner}: {'; '.join(told)}; nothing was changed")
    with td.assignments():
        for name, variable in variables.items():
            if name in arrays:
                variable.assign(td.astype(arrays[name], variable.dtype))
    td.evaluate()


def _array(value: Any) -> td.Array | None:
    """A value as an array, if it is one."""
    try:
        return td.asarray(value)
    except (TreadleError, TypeError, ValueError):
        return None
