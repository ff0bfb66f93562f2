"""Tensors by name from a file, whatever format it is in: by what it begins with, not by what it is called."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from treadle.errors import FormatError
from treadle.formats import pytorch
from treadle.graphfile.container import LENGTH, Container


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Tensors by name from a safetensors file or one of PyTorch's (``.pth``, ``.pt``, ``.bin``).

    Nothing that a file says is executed: PyTorch's files are pickles, of which only what describes tensors
    is understood.

    Args:
        path: the file. Of a checkpoint with more in it, its ``state_dict`` or ``model`` is read.

    Returns:
        Arrays by name, as the file orders their dimensions; read-only.

    Raises:
        FileNotFoundError: it is not there.
        FormatError: it is cut off, damaged, of another format, or asks for code to be run: the message has
            the offset.

    >>> import numpy as np, os, tempfile
    >>> import treadle as td
    >>> from safetensors.numpy import save_file
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> save_file({"w": np.ones((2, 3), "float32")}, path)
    >>> td.models.read_weights(path)["w"].shape
    (2, 3)
    """
    file = Path(path)
    with open(file, "rb") as opened:
        begin = opened.read(LENGTH.size + 1)
        if pytorch.is_pytorch(begin):
            return pytorch.read(file)
        if begin[LENGTH.size :] != b"{":
            raise FormatError(
                f"{file}, byte 0: neither a safetensors file nor one of PyTorch's; it begins with "
                f"{begin[:4].hex(' ') or 'nothing'}"
            )
        container = Container(file, opened)
        found = {name: container.read(name, entry.type) for name, entry in container.entries.items()}
    for array in found.values():
        array.flags.writeable = False
    return found
