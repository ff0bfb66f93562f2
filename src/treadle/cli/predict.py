"""`treadle predict`: an example drawn in the terminal, and what a trained network makes of it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.drawing import bars, drawn
from treadle.cli.runs import add_run, read

if TYPE_CHECKING:
    import numpy as np

MOST = 10
"""So many classes are shown, those of the highest probability if there are more."""


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    add_run(parser)
    parser.add_argument("--index", type=int, default=0, help="which of the held-out examples, from 0 (0)")
    parser.add_argument("--image", type=Path, help="an image file instead, JPEG or PNG")


def run(options: Namespace) -> int:
    """Draw it, and what the network makes of it."""
    from rich.console import Console

    import treadle as td
    from treadle.errors import ArgumentError, IndexingError

    with td.device(options.device):
        made, _ = read(options.run, options.checkpoint, options.set)
        data = made.data
        if options.image is not None:
            if not data.prepare.images:
                raise ArgumentError(f"--image {options.image}: the inputs of this run are no images")
            example, target = read_like(options.image, data.first.shape), None
        else:
            if not 0 <= options.index < len(data):
                raise IndexingError(
                    f"--index {options.index}: the held-out examples are 0 to {len(data) - 1}"
                )
            example, target = data.example(options.index)
        outputs = td.asarray(made.model(td.asarray(data.prepare.inputs(example[None])))).numpy()[0]
    console = Console(highlight=False)
    if data.prepare.images:
        console.print(drawn(example, console))
    if not made.of_classes:
        print(f"the network says {outputs.tolist()}" + ("" if target is None else f", right is {target}"))
        return 0
    probabilities = td.softmax(td.asarray(outputs), axis=0).numpy()
    classes = [data.name(label) for label in range(len(probabilities))]
    console.print("\n".join(bars(probabilities, classes, MOST, console.options.ascii_only)), markup=False)
    guess = classes[int(probabilities.argmax())]
    if target is None:
        print(f"{options.image}: the network says {guess}")
    else:
        right = classes[int(target)]
        verdict = "rightly" if guess == right else "wrongly"
        print(f"held-out example {options.index} is a {right}; the network says {guess}, {verdict}")
    return 0


def read_like(path: Path, shape: Any) -> np.ndarray:
    """An image file, of the height, width and channels of the run's own images."""
    from treadle.data import read_image

    channels = shape[2] if len(shape) == 3 else 1
    image = read_image(path, size=(shape[0], shape[1]), channels=channels)
    return image if len(shape) == 3 else image[..., 0]
