"""Giving many variables values by name: all of them or none. Knows nothing of where values come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import FormatError


def assign_all(
    owner: str, variables: Mapping[str, td.Variable], values: Mapping[str, Any], strict: bool = True
) -> None:
    """Assign values of the variables' shapes, converted to their dtypes.

    With `strict` every variable must have a value, and every value a variable.

    Raises:
        FormatError: values are missing, unexpected or of another shape: the message lists all of them.
    """
    misshapen = [
        f"{name}: {tuple(np.shape(values[name]))} where {variable.shape} is needed"
        for name, variable in variables.items()
        if name in values and tuple(np.shape(values[name])) != variable.shape
    ]
    kinds = {
        "missing": [name for name in variables if name not in values] if strict else [],
        "unexpected": [name for name in values if name not in variables] if strict else [],
        "of another shape": misshapen,
    }
    told = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if told:
        raise FormatError(f"[load_state] {owner}: {'; '.join(told)}; nothing was changed")
    with td.assignments():
        for name, variable in variables.items():
            if name in values:
                variable.assign(td.astype(td.asarray(values[name]), variable.dtype))
    td.evaluate()
