"""Every op's kernels compile for GPUs, by NVRTC for sm_80 and sm_90: that needs no GPU and no driver."""

from __future__ import annotations

import nvrtc_check
import op_examples
import pytest
from op_examples import OPS, REAL, examples

from treadle import dtypes
from treadle.devices.accelerator.build import Build
from treadle.devices.csource.kernel import Facts
from treadle.devices.csource.lowering import Generator
from treadle.graph.node import Type, new
from treadle.ops.record import INPUT

if not nvrtc_check.available():
    pytest.skip("without nvidia-cuda-nvrtc and cuda-bindings", allow_module_level=True)

APART = {"result", "cond", "loop"}
FAMILIES = sorted({op_examples.family(op) for op in OPS.values() if not op.leaf and op.name not in APART})
GPU = Generator(Facts(barriers=True, units=132))
FEW = {"window": ("float32", "bfloat16", "int8"), "pooling": ("float32", "int8"),
       "channels_last": ("float32",)}  # fmt: skip
"""Families whose kernels differ little from dtype to dtype, and take long to compile."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_op_compiles_for_gpus(family):
    kernels = {}
    for dtype in [dtype for dtype in REAL if dtype.name in FEW.get(family, (dtype.name,))]:
        outputs, count = [], 0
        for op in OPS.values():
            if op.leaf or op.name in APART or op_examples.family(op) != family:
                continue
            for example in examples(op, dtype):
                types = [Type(array.shape, dtypes.as_dtype(array.dtype)) for array in example.arrays]
                leaves = [new(INPUT, (), (count + i,), type) for i, type in enumerate(types)]
                count += len(leaves)
                outputs.append(example.node(*leaves))
        if outputs:
            kernels |= dict.fromkeys(Build(outputs, [None] * len(outputs), GPU).kernels)
    nvrtc_check.check(kernels)
