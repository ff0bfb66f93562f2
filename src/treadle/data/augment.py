"""Random changes to single images on the host, by OpenCV and NumPy: crops, flips, colours.

Each takes an image ``[height, width, channels]`` and a generator, the item's own, and gives an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from treadle.data.extra import needed
from treadle.data.images import resized
from treadle.errors import ArgumentError, IndexingError, ShapeError

Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma's weights of red, green and blue (ITU-R BT.601)."""


class Augment:
    """Steps for the image in an item: the item itself, the first of a tuple, or a dict's ``image``."""

    stage = "augmenting"

    def __init__(self, steps: tuple[Step, ...], at: int | str | None):
        self.steps, self.at = steps, at

    def __call__(self, value: Any, numbers: np.random.Generator) -> Any:
        at = self.at
        if at is None:
            at = 0 if isinstance(value, tuple) else "image" if isinstance(value, dict) else None
        if isinstance(value, dict):
            return {**value, at: self._made(value[at], numbers)}
        if at is None:
            return self._made(value, numbers)
        place = int(at)
        return (*value[:place], self._made(value[place], numbers), *value[place + 1 :])

    def _made(self, image: Any, numbers: np.random.Generator) -> np.ndarray:
        image = np.asarray(image)
        if image.ndim not in (2, 3):
            raise ShapeError(f"[augment] {image.shape} is no image: expected [height, width, channels]")
        for step in self.steps:
            image = step(image, numbers)
        return np.ascontiguousarray(image)


def _pair(operation: str, size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ArgumentError(f"[{operation}] size={size}: expected a height and a width")
    return pair[0], pair[1]


class RandomCrop:
    """A part of a size at a random place, of the image or of the image with a border of zeros.

    Args:
        size: height and width, or one number for both.
        padding: the border's width.

    >>> import numpy as np
    >>> from treadle import data
    >>> images = data.arrays(np.zeros((10, 32, 32, 3), "uint8"))
    >>> images.augment(data.RandomCrop(28), data.RandomFlip(), seed=1)[0].shape
    (28, 28, 3)
    """

    def __init__(self, size: int | tuple[int, int], *, padding: int = 0):
        self.size, self.padding = _pair("RandomCrop", size), padding

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        if self.padding:
            border = (self.padding, self.padding)
            image = np.pad(image, (border, border, *[(0, 0)] * (image.ndim - 2)))
        (height, width), (rows, columns) = self.size, image.shape[:2]
        if rows < height or columns < width:
            raise ShapeError(f"[RandomCrop] an image of {(rows, columns)} is smaller than {self.size}")
        top = numbers.integers(rows - height + 1)
        left = numbers.integers(columns - width + 1)
        return image[top : top + height, left : left + width]


class CenterCrop:
    """The middle part of a size; not random, for evaluation.

    Args:
        size: height and width, or one number for both.
    """

    def __init__(self, size: int | tuple[int, int]):
        self.size = _pair("CenterCrop", size)

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        (height, width), (rows, columns) = self.size, image.shape[:2]
        if rows < height or columns < width:
            raise ShapeError(f"[CenterCrop] an image of {(rows, columns)} is smaller than {self.size}")
        top, left = (rows - height) // 2, (columns - width) // 2
        return image[top : top + height, left : left + width]


class Resize:
    """An image of another size; not random.

    Args:
        size: height and width, or one number for the shorter side.
    """

    def __init__(self, size: int | tuple[int, int]):
        self.size = size if isinstance(size, int) else _pair("Resize", size)

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        if isinstance(self.size, int):
            scale = self.size / min(image.shape[:2])
            height, width = (max(self.size, round(side * scale)) for side in image.shape[:2])
            return resized(image, (height, width))
        return resized(image, self.size)


class RandomResizedCrop:
    """A part of random area and shape at a random place, resized (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        size: height and width, or one number for both.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width to height, drawn by its logarithm.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ):
        self.size, self.scale, self.ratio = _pair("RandomResizedCrop", size), scale, ratio
        for name, (low, high) in (("scale", scale), ("ratio", ratio)):
            if not 0 < low <= high:
                raise ArgumentError(f"[RandomResizedCrop] {name}={(low, high)}: expected 0 < low <= high")

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        rows, columns = image.shape[:2]
        for _ in range(10):
            area = rows * columns * numbers.uniform(*self.scale)
            ratio = math.exp(numbers.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < height <= rows and 0 < width <= columns:
                part = RandomCrop((height, width))(image, numbers)
                return resized(np.ascontiguousarray(part), self.size)
        side = min(rows, columns)  # no such part fits into an image so narrow
        return resized(np.ascontiguousarray(CenterCrop(side)(image, numbers)), self.size)


class RandomFlip:
    """The image mirrored, left to right or top to bottom, with a probability.

    Args:
        rate: the probability, in [0, 1].
        vertical: top to bottom.
    """

    def __init__(self, rate: float = 0.5, *, vertical: bool = False):
        if not 0 <= rate <= 1:
            raise ArgumentError(f"[RandomFlip] rate={rate} is not in [0, 1]")
        self.rate, self.axis = rate, 0 if vertical else 1

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        return np.flip(image, self.axis) if numbers.random() < self.rate else image


class ColorJitter:
    """Brightness, contrast, saturation and hue changed by random factors, in this order.

    Args:
        brightness, contrast, saturation: the largest change, 0.4 for factors from 0.6 to 1.4.
        hue: the largest turn of the colour circle, of at most half a turn.

    Images are uint8, or floats from 0 to 1; those of one channel have no saturation and no hue.
    """

    def __init__(self, brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0):
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if value < 0:
                raise ArgumentError(f"[ColorJitter] {name}={value} is negative")
        if not 0 <= hue <= 0.5:
            raise ArgumentError(f"[ColorJitter] hue={hue} is not in [0, 0.5]")
        self.changes, self.hue = (brightness, contrast, saturation), hue

    def __call__(self, image: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        drawn = (numbers.uniform(max(0.0, 1 - change), 1 + change) for change in self.changes)
        brightness, contrast, saturation = (np.float32(factor) for factor in drawn)
        turn = numbers.uniform(-self.hue, self.hue)
        colours = image.ndim == 3 and image.shape[2] == 3
        largest = np.float32(255 if image.dtype == np.uint8 else 1)
        made = np.minimum(image.astype(np.float32) * brightness, largest)
        if self.changes[1]:
            mean = (made @ GREY if colours else made).mean(dtype=np.float32)
            made = np.clip(mean + (made - mean) * contrast, 0, largest)
        if self.changes[2] and colours:
            grey = (made @ GREY)[..., None]
            made = np.clip(grey + (made - grey) * saturation, 0, largest)
        if self.hue and colours:
            cv2 = needed("cv2", "changing hues")
            turned = cv2.cvtColor(made / largest, cv2.COLOR_RGB2HSV)
            turned[..., 0] = (turned[..., 0] + np.float32(360 * turn)) % 360
            made = np.clip(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB), 0, 1) * largest
        return np.rint(made).astype(np.uint8) if image.dtype == np.uint8 else made.astype(image.dtype)


class Mixup:
    """Batches whose items are mixed with those of the batch in reverse order, and so their labels (Zhang et
    al. 2018, arXiv:1710.09412). For ``map`` after ``batch``; its images become float32.

    Args:
        classes: how many there are; labels become probabilities ``[batch, classes]``.
        alpha: of the distribution Beta(alpha, alpha) from which each batch's share is drawn.

    Raises:
        IndexingError: a label is not the number of a class.

    >>> from treadle import data
    >>> batches = data.arrays([[0.0], [1.0]], [0, 1]).batch(2).map(data.Mixup(2, alpha=0.2), seed=1)
    >>> images, labels = batches[0]
    >>> bool((images[:, 0] == labels[:, 1]).all())
    True
    """

    stage = "augmenting"

    def __init__(self, classes: int, alpha: float = 0.2):
        if not isinstance(classes, int) or classes < 1:
            raise ArgumentError(f"[Mixup] classes={classes!r} is not a positive integer")
        if not alpha > 0:
            raise ArgumentError(f"[Mixup] alpha={alpha} is not positive")
        self.classes, self.alpha = classes, alpha

    def __call__(self, batch: Any, numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        images, labels = batch
        wrong = [label for label in np.unique(labels) if not 0 <= label < self.classes]
        if wrong:
            raise IndexingError(f"[Mixup] label {wrong[0]} is not from 0 to {self.classes - 1}")
        share = np.float32(numbers.beta(self.alpha, self.alpha))
        sure = np.eye(self.classes, dtype=np.float32)[labels]
        images = np.asarray(images, np.float32)
        return (
            share * images + (1 - share) * images[::-1],
            share * sure + (1 - share) * sure[::-1],
        )
