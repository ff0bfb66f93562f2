"""Where the time of a step goes: kernels with their times and work, as a table and as pictures."""

from __future__ import annotations

from treadle.profiling.measure import profile
from treadle.profiling.profile import Profile, Row

__all__ = ["Profile", "Row", "profile"]
