"""Which ops run on the host in programs of accelerators: that needs no device."""

from __future__ import annotations

import op_examples
import pytest
from op_examples import OPS, REAL, examples

from treadle import dtypes
from treadle.devices.accelerator.build import Build, NodeStep
from treadle.devices.csource.kernel import Facts
from treadle.devices.csource.lowering import Generator
from treadle.graph.node import Type, new
from treadle.ops.record import INPUT

APART = {"result", "cond", "loop"}
RECORDS = [
    op
    for op in list(OPS.values())
    if not op.leaf and op.name not in APART and op_examples.family(op) not in op_examples.MATRICES
]
ON_HOST = {"sort", "argsort", "rfft"}
"""docs/devices.md names them."""


@pytest.mark.parametrize("barriers", [False, True])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_only_a_few_ops_run_on_the_host(dtype, barriers):
    outputs, count = [], 0
    for op in RECORDS:
        for example in examples(op, dtype):
            types = [Type(array.shape, dtypes.as_dtype(array.dtype)) for array in example.arrays]
            # Without elements there is nothing to write a kernel for.
            if op.name.startswith("attention") and any(0 in type.shape for type in types):
                continue
            leaves = [new(INPUT, (), (count + i,), type) for i, type in enumerate(types)]
            count += len(leaves)
            outputs.append(example.node(*leaves))
    build = Build(outputs, [None] * len(outputs), Generator(Facts(barriers)))
    names = {step.node.op.name for step in build.steps if isinstance(step, NodeStep)}
    assert names <= ON_HOST, names
