"""Images and probabilities drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

INKS = {False: " ░▒▓█", True: " .:*#"}
"""From dark to bright, by whether the terminal takes ASCII only."""
BARS = {False: "█", True: "#"}
BAR_WIDTH = 40
INK_MOST = 16
"""Images up to this size are drawn with inks, two characters a pixel; larger ones with half blocks."""


def drawn(image: np.ndarray, console: Console) -> Any:
    """A picture ``[height, width]`` or with channels last, of bytes or of numbers from 0 to 1."""
    import numpy as np

    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    step = -(-values.shape[1] // max(8, min(console.width, 80)))
    values = np.clip(values[::step, ::step], 0, 1)
    grey = values.mean(axis=-1) if values.ndim == 3 else values
    if console.color_system is None or console.options.ascii_only or max(grey.shape) <= INK_MOST:
        wide = 2 if 2 * grey.shape[1] <= console.width else 1
        rows = grey if wide == 2 else grey[::2]  # a character is twice as high as wide
        return "\n".join(inked(rows, wide, console.options.ascii_only))
    return blocks(values)


def inked(grey: np.ndarray, wide: int, ascii_only: bool) -> list[str]:
    """The lines of a picture, from brightness ``[height, width]`` between 0 and 1."""
    inks = INKS[ascii_only]
    return ["".join(wide * inks[round(float(x) * (len(inks) - 1))] for x in row).rstrip() for row in grey]


def blocks(values: np.ndarray) -> Any:
    """A picture in colours: each character shows two pixels, one above the other."""
    import numpy as np
    from rich.text import Text

    rgb = np.rint(255 * (values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1))).astype(
        int
    )
    if len(rgb) % 2:
        rgb = np.concatenate([rgb, rgb[-1:] * 0])
    text = Text()
    for above, below in zip(rgb[::2], rgb[1::2]):
        for (r, g, b), (r2, g2, b2) in zip(above, below):
            text.append("▀", f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    text.rstrip()
    return text


def bars(probabilities: np.ndarray, classes: Sequence[str], most: int, ascii_only: bool) -> list[str]:
    """A line for every class: its name, probability, and a bar as long as that; of many, the likeliest."""
    order = range(len(probabilities))
    if len(probabilities) > most:
        order = [int(i) for i in (-probabilities).argsort(kind="stable")[:most]]
    width = max(len(classes[i]) for i in order)
    return [
        f"{classes[i]:<{width}}  {probabilities[i]:6.1%}  "
        f"{BARS[ascii_only] * round(float(probabilities[i]) * BAR_WIDTH)}".rstrip()
        for i in order
    ]
