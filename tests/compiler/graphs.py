"""Graphs as the compiler gets them, evaluated twice: node by node by the references, and as a fused program
by the interpreter of loop kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.compiler.fuse import fuse
from treadle.compiler.interpret import interpret
from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.compiler.program import Fused, LibraryCall, LoopCall, View
from treadle.compiler.simplify import simplify
from treadle.compiler.verify import verify, verify_fused
from treadle.dtypes import DType
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, Type, new
from treadle.ops.record import INPUT

LIBRARY = ("matmul", "sort", "argsort", "scatter_add", "cumulative_sum", "conv")
Arrays = Sequence[np.ndarray]


def library(node: Node) -> bool:
    """A device that has kernels for the usual ops, and for whatever is complex."""
    return node.op.name in LIBRARY or node.dtype.kind == "complex"


def leaf(index: int, *shape: int, dtype: DType = dtypes.float32) -> Node:
    """Leaf number `index` of a graph."""
    return new(INPUT, (), (index,), Type(shape, dtype))


def detached(outputs: Sequence[Node], arrays: Arrays) -> tuple[list[Node], list[np.ndarray]]:
    """The graph with Python numbers and random keys made inputs, and the arrays of all inputs."""
    values = list(arrays)

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op.name not in ("scalar", "key"):
            return None
        values.append(np.asarray(node.binding, node.dtype.numpy))
        return new(INPUT, (), (len(values) - 1,), node.type)

    return rewrite(outputs, change), values


def by_references(outputs: Sequence[Node], arrays: Arrays) -> list[np.ndarray]:
    """The outputs, node by node."""
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for node in ordered(outputs):
            if node.op.name == "input":
                values[node] = arrays[node.attribute("index")]
            else:
                inputs = [values[child] for child in node.inputs]
                found = node.op.reference(*inputs, **node.keywords())
                several = isinstance(found, tuple)
                values[node] = tuple(map(np.asarray, found)) if several else np.asarray(found)
                for array, type in zip(values[node] if several else [values[node]], node.types, strict=True):
                    assert array.shape == type.shape and array.dtype == type.dtype.numpy, node
    return [values[output] for output in outputs]


def run_fused(fused: Fused, arrays: Arrays) -> list[np.ndarray]:
    """The outputs of a program, its buffers full of rubbish at the start."""
    buffers = []
    for info in fused.buffers:
        count = math.prod(info.type.shape)
        if info.source == "input":
            buffers.append(np.ascontiguousarray(arrays[info.index]).reshape(-1).copy())
        else:
            rubbish = 0 if info.source == "status" else 1 if info.type.dtype is dtypes.bool else 113
            buffers.append(np.full(count, rubbish, info.type.dtype.numpy))
    for call in fused.calls:
        if isinstance(call, LoopCall):
            interpret(call.kernel, [buffers[b] for b in call.buffers])
        else:
            _run_library(call, buffers)
    return [buffers[b].reshape(fused.buffers[b].type.shape) for b in fused.outputs]


def faults(fused: Fused, arrays: Arrays) -> list[int]:
    """The status words after a run."""
    status = [i for i, info in enumerate(fused.buffers) if info.source == "status"]
    return [int(word) for word in run_fused(Fused(fused.buffers, fused.calls, status), arrays)]


def _run_library(call: LibraryCall, buffers: list[np.ndarray]) -> None:
    inputs = [_seen(view, buffers[view.buffer]) for view in call.inputs]
    result = np.asarray(call.node.op.reference(*inputs, **call.node.keywords()))
    sizes = result.shape
    place = Affine(0, tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))))
    stored = Affine(0, call.strides or place.strides)
    if not call.epilogue and not call.strides:
        buffers[call.outputs[0]][:] = result.reshape(-1)
        return
    if not call.epilogue:
        buffers[call.outputs[0]][np.tensordot(call.strides, np.indices(sizes), 1)] = result
        return
    count = len(call.extra)
    load = Instruction("load", (), result.dtype.name, Access(count, place))
    body = tuple(load if i.op == "accumulator" else i for i in call.epilogue)
    results = [Operand(body[value].dtype, result.size, True) for value in call.stores]
    operands = (*call.extra, Operand(result.dtype.name, result.size), *results)
    stores = tuple(Store(Access(i, stored), value) for i, value in enumerate(call.stores, count + 1))
    stage = Stage("row", body, stores=stores)
    extra, outputs = ([buffers[b] for b in which] for which in (call.extra_buffers, call.outputs))
    kernel = LoopKernel(sizes, len(sizes), operands, (stage,))
    interpret(kernel, [*extra, np.ascontiguousarray(result).reshape(-1), *outputs])


def _seen(view: View, buffer: np.ndarray) -> np.ndarray:
    if 0 in view.shape:
        return np.zeros(view.shape, buffer.dtype)
    strides = [stride * buffer.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(buffer[view.offset :], view.shape, strides)


def labels(fused: Fused) -> list[str]:
    """The calls of a program in words."""
    return [
        call.kernel.label if isinstance(call, LoopCall) else call.node.op.name + "+" * bool(call.epilogue)
        for call in fused.calls
    ]


def check(
    outputs: Sequence[Node],
    arrays: Arrays = (),
    simplified: bool = False,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Fused:
    """Fuse a graph, verify the program, compare its outputs with the references'."""
    outputs, arrays = detached(outputs, arrays)
    graph = simplify(outputs) if simplified else list(outputs)
    verify(graph, "simplify")
    fused = fuse(graph, library)
    verify_fused(fused, "fuse")
    wanted = by_references(outputs, arrays)
    for found, want in zip(run_fused(fused, arrays), wanted, strict=True):
        assert found.shape == want.shape and found.dtype == want.dtype
        if want.dtype.kind in "biu":
            np.testing.assert_array_equal(found, want)
        else:
            wide = np.complex128 if want.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(found.astype(wide), want.astype(wide), rtol, atol)
    return fused


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers, float32."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
