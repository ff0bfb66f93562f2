"""Memory of a device with a value in it, as everybody but the device sees it."""

from __future__ import annotations

import numpy as np

from treadle.graph.node import Type


class Buffer:
    """`nbytes` bytes on a device, counted by Python's references.

    `contents` stands for what is in it: another object once that changes, None if nobody has asked. A
    borrowed buffer's memory belongs to someone who may still write it.
    """

    __slots__ = ("__weakref__", "borrowed", "contents", "nbytes")

    def __init__(self, nbytes: int, borrowed: bool = False):
        self.nbytes = nbytes
        self.borrowed = borrowed
        self.contents: object = None

    def view(self, type: Type) -> np.ndarray:
        """The value as a read-only NumPy array: of host memory a view, else a copy."""
        raise NotImplementedError

    def held_by_views(self) -> bool:
        """Whether an array that was handed out shares this memory."""
        return self.borrowed
