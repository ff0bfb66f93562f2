"""What each worker process does first. Knows nothing of data."""

from __future__ import annotations

import os
import threading
from multiprocessing import connection, parent_process


def begin(worker: int, count: int) -> None:
    """Let other workers have the other cores, and end when the process that asked for the worker does."""
    try:
        import cv2  # pyright: ignore[reportMissingImports]  (an extra)
    except ModuleNotFoundError:
        pass
    else:
        cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
