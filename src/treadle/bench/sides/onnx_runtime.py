"""ONNX Runtime's side of inference, on a network that PyTorch has exported. Loaded by `child.py`."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime


def prepare(job: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """A run, and what reads its result."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    session = onnxruntime.InferenceSession(job["file"], options, providers=["CPUExecutionProvider"])
    feeds = {"x": job["batch"]["x"]}
    return lambda: session.run(None, feeds), lambda results: results[0]
