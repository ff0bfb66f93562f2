"""Images in files and folders. JPEG is decoded by simplejpeg; OpenCV decodes PNG and resizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from treadle.data.dataset import Dataset, dataset
from treadle.data.extra import needed
from treadle.errors import ArgumentError, FormatError

JPEG = (".jpg", ".jpeg")
SUFFIXES = (*JPEG, ".png")


def decode_image(
    content: bytes,
    *,
    size: tuple[int, int] | None = None,
    least: int | None = None,
    channels: int = 3,
    name: str = "the image",
) -> np.ndarray:
    """The bytes of a JPEG or PNG file as uint8 `[height, width, channels]`.

    Args:
        size: height and width to resize to; None as it is.
        least: a JPEG is decoded at the smallest of its scales (eighths) that has no side shorter than this,
            or than `size`: that is quicker.
        channels: 3 for red, green, blue; 1 for grey.
        name: what errors call it.

    Raises:
        FormatError: it is no whole image.
    """
    if channels not in (1, 3):
        raise ArgumentError(f"[decode_image] channels={channels}: expected 1 or 3")
    cv2 = needed("cv2", "reading images")
    if content[:2] == b"\xff\xd8":
        jpeg = needed("simplejpeg", "reading JPEG images")
        height, width = size or (least or 0, least or 0)
        try:
            image = jpeg.decode_jpeg(
                content, colorspace="GRAY" if channels == 1 else "RGB", min_height=height, min_width=width
            )
        except ValueError as error:
            raise FormatError(f"{name} is no whole JPEG image: {error}") from None
    else:
        kind = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        image = cv2.imdecode(np.frombuffer(content, np.uint8), kind) if content else None
        if image is None:
            raise FormatError(f"{name} is no whole image: offset 0 holds {content[:4].hex(' ') or 'nothing'}")
        image = image[..., ::-1] if channels == 3 else image
    image = np.ascontiguousarray(image)
    return (image if size is None else resized(image, size)).reshape(*(size or image.shape[:2]), channels)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image of another height and width."""
    cv2 = needed("cv2", "resizing images")
    if image.shape[:2] == tuple(size):
        return image
    shrinks = size[0] < image.shape[0]
    # Averaging over what falls together: picking single pixels of a large image aliases.
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=how).reshape(*size, *image.shape[2:])


def read_image(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    least: int | None = None,
    channels: int = 3,
) -> np.ndarray:
    """A JPEG or PNG file as uint8 `[height, width, channels]`.

    Args:
        size, least, channels: as of `decode_image`.

    Raises:
        FormatError: it is no whole image.
        FileNotFoundError: it is not there.
    """
    return decode_image(Path(path).read_bytes(), size=size, least=least, channels=channels, name=str(path))


class _Files:
    """The contents, names and labels of files by index."""

    def __init__(self, files: list[tuple[Path, int]]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[bytes, str, int]:
        path, label = self.files[index]
        return path.read_bytes(), str(path), label

    def name(self, index: int) -> str:
        return str(self.files[index][0])


class _Decode:
    """What `_Files` gives, as image and label."""

    stage = "decoding"

    def __init__(self, options: dict[str, Any]):
        self.options = options

    def __call__(self, file: tuple[bytes, str, int]) -> tuple[np.ndarray, int]:
        content, name, label = file
        return decode_image(content, name=name, **self.options), label


def image_folder(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    least: int | None = None,
    channels: int = 3,
) -> Dataset:
    """Images and the numbers of their classes, from a folder with a folder for each class, in order of names.

    Args:
        path: the folder; below each class's folder, at any depth, JPEG and PNG files.
        size, least, channels: as of `decode_image`; images of a batch must have one size.

    Returns:
        Dataset of (uint8 `[height, width, channels]`, int), with `classes`. Read when needed.

    Raises:
        ArgumentError: there is no such folder, or no image in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise ArgumentError(f"[data.image_folder] {path} is not a folder")
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((root / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise ArgumentError(
            f"[data.image_folder] the data set is empty: {path} has no {', '.join(SUFFIXES)} in its folders"
        )
    items = _Files(files)
    read = dataset(items, "image_folder", items.name, tuple(classes))
    return read.map(_Decode({"size": size, "least": least, "channels": channels}))
