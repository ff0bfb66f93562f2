"""Treadle: a deep-learning framework. One graph, define-by-run and define-then-run, compiled to native code.

>>> import treadle as td
>>> x = td.asarray([[1.0, 2.0], [3.0, 4.0]])
>>> (x @ x).sum().item()
54.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle import fft, linalg, random
from treadle import namespace as _namespace
from treadle.array import Array, Variable, asarray, assignments, update
from treadle.compiled import compile
from treadle.control import cond, map, scan, while_loop
from treadle.differentiate import (
    checkpoint,
    custom_vjp,
    grad,
    gradients,
    hvp,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from treadle.dtypes import (
    bfloat16,
    bool,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from treadle.exchange import astype, from_dlpack
from treadle.function import function
from treadle.inspection import (
    __array_namespace_info__,  # noqa: F401
    broadcast_shapes,
    can_cast,
    finfo,
    iinfo,
    isdtype,
    result_type,
)
from treadle.jacobians import hessian, jacobian
from treadle.namespace import *  # noqa: F403
from treadle.runtime import (
    cache_info,
    check_numerics,
    debug,
    device,
    device_memory,
    devices,
    evaluate,
    explain,
    memory,
    num_threads,
    precision,
    scope,
    set_num_threads,
)
from treadle.selection import nonzero, repeat, unique_all, unique_counts, unique_inverse, unique_values
from treadle.session import Session, placeholder
from treadle.unknown import advising, advising_names, unknown_name
from treadle.vectorize import vmap

if TYPE_CHECKING:
    from treadle import data, datasets, models, nn, optim, train
    from treadle.graphfile.load import load
    from treadle.graphfile.save import save
    from treadle.profiling.measure import profile
    from treadle.profiling.tune import tune
    from treadle.user_ops import op
    from treadle.view.show import show

__array_api_version__ = "2025.12"
__version__ = "0.1.0"

e = 2.718281828459045
inf = float("inf")
nan = float("nan")
newaxis = None
pi = 3.141592653589793

__all__ = [
    "Array",
    "Session",
    "Variable",
    "asarray",
    "assignments",
    "astype",
    "bfloat16",
    "bool",
    "broadcast_shapes",
    "cache_info",
    "can_cast",
    "check_numerics",
    "checkpoint",
    "compile",
    "complex64",
    "complex128",
    "cond",
    "custom_vjp",
    "data",
    "datasets",
    "debug",
    "device",
    "device_memory",
    "devices",
    "e",
    "evaluate",
    "explain",
    "fft",
    "finfo",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "function",
    "grad",
    "gradients",
    "hessian",
    "hvp",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "jacobian",
    "jvp",
    "map",
    "linalg",
    "load",
    "memory",
    "models",
    "nan",
    "newaxis",
    "nn",
    "nonzero",
    "no_grad",
    "op",
    "num_threads",
    "optim",
    "pi",
    "placeholder",
    "precision",
    "profile",
    "random",
    "repeat",
    "result_type",
    "save",
    "scan",
    "scope",
    "set_num_threads",
    "show",
    "train",
    "tune",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "update",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
    *_namespace.__all__,
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"treadle.{name}")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise unknown_name("treadle", "module", name, __all__)


for _module in (_namespace, fft, linalg):
    for _name in _module.__all__:
        setattr(_module, _name, advising(getattr(_module, _name)))
for _name in _namespace.__all__:
    globals()[_name] = getattr(_namespace, _name)  # what pickle finds under its module and name
for _module in (fft, linalg, random):
    advising_names(_module.__name__)

# Loaded when first used, so that importing Treadle stays quick.
_ROOMS = ("data", "datasets", "models", "nn", "optim", "train")
_LAZY: dict[str, str] = {
    "load": "treadle.graphfile.load",
    "op": "treadle.user_ops",
    "profile": "treadle.profiling.measure",
    "save": "treadle.graphfile.save",
    "show": "treadle.view.show",
    "tune": "treadle.profiling.tune",
}
