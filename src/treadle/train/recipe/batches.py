"""Batches of arrays in memory as a model takes them: images as numbers, normalised, shifted and mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from treadle.errors import ArgumentError, ShapeError
from treadle.nn.layout import check_layout
from treadle.train.batches import ArrayBatches


@dataclass
class Prepare:
    """From inputs as they were read to a model's: numbers from 0 to 1 of bytes, channels where the layout has
    them, less the mean and over the standard deviation of each channel.
    """

    images: bool
    """Whether inputs are images, with channels last or without any."""
    layout: str = "NCHW"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_layout("data", self.layout)
        if any(not value > 0 for value in self.std):
            raise ArgumentError(f"[data] std={list(self.std)} is not positive")

    def __call__(self, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        inputs, targets = batch
        return self.inputs(inputs), targets

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """A batch of inputs ``[examples, ...]``."""
        if self.images:
            x = x[..., None] if x.ndim == 3 else x
            x = np.moveaxis(x, -1, 1) if self.layout == "NCHW" else x
        if x.dtype == np.uint8:
            x = x.astype(np.float32) / np.float32(255)
        elif x.dtype == np.float64:
            x = x.astype(np.float32)
        if self.mean or self.std:
            shape = (-1, *(1,) * (x.ndim - 2)) if self.layout == "NCHW" else (-1,)
            for name, values in (("mean", self.mean), ("std", self.std)):
                channels = x.shape[1 if self.layout == "NCHW" else -1]
                if values and len(values) not in (1, channels):
                    raise ShapeError(
                        f"[data] {name} has {len(values)} numbers, the inputs {channels} channels"
                    )
            if self.mean:
                x = x - np.asarray(self.mean, x.dtype).reshape(shape)
            if self.std:
                x = x / np.asarray(self.std, x.dtype).reshape(shape)
        return np.ascontiguousarray(x)


@dataclass
class Augment:
    """``[data.augment]``: noise in training. Images are ``[channels, height, width]`` or channels last."""

    flip: bool = False
    """Mirror every other image, left to right."""
    shift: int = 0
    """Move images by up to so many pixels in each direction; what comes in is 0."""
    noise: float = 0.0
    """Add normal noise of this standard deviation."""
    layout: str = "NCHW"

    def __bool__(self) -> bool:
        return self.flip or self.shift > 0 or self.noise > 0

    def __call__(self, batch: tuple[np.ndarray, Any], numbers: np.random.Generator) -> tuple[Any, Any]:
        x, targets = batch
        if (self.flip or self.shift) and x.ndim != 4:
            raise ShapeError(
                f"[data.augment] inputs of shape {x.shape} are no images: flip and shift need them"
            )
        across = -1 if self.layout == "NCHW" else -2
        if self.flip:
            mirrored = numbers.random(len(x)) < 0.5
            x = np.where(mirrored[:, None, None, None], np.flip(x, across), x)
        if self.shift:
            x = self._shifted(x, across, numbers)
        if self.noise:
            x = x + numbers.normal(0, self.noise, x.shape).astype(x.dtype)
        return x, targets

    def _shifted(self, x: np.ndarray, across: int, numbers: np.random.Generator) -> np.ndarray:
        most = self.shift
        around = [(0, 0)] * 4
        around[across % 4] = around[across % 4 - 1] = (most, most)
        wide = np.pad(x, around)
        height, width = x.shape[across - 1], x.shape[across]
        places = numbers.integers(0, 2 * most + 1, (len(x), 2))
        windows = [(slice(a, a + height), slice(b, b + width)) for a, b in places]
        if self.layout == "NCHW":
            return np.stack([image[:, rows, columns] for image, (rows, columns) in zip(wide, windows)])
        return np.stack([image[rows, columns] for image, (rows, columns) in zip(wide, windows)])


class Batches(ArrayBatches):
    """`ArrayBatches` of inputs and targets, prepared and augmented; what is drawn for a batch is a function
    of the seed, the pass and the place.
    """

    def __init__(
        self,
        arrays: tuple[np.ndarray, np.ndarray],
        batch: int,
        prepare: Prepare,
        augment: Augment | None,
        *,
        seed: int | None,
        drop_last: bool,
    ):
        super().__init__(arrays, batch, shuffle=seed is not None, seed=seed or 0)
        self.prepare, self.augment = prepare, augment
        self.drop_last = drop_last
        if not len(self):
            raise ArgumentError(
                f"[data] batch={batch} with drop_last leaves nothing of {self.count} examples: take a "
                "smaller batch"
            )

    def __len__(self) -> int:
        return self.count // self.batch if self.drop_last else super().__len__()

    def __next__(self) -> Any:
        batch = self.prepare(super().__next__())
        if self.augment:
            drawn = np.random.SeedSequence((self.seed, 1, self.passes, self.place))
            batch = self.augment(batch, np.random.Generator(np.random.PCG64(drawn)))
        return batch

    def _kind(self) -> dict[str, Any]:
        return {**super()._kind(), "drop_last": self.drop_last}
