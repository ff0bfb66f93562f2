"""The rules of simplification: a table from an op's name to named replacements.

A rule is given the maker of nodes and a node whose inputs are simple already, and returns what the node can
be replaced by, or None. Every rule keeps the value of every element, NaN, infinities and the sign of zero
included; those under `stabilization` change last digits, towards the true value, and may be finite where
overflow was not; those under `sums` round at other places.
"""

from treadle.compiler.rules import (  # in the order they are tried
    arithmetic,
    movement,
    numbers,
    stabilization,
    sums,
)
from treadle.compiler.rules.table import RULES, Rule

__all__ = ["RULES", "Rule", "arithmetic", "movement", "numbers", "stabilization", "sums"]
