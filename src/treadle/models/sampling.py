"""Drawing a continuation from a network of text, one symbol after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.errors import ArgumentError


def draw(scores: Any, generator: np.random.Generator, temperature: float, most_likely: int | None) -> int:
    """A symbol by the scores ``[vocabulary]`` of all; the likeliest one at temperature 0.

    Args:
        scores: logarithms of probabilities, up to a constant.
        generator: what draws.
        temperature: what the scores are divided by.
        most_likely: draw among so many of the likeliest alone; None for all.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if temperature == 0:
        return int(np.argmax(scores))
    scores = scores / temperature
    if most_likely is not None and most_likely < scores.size:
        scores[scores < np.partition(scores, -most_likely)[-most_likely]] = -np.inf
    chances = np.exp(scores - scores.max())
    return int(generator.choice(scores.size, p=chances / chances.sum()))


def continued(
    start: Sequence[int],
    count: int,
    scores_after: Callable[[list[int]], Any],
    *,
    vocabulary: int,
    temperature: float,
    most_likely: int | None,
    seed: int,
) -> list[int]:
    """`start` and `count` symbols more; `scores_after` gives the scores of what follows the symbols so far.

    Raises:
        ArgumentError: `start` is empty or holds no symbols, or a number is out of range.
    """
    symbols = [int(symbol) for symbol in start]
    if not symbols or min(symbols) < 0 or max(symbols) >= vocabulary:
        raise ArgumentError(f"[sample] start={symbols[:8]}: expected numbers from 0 to {vocabulary - 1}")
    if temperature < 0 or count < 0 or (most_likely is not None and most_likely < 1):
        raise ArgumentError(
            f"[sample] count={count}, temperature={temperature}, most_likely={most_likely}: none is "
            f"negative, and most_likely is 1 or more"
        )
    generator = np.random.default_rng(seed)
    for _ in range(count):
        symbols.append(draw(scores_after(symbols), generator, temperature, most_likely))
    return symbols
