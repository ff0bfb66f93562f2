"""OpenVINO's side of inference, on a network that PyTorch has exported. Loaded by `child.py`."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino


def prepare(job: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """A run, and what reads its result."""
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": job["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(job["file"]), "CPU", settings).create_infer_request()
    x = openvino.Tensor(job["batch"]["x"], shared_memory=True)
    return lambda: request.infer({0: x}), lambda results: np.asarray(results[0])
