"""Input pipelines: data sets by index, what is done to their items, and loaders that work ahead.

Needs the extra ``data`` (``pip install 'treadle[data]'``); Grain is underneath.
"""

from treadle.data.augment import (
    CenterCrop,
    ColorJitter,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
)
from treadle.data.dataset import Dataset
from treadle.data.files import idx, npz, read_idx
from treadle.data.images import decode_image, image_folder, read_image
from treadle.data.item import Fault
from treadle.data.loader import Loader
from treadle.data.sources import arrays, in_memory, source
from treadle.data.tables import csv
from treadle.data.tars import tars
from treadle.unknown import advising_names

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Dataset",
    "Fault",
    "Loader",
    "Mixup",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "arrays",
    "csv",
    "decode_image",
    "idx",
    "image_folder",
    "in_memory",
    "npz",
    "read_idx",
    "read_image",
    "source",
    "tars",
]

advising_names(__name__)
