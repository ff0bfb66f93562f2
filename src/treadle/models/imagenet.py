"""Photographs as the networks that were trained on ImageNet take them (Russakovsky et al. 2015)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn.layout import check_layout


class Preprocessing(NamedTuple):
    """What a network's training did to images: the shorter side is resized to `resize`, a square of `crop` is
    cut from the middle, and values in [0, 1] are standardised by channel.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    cubic: bool = False
    """Whether it is resized by cubic interpolation, not linear."""


def _support(size: int, wanted: int, cubic: bool) -> np.ndarray:
    """Weights of interpolation ``[wanted, size]``, the kernel widened where an image shrinks, so that nothing
    aliases.
    """
    scale = size / wanted
    width = max(scale, 1.0)
    centers = (np.arange(wanted) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(size)[None, :] - centers[:, None]) / width
    if cubic:  # Keys 1981, a = -1/2
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    else:
        weights = np.maximum(0.0, 1 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


def preprocess(image: Any, how: Preprocessing = Preprocessing(), *, layout: str = "NCHW") -> np.ndarray:  # noqa: B008
    """A photograph as a network's input.

    Args:
        image: uint8 ``[height, width, 3]``, red first, as `td.data.read_image` gives it, or
            ``[height, width]`` of grey.
        how: sizes and statistics; `models.preprocessing(name)` gives those of a network's published weights.
        layout: "NCHW" or "NHWC".

    Returns:
        float32 ``[3, crop, crop]``, or ``[crop, crop, 3]``.

    Raises:
        ShapeError: it has other dimensions.
        DTypeError: it is not uint8.

    >>> import numpy as np
    >>> import treadle as td
    >>> td.models.preprocess(np.zeros((300, 400, 3), "uint8")).shape
    (3, 224, 224)
    """
    check_layout("preprocess", layout)
    if not isinstance(how, Preprocessing):
        raise ArgumentError(f"[preprocess] how={how!r}; expected what models.preprocessing(name) gives")
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise DTypeError(f"[preprocess] the image is {image.dtype}; expected uint8, from 0 to 255")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"[preprocess] the image has shape {image.shape}; expected [height, width, 3]")
    if how.crop > how.resize:
        raise ArgumentError(f"[preprocess] crop={how.crop} is larger than resize={how.resize}")
    height, width = image.shape[:2]
    short = min(height, width)
    sizes = [how.resize if n == short else int(how.resize * n / short) for n in (height, width)]
    (rows, columns) = (
        _support(n, wanted, how.cubic)[(wanted - how.crop + 1) // 2 :][: how.crop]
        for n, wanted in zip((height, width), sizes, strict=True)
    )
    resized = np.einsum("ih,hwc->iwc", rows, image.astype(np.float64), optimize=True)
    resized = np.einsum("jw,iwc->ijc", columns, resized, optimize=True)
    # As images are kept between resizing and cutting: whole numbers.
    resized = np.clip(np.rint(resized), 0, 255) / 255
    found = ((resized - how.mean) / how.std).astype(np.float32)
    return np.ascontiguousarray(found.transpose(2, 0, 1)) if layout == "NCHW" else found
