"""A user's kernel gets contiguous operands, and one that overran them would be seen."""

from __future__ import annotations

import numpy as np
import pytest
from guard import run_lowered
from test_user_ops import scaled

import treadle as td
from treadle.compiler.program import LibraryCall, View
from treadle.devices.cpu.lowering import lower_call
from treadle.devices.cpu.target import host_isas
from treadle.graph.node import Type, make, new
from treadle.ops.record import INPUT, OPS


@pytest.mark.parametrize("strides", [(6, 1), (1, 4)])
@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_ir_stays_inside_its_operands(isa, strides):
    op = scaled().record
    x = np.linspace(-2, 2, 24, dtype=np.float32)
    node = make(op, (new(INPUT, (), (0,), Type((4, 6), td.float32)),), (0.5,))
    call = LibraryCall(node, (View(0, (4, 6), 0, strides),), (1,), nodes=(node,))
    lowered = lower_call(call, isa)
    assert lowered is not None and len(lowered.steps) == (1 if strides == (6, 1) else 2)
    found = np.zeros((4, 6), np.float32)
    run_lowered(lowered, [x], [found], isa)
    seen = np.lib.stride_tricks.as_strided(x, (4, 6), [4 * s for s in strides])
    np.testing.assert_array_equal(found, seen * np.float32(0.5))
    del OPS["scaled"]
