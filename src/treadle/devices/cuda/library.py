"""How calls become launches on a GPU: by the vendor's libraries where they have a kernel, by generated ones
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle import config
from treadle.compiler.program import Call, LibraryCall
from treadle.devices.csource.kernel import Facts, Lowered, Unsupported
from treadle.devices.csource.lowering import Generator
from treadle.devices.cuda import blas

VENDOR: dict[str, Callable[[LibraryCall, Facts], Lowered]] = {"matmul": blas.lower}
"""By op, what makes launches of a library's kernels."""


class VendorGenerator(Generator):
    """Libraries first, unless generated kernels are asked for."""

    def lower(self, call: Call) -> Lowered | None:
        if config.options.kernels == "vendor" and isinstance(call, LibraryCall):
            lower = VENDOR.get(call.node.op.name)
            if lower is not None:
                try:
                    return lower(call, self.facts)
                except Unsupported:
                    pass
        return super().lower(call)
