"""What measuring the ways in which one kernel can run has given. Every device says it so."""

from __future__ import annotations

from typing import NamedTuple


class Tuned(NamedTuple):
    """A kernel, and its times in milliseconds in the way that it would have run and in the best one."""

    label: str
    before_ms: float
    after_ms: float
    tried: int
