"""Training runs as TOML files: what is trained on what, how and for how long.

A section's keys are the arguments of what it is for: of a model, a kind of data, an optimizer, a schedule, a
loss.
"""

from treadle.train.recipe.recipe import Recipe, read_recipe
from treadle.train.recipe.run import Run, make_run, read_run

__all__ = ["Recipe", "Run", "make_run", "read_recipe", "read_run"]
