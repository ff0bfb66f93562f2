"""How calls become launches on a GPU: by the vendor's libraries where they have a kernel, by generated ones
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from treadle import config
from treadle.compiler.pipeline import Target
from treadle.compiler.program import Call, LibraryCall
from treadle.devices.csource.kernel import Facts, Lowered, Unsupported
from treadle.devices.csource.lowering import Generator
from treadle.devices.csource.types import ITEMSIZE
from treadle.devices.cuda import blas, dnn
from treadle.graph.node import Node
from treadle.ops.channels_last import CHANNELS_FIRST

CONVOLUTIONS = ("conv", "conv_input_gradient", "conv_weight_gradient")
VENDOR: dict[str, Callable[[LibraryCall, Facts], Lowered]] = {
    "matmul": blas.lower,
    **dict.fromkeys(CONVOLUTIONS, dnn.lower),
}
VENDOR |= {twin: VENDOR[name] for twin, name in CHANNELS_FIRST.items() if name in VENDOR}
"""By op, what makes launches of a library's kernels."""


class VendorGenerator(Generator):
    """Libraries first, unless generated kernels are asked for. Convolution nets have the channels last
    inside.
    """

    @property
    def target(self) -> Target:
        """What passes may know of the device, with the kernels that are to run."""
        if config.options.kernels != "vendor":
            return super().target
        epilogues = (*super().target.epilogues, *[name for name in VENDOR if "weight" not in name])
        return replace(super().target, epilogues=tuple(dict.fromkeys(epilogues)), channels_last=channels_last)

    def lower(self, call: Call) -> Lowered | None:
        if config.options.kernels == "vendor" and isinstance(call, LibraryCall):
            lower = VENDOR.get(call.node.op.name)
            if lower is not None:
                try:
                    return lower(call, self.facts)
                except Unsupported:
                    pass
        return super().lower(call)


def channels_last(node: Node) -> bool:
    """Whether a convolution or pooling had better give its result with the channels last."""
    return all(value.dtype.name in ITEMSIZE for value in (node, *node.inputs))
