"""One thing measured: who does it, what is asked of it, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Calls = Mapping[str, Callable[[], Any]]

OURS = "treadle"


@dataclass(frozen=True)
class Case:
    """Calls that do the same, by who does it. `treadle` must be `need` times as fast as the fastest of
    `against`; None asks nothing.
    """

    name: str
    make: Callable[[], Calls]
    """Sets everything up and returns the calls; what they return must agree where `tolerance` is given."""
    against: tuple[str, ...]
    need: float | None
    tolerance: float | None = 1e-3


@dataclass
class Result:
    """What is printed and kept of a case."""

    group: str
    name: str
    seconds: dict[str, float]
    """Medians."""
    target: str
    value: float | None
    """What the target is about: a ratio, or seconds."""
    unit: str
    reached: bool | None
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The quartiles of each."""
    best: dict[str, float] = field(default_factory=dict)
    """The shortest of each."""
    note: str = ""


def first_calls(case: Case, calls: Calls, optional: tuple[str, ...]) -> dict[str, str]:
    """Run every call once and compare what they return; why each of the optional ones failed that did."""
    results: dict[str, np.ndarray] = {}
    failures = {}
    for who, call in calls.items():
        try:
            value = as_numpy(call())
        except Exception as failure:  # what it needs besides PyTorch may be missing: a C++ compiler above all
            if who not in optional:
                raise
            failures[who] = type(failure).__name__
            continue
        if value is not None:
            results[who] = value
    if case.tolerance is None or not results:
        return failures
    first, expected = next(iter(results.items()))
    expected = expected.astype(np.float64)
    scale = float(np.abs(expected).max())
    for who, value in results.items():
        error = float(np.abs(value.astype(np.float64) - expected).max())
        if not error <= case.tolerance * scale:
            raise AssertionError(f"{case.name}: {who} and {first} differ by {error}, values go to {scale}")
    return failures


def as_numpy(value: Any) -> np.ndarray | None:
    """Whatever a call returns, as an array."""
    if value is None:
        return None
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return np.asarray(value)
