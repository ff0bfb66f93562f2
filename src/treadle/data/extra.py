"""Packages that only the input pipeline needs, imported when it first needs them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from treadle.errors import DataError

PACKAGES = {"grain": "grain", "simplejpeg": "simplejpeg", "cv2": "opencv-python-headless"}
"""The package that brings each module."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Grain logs when it is imported without JAX, which it does not need."""
    log = logging.getLogger("absl")

    def wanted(record: logging.LogRecord) -> bool:
        return "jax profiler" not in record.getMessage()

    log.addFilter(wanted)
    try:
        yield
    finally:
        log.removeFilter(wanted)


def needed(module: str, what_for: str) -> Any:
    """A module of the extra ``data``, or an error that says how to install it."""
    try:
        with _quiet():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise DataError(
            f"{what_for} needs the package {PACKAGES[module]}, which is not installed: "
            "pip install 'treadle[data]'"
        ) from None
