"""What a module is called with and made of: what to do, and to say, where it is no array and no count.

Knows nothing of modules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ArgumentError

_NO_ARRAYS = (type(None), str, bytes, bool, int, float, list, tuple, dict)


def as_inputs(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with NumPy's arrays as Treadle's. Of lists only the first argument: later ones may be
    settings, such as lengths, that a module wants as they are.
    """
    if inputs and is_numbers(inputs[0]):
        inputs = (td.asarray(inputs[0]), *inputs[1:])
    return tuple([td.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs])


def check_counts(owner: str, **counts: Any) -> None:
    """Raise ArgumentError where a count is no integer."""
    wrong = [
        f"{name}={n!r}"
        for name, n in counts.items()
        if isinstance(n, bool) or not hasattr(type(n), "__index__")
    ]
    if wrong:
        raise ArgumentError(f"[{owner}] {', '.join(wrong)}: expected positive integers")


def is_numbers(x: Any) -> bool:
    """Whether it is a list of numbers, or of lists of them, as its first item says."""
    if not isinstance(x, list):
        return False
    while isinstance(x, list | tuple) and x:
        x = x[0]
    return isinstance(x, bool | int | float | np.number)


def no_array(owner: str, inputs: tuple[Any, ...], error: AttributeError) -> ArgumentError | None:
    """The error for an argument that is no array, if it was the argument's attribute that was missing."""
    given = error.obj
    if not isinstance(given, _NO_ARRAYS) or not any(given is x for x in inputs):
        return None
    if given is None:
        what = "None: does the function that gave it lack a return?"
    elif isinstance(given, tuple):
        what = f"a tuple of {len(given)} and takes an array: pass one of them, as in y, state = lstm(x)"
    else:
        what = f"a {type(given).__name__} and takes an array: pass td.asarray(...) of numbers"
    return ArgumentError(f"[{owner}] it was given {what}")
