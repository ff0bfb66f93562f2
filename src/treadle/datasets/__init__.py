"""Small real data that ships with Treadle. Plain NumPy arrays; this folder knows nothing of graphs."""

from __future__ import annotations

from treadle.datasets.digits import load_digits

__all__ = ["load_digits"]
