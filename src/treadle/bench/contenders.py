"""Who takes part: the file of each one's side, the packages it needs, what it can do, where its caches are.

To add a peer, write its side (see `child.py`) and a row here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from treadle.bench.workloads import Workload

SIDES = Path(__file__).with_name("sides")
"""Files that processes of contenders load by their paths; no package, since each needs what it measures."""


@dataclass(frozen=True)
class Contender:
    """One that makes the same steps. `variant` is told to its side."""

    name: str
    side: Path
    variant: str = ""
    packages: tuple[str, ...] = ()
    """To be imported; their names for pip are the same."""
    caches: tuple[str, ...] = ()
    """Environment variables that say where it keeps what it has compiled."""
    trains: bool = True
    infers: bool = True
    images: bool = False
    """Whether it differs from its plain variant for images alone."""
    file: str | None = None
    """One of `FILES` that it reads besides the values."""

    def takes_part(self, workload: Workload) -> bool:
        """Whether there is such a contender for a workload."""
        return (self.trains if workload.trains else self.infers) and (not self.images or len(workload.x) == 4)

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


OURS = "treadle"
_OURS, _TORCH = SIDES / "ours.py", SIDES / "pytorch.py"
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(OURS, _OURS, caches=("TREADLE_CACHE_DIR",)),
        Contender("treadle-nhwc", _OURS, "NHWC", caches=("TREADLE_CACHE_DIR",), images=True),
        Contender("torch", _TORCH, packages=("torch",)),
        Contender("torch-channels-last", _TORCH, "channels last", ("torch",), images=True),
        Contender("torch-compile", _TORCH, "compile", ("torch",), ("TORCHINDUCTOR_CACHE_DIR",)),
        Contender("jax", SIDES / "jax_jit.py", packages=("jax",), caches=("JAX_COMPILATION_CACHE_DIR",)),
        Contender(
            "onnxruntime", SIDES / "onnx_runtime.py", packages=("onnxruntime", "torch", "onnx"), trains=False,
            file="net.onnx",
        ),
        Contender(
            "openvino", SIDES / "open_vino.py", packages=("openvino", "torch", "onnx"), trains=False,
            file="net.onnx",
        ),
    )
}  # fmt: skip
FILES = {
    # a file that contenders read: (the side that writes it, its function)
    "values.npz": (_OURS, "save_values"),
    "net.onnx": (_TORCH, "save_onnx"),
}


def is_ours(name: str) -> bool:
    """Whether a contender is a variant of ours."""
    return CONTENDERS[name].side == _OURS
