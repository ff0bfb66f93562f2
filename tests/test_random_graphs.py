"""Random graphs come to the same values however they are run: by references, compiled, simplified or not,
fused or not, in memory that is full of what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import random_graphs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_graphs import RECIPES, Item, Step

import treadle as td
from treadle import config, dtypes
from treadle.compiler import grouping, pipeline
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.cpu.target import host_isas
from treadle.devices.reference import compute, leaf_array
from treadle.evaluate import detached, leaf_value, structure_of
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type


def is_leaf(node: Node) -> bool:
    return node.op.leaf and node.op.reference is None


class Program:
    """Nodes compiled, apart from the cache of programs, and left as they are."""

    def __init__(self, outputs: Sequence[Node], lasting: int = 0):
        """`lasting` has a bit for each leaf that holds the same in every run."""
        structure = structure_of(outputs, is_leaf, is_leaf)
        self.leaves = [leaf_value(leaf) for leaf in structure.leaves]
        kept = [i for i, leaf in enumerate(self.leaves) if lasting >> i & 1 and not isinstance(leaf, tuple)]
        with config.configured(check=True):
            donors = [None] * len(outputs)
            graph = detached(structure, list(outputs))
            self.executable = CpuExecutable(graph, donors, chosen_isa(), kept)
        self.types = [output.type for output in outputs]

    def run(self) -> list[np.ndarray]:
        buffers = self.executable.run(self.leaves, [None] * len(self.types))
        return [buffer.view(type) for buffer, type in zip(buffers, self.types, strict=True)]

    def poison(self) -> None:
        """Fill the memory of temporary values with NaN, -1 and True."""
        for context in self.executable._free:
            nbytes = self.executable.image.arena_nbytes
            context.arena.writable(Type((nbytes,), dtypes.uint8)).fill(0xFF)


def by_references(outputs: Sequence[Node]) -> list[np.ndarray]:
    given = [node for node in ordered(outputs) if is_leaf(node)]
    return compute(outputs, {node: leaf_array(node.type, leaf_value(node)) for node in given})


def agree(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], whole: Sequence[bool]) -> None:
    for value, wanted, exact in zip(found, expected, whole, strict=True):
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype)
        if exact:
            np.testing.assert_array_equal(value, wanted)
        else:
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=2e-4)


@settings(max_examples=60)
@given(RECIPES)
def test_compiled_programs_agree_with_the_references(recipe: list[Step]):
    outputs, whole = random_graphs.build(recipe)
    program = Program(outputs)
    first = [value.copy() for value in program.run()]
    agree(first, by_references(outputs), whole)
    program.poison()
    for before, after in zip(first, program.run(), strict=True):
        np.testing.assert_array_equal(before, after)


@settings(max_examples=60)
@given(RECIPES, st.integers(1, 2**10 - 1))
def test_what_depends_on_lasting_leaves_alone_may_be_kept(recipe: list[Step], lasting: int):
    outputs, whole = random_graphs.build(recipe)
    program = Program(outputs, lasting)
    first = [value.copy() for value in program.run()]
    agree(first, by_references(outputs), whole)
    for _ in range(2):
        program.poison()
        for before, after in zip(first, program.run(), strict=True):
            np.testing.assert_array_equal(before, after)


@settings(max_examples=20)
@given(RECIPES)
def test_what_is_not_simplified_is_the_same(recipe: list[Step]):
    outputs, whole = random_graphs.build(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "GRAPH_PASSES", pipeline.GRAPH_PASSES[:1])
        found = Program(outputs).run()
    agree(found, by_references(outputs), whole)


@settings(max_examples=20)
@given(RECIPES)
def test_what_is_not_fused_is_the_same(recipe: list[Step]):
    """Every op a kernel of its own: nothing is computed where it is asked for, or beside what is stored."""
    outputs, whole = random_graphs.build(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "inlined", lambda groups, node: False)
        patch.setattr(grouping, "host", lambda groups, node: None)
        patch.setattr(grouping, "epilogue_of", lambda groups, node: None)
        found = Program(outputs).run()
    agree(found, by_references(outputs), whole)


@settings(max_examples=15)
@given(RECIPES)
def test_narrow_vectors_give_the_same(recipe: list[Step]):
    outputs, whole = random_graphs.build(recipe)
    expected = by_references(outputs)
    for isa in host_isas()[1:]:
        with config.configured(isa=isa.name):
            agree(Program(outputs).run(), expected, whole)


@settings(max_examples=40)
@given(RECIPES, st.integers(1, 2**10 - 1))
def test_mapped_over_some_of_their_leaves_they_give_every_example(recipe: list[Step], chosen: int):
    leaves = random_graphs.leaves()
    values = [np.asarray(item.x) for item in leaves]
    axes = [0 if chosen >> i & 1 else None for i in range(len(leaves))]
    stacks = [
        value if axis is None else np.stack([np.roll(value, i) for i in range(3)])
        for value, axis in zip(values, axes, strict=True)
    ]
    whole: list[bool] = []

    def function(*arrays: td.Array) -> list[td.Array]:
        given = [Item(td.asarray(x), item.whole, item.bound) for x, item in zip(arrays, leaves, strict=True)]
        outputs, whole[:] = random_graphs.build(recipe, given)
        return [td.Array(node) for node in outputs]

    mapped = [array.node for array in td.vmap(function, tuple(axes))(*stacks)]
    rows = []
    for i in range(3):
        row = [stack if axis is None else stack[i] for stack, axis in zip(stacks, axes, strict=True)]
        rows.append(by_references([array.node for array in function(*row)]))
    expected = [np.stack(values) for values in zip(*rows, strict=True)]
    agree(by_references(mapped), expected, whole)
    agree(Program(mapped).run(), expected, whole)


@settings(max_examples=30)
@given(RECIPES)
def test_gradients_agree_with_the_references(recipe: list[Step]):
    outputs = random_graphs.with_gradients(recipe)
    assume(outputs)
    agree(Program(outputs).run(), by_references(outputs), [False] * len(outputs))
