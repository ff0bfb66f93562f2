"""Real data: the digits that ship with Treadle, and sets whose files it finds. Plain NumPy arrays and text.

This folder knows nothing of graphs.
"""

from __future__ import annotations

from treadle.datasets.digits import digits
from treadle.datasets.digits import load_digits as load_digits
from treadle.datasets.mnist import FASHION_MNIST_CLASSES, fashion_mnist, mnist
from treadle.datasets.text import shakespeare
from treadle.unknown import advising_names

__all__ = ["FASHION_MNIST_CLASSES", "digits", "fashion_mnist", "mnist", "shakespeare"]

advising_names(__name__)
