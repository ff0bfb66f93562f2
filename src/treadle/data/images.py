"""Folders of images: one folder a class. JPEG is decoded by simplejpeg; OpenCV decodes PNG and resizes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from treadle.data.dataset import Dataset, dataset
from treadle.data.extra import needed
from treadle.errors import ArgumentError, FormatError

JPEG = (".jpg", ".jpeg")
SUFFIXES = (*JPEG, ".png")


def read_image(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, channels: int = 3
) -> np.ndarray:
    """A JPEG or PNG file as uint8 `[height, width, channels]`.

    Args:
        size: height and width to resize to; None as it is.
        channels: 3 for red, green, blue; 1 for grey.

    Raises:
        FormatError: it is no whole image.
        FileNotFoundError: it is not there.
    """
    if channels not in (1, 3):
        raise ArgumentError(f"[read_image] channels={channels}: expected 1 or 3")
    content = Path(path).read_bytes()
    cv2 = needed("cv2", "reading images")
    if content[:2] == b"\xff\xd8":
        jpeg = needed("simplejpeg", "reading JPEG images")
        try:
            image = jpeg.decode_jpeg(content, colorspace="GRAY" if channels == 1 else "RGB")
        except ValueError as error:
            raise FormatError(f"{path} is no whole JPEG image: {error}") from None
    else:
        kind = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        image = cv2.imdecode(np.frombuffer(content, np.uint8), kind) if content else None
        if image is None:
            raise FormatError(f"{path} is no whole image: offset 0 holds {content[:4].hex(' ') or 'nothing'}")
        image = image[..., ::-1] if channels == 3 else image
    if size is not None:
        shrinks = size[0] < image.shape[0]
        # Averaging over what falls together: picking single pixels of a large image aliases.
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cv2.resize(np.ascontiguousarray(image), (size[1], size[0]), interpolation=how)
    return np.ascontiguousarray(image).reshape(*image.shape[:2], channels)


class _Files:
    """Images and labels by index."""

    def __init__(self, files: list[tuple[Path, int]], size: tuple[int, int] | None, channels: int):
        self.files, self.size, self.channels = files, size, channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        return read_image(path, size=self.size, channels=self.channels), label

    def name(self, index: int) -> str:
        return str(self.files[index][0])


def image_folder(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, channels: int = 3
) -> Dataset:
    """Images and the numbers of their classes, from a folder with a folder for each class, in order of names.

    Args:
        path: the folder; below each class's folder, at any depth, JPEG and PNG files.
        size, channels: as of `read_image`; images of a batch must have one size.

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
    items = _Files(files, size, channels)
    return dataset(items, "image_folder", items.name, tuple(classes))
