"""Augmentation of batches of images on the device, as part of the step: every example changed in its own way
in training, none in evaluation, where `Views` averages over changed ones instead.

Images are ``[batch, channels, height, width]``, or ``[batch, height, width, channels]`` by `layout`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn.layout import channels_first, channels_last, check_layout
from treadle.nn.module import Module


class _Augment(Module):
    """What is done to images in training alone."""

    def __init__(self, layout: str):
        self.layout = check_layout(type(self).__name__, layout)

    def forward(self, x: td.Array) -> td.Array:
        x = td.asarray(x)
        if x.ndim != 4:
            name = type(self).__name__
            raise ShapeError(f"[{name}] x has shape {x.shape}; expected 4 dimensions, {self.layout}")
        if not self.training:
            return x
        return channels_last(self._changed(channels_first(x, self.layout)), self.layout)

    def _changed(self, x: td.Array) -> td.Array:
        """The images [batch, channels, height, width], changed."""
        raise NotImplementedError


def _each(x: td.Array, values: td.Array) -> td.Array:
    """A value for each example, as [batch, 1, 1, 1]."""
    return td.reshape(values, (x.shape[0], 1, 1, 1))


class RandomFlip(_Augment):
    """Mirrors images, each with a probability.

    Args:
        rate: the probability.
        vertical: whether top and bottom change places, not left and right.
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.RandomFlip(1.0)(td.reshape(td.arange(3.0), (1, 1, 1, 3))).tolist()
    [[[[2.0, 1.0, 0.0]]]]
    """

    def __init__(self, rate: float = 0.5, *, vertical: bool = False, layout: str = "NCHW"):
        super().__init__(layout)
        if not 0 <= rate <= 1:
            raise ArgumentError(f"[RandomFlip] rate={rate} is not in [0, 1]")
        self.rate, self.vertical = rate, vertical

    def _changed(self, x: td.Array) -> td.Array:
        mirrored = td.flip(x, axis=2 if self.vertical else 3)
        return td.where(_each(x, td.random.bernoulli(self.rate, (x.shape[0],))), mirrored, x)


class RandomShift(_Augment):
    """Moves images by up to so many pixels in both directions: the random crops of an image with a border.

    Args:
        pixels: how far at most.
        mode: what comes in at the border: "constant" for 0, "edge" for the nearest pixel, "reflect".
        layout: "NCHW" or "NHWC".

    Raises:
        ArgumentError: pixels is no positive integer, or mode is none of the three.
        ShapeError: images are not larger than `pixels`.

    >>> import treadle as td
    >>> td.nn.RandomShift(2)(td.ones((8, 3, 16, 16))).shape
    (8, 3, 16, 16)
    """

    MODES = ("constant", "edge", "reflect")

    def __init__(self, pixels: int, *, mode: str = "constant", layout: str = "NCHW"):
        super().__init__(layout)
        if not isinstance(pixels, int) or pixels < 1:
            raise ArgumentError(f"[RandomShift] pixels={pixels!r} is not a positive integer")
        if mode not in self.MODES:
            raise ArgumentError(f"[RandomShift] mode={mode!r}; it is one of {', '.join(self.MODES)}")
        self.pixels, self.mode = pixels, mode

    def _changed(self, x: td.Array) -> td.Array:
        for axis in (2, 3):
            moves = td.random.randint(-self.pixels, self.pixels + 1, (x.shape[0],))
            x = _moved(x, moves, axis, self.pixels, self.mode)
        return x


def _moved(x: td.Array, moves: td.Array, axis: int, furthest: int, mode: str) -> td.Array:
    """Every image moved by its own number of pixels along an axis."""
    size = x.shape[axis]
    if isinstance(size, int) and size <= furthest:
        raise ShapeError(f"[RandomShift] images {x.shape} move by up to {furthest} pixels: make it fewer")
    shape = tuple([size if i == axis else 1 for i in range(4)])
    place = td.reshape(td.arange(size, dtype=td.int64), shape) - _each(x, moves)
    if mode == "reflect":
        place = td.abs(place)
        place = td.where(place >= size, 2 * (size - 1) - place, place)
        return td.take_along_axis(x, place, axis=axis)
    taken = td.take_along_axis(x, td.clip(place, 0, size - 1), axis=axis)
    return taken if mode == "edge" else td.where((place >= 0) & (place < size), taken, 0)


class Cutout(_Augment):
    """Sets a square of each image, at a random place, to 0 (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        pixels: the length of its sides; what is beyond the border is lost.
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> int(td.sum(td.nn.Cutout(4)(td.ones((1, 1, 8, 8))))) < 64
    True
    """

    def __init__(self, pixels: int, *, layout: str = "NCHW"):
        super().__init__(layout)
        if not isinstance(pixels, int) or pixels < 1:
            raise ArgumentError(f"[Cutout] pixels={pixels!r} is not a positive integer")
        self.pixels = pixels

    def _changed(self, x: td.Array) -> td.Array:
        inside: Any = True
        for axis in (2, 3):
            size = x.shape[axis]
            if not isinstance(size, int):
                raise ShapeError(
                    f"[Cutout] needs to know the sizes of x, which is {x.shape}: give the placeholder numbers"
                )
            shape = tuple([size if i == axis else 1 for i in range(4)])
            begin = td.floor(td.random.uniform((x.shape[0],)) * size) - self.pixels // 2
            along = td.reshape(td.arange(size, dtype=td.float32), shape) - _each(x, begin)
            inside = (along >= 0) & (along < self.pixels) & inside
        return td.where(inside, 0, x)


class ColorJitter(_Augment):
    """Changes the brightness and the contrast of each image by random factors.

    Args:
        brightness, contrast: by which share at most, in [0, 1].
        layout: "NCHW" or "NHWC".

    Raises:
        DTypeError: the images are not floating.

    >>> import treadle as td
    >>> td.nn.ColorJitter(0.2, 0.2)(td.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, *, layout: str = "NCHW"):
        super().__init__(layout)
        if not (0 <= brightness <= 1 and 0 <= contrast <= 1):
            raise ArgumentError(f"[ColorJitter] brightness={brightness}, contrast={contrast}: not in [0, 1]")
        self.brightness, self.contrast = brightness, contrast

    def _changed(self, x: td.Array) -> td.Array:
        if x.dtype.kind != "float":
            raise DTypeError(f"[ColorJitter] x is {x.dtype}; expected floating: td.astype(x, td.float32)")
        bright, strong = (
            _each(x, td.random.uniform((x.shape[0],), low=1 - most, high=1 + most, dtype=x.dtype))
            for most in (self.brightness, self.contrast)
        )
        mean = td.mean(x, axis=(1, 2, 3), keepdims=True)
        return ((x - mean) * strong + mean) * bright


class Views(Module):
    """A classifier whose evaluation averages over several views of each image: what is random in training is
    marginalised.

    Args:
        model: gives scores ``[batch, classes]``; in training it is called as it is.
        views: functions of images; `standard_views` makes shifted and mirrored ones.

    In evaluation it gives the logarithm of the mean of the probabilities of all views, which serve as scores.

    >>> import treadle as td
    >>> from treadle import nn
    >>> net = nn.Sequential(nn.GlobalAveragePool(), nn.Dense(3, 5))
    >>> averaged = nn.Views(net, nn.standard_views(shift=1)).eval()
    >>> averaged(td.ones((2, 3, 8, 8))).shape
    (2, 5)
    """

    def __init__(self, model: Module, views: Sequence[Callable[[td.Array], td.Array]]):
        if not views:
            raise ArgumentError("[Views] there are no views: nn.standard_views() makes some")
        self.model, self.views = model, tuple(views)

    def forward(self, x: td.Array) -> td.Array:
        if self.training:
            return self.model(x)
        logs = td.stack([td.log_softmax(self.model(view(x)), axis=-1) for view in self.views])
        return td.logsumexp(logs, axis=0) - math.log(len(self.views))


def standard_views(
    *, shift: int = 0, mirrored: bool = True, layout: str = "NCHW"
) -> list[Callable[[td.Array], td.Array]]:
    """Views of images for `Views`: the images, moved by `shift` pixels in each of four directions if that is
    not 0, and all of these mirrored.

    Args:
        shift: pixels.
        mirrored: whether also left and right change places.
        layout: "NCHW" or "NHWC".

    >>> from treadle import nn
    >>> len(nn.standard_views(shift=2))
    10
    """
    check_layout("standard_views", layout)
    moves = [(0, 0)] + [(shift, 0), (-shift, 0), (0, shift), (0, -shift)] * (shift != 0)
    return [_view(move, flip, layout) for flip in (False, True)[: 1 + mirrored] for move in moves]


def _view(move: tuple[int, int], flip: bool, layout: str) -> Callable[[td.Array], td.Array]:
    def view(x: td.Array) -> td.Array:
        x = channels_first(x, layout)
        widths = [(0, 0), (0, 0), *[(max(by, 0), max(-by, 0)) for by in move]]
        height, width = x.shape[2:]
        padded = td.pad(x, widths)
        x = padded[:, :, max(-move[0], 0) :, max(-move[1], 0) :][:, :, :height, :width]
        return channels_last(td.flip(x, axis=3) if flip else x, layout)

    return view
