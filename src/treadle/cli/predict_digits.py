"""`treadle predict digits`: one held-out digit drawn in the terminal, and its probabilities as bars."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

INKS = {False: " ░▒▓█", True: " .:*#"}
"""From paper to ink, by whether the terminal takes ASCII only."""
BARS = {False: "█", True: "#"}
BAR_WIDTH = 40


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--index", type=int, default=0, help="which of the held-out digits, from 0 (0)")
    parser.add_argument("--model", type=Path, help="the saved network (where `treadle train digits` saves)")


def run(options: Namespace) -> int:
    """Draw the digit and what the network makes of it."""
    from rich.console import Console

    import treadle as td
    from treadle.datasets import load_digits
    from treadle.errors import IndexingError
    from treadle.train import saved
    from treadle.train.digits import scores

    *_, images, labels = load_digits()
    if not 0 <= options.index < len(images):
        raise IndexingError(f"--index {options.index}: the held-out digits are 0 to {len(images) - 1}")
    parameters = saved.load(options.model or saved.default_path())
    image = images[options.index]
    probabilities = td.softmax(scores(parameters, td.asarray(image[None])), axis=1).numpy()[0]
    console = Console(highlight=False)
    ascii_only = console.options.ascii_only
    console.print("\n".join(drawn(image[0], ascii_only)))
    console.print("\n".join(bars(probabilities, ascii_only)))
    guess, label = int(probabilities.argmax()), int(labels[options.index])
    verdict = "rightly" if guess == label else "wrongly"
    console.print(f"held-out digit {options.index} is a {label}; the network says {guess}, {verdict}")
    return 0


def drawn(image: np.ndarray, ascii_only: bool) -> list[str]:
    """The lines of a picture, from ink `[height, width]` between 0 and 1; a pixel is two characters wide."""
    inks = INKS[ascii_only]
    return ["".join(2 * inks[round(float(ink) * (len(inks) - 1))] for ink in row).rstrip() for row in image]


def bars(probabilities: np.ndarray, ascii_only: bool) -> list[str]:
    """A line for every class: its number, probability, and a bar as long as that."""
    return [
        f"{label}  {p:6.1%}  {BARS[ascii_only] * round(float(p) * BAR_WIDTH)}".rstrip()
        for label, p in enumerate(probabilities)
    ]
