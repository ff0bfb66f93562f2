"""Every op record under `vmap`, found by itself: over each of its inputs and over all, against one example
after the other; and gradients of what the batching rules make.
"""

from __future__ import annotations

import numpy as np
import op_examples
import pytest
from numeric import GIVEN
from op_examples import ONLY, Example, examples
from test_every_op import DIFFERENTIABLE, FAMILIES, RECORDS, compiled, difference, generic, leaf

from treadle import dtypes
from treadle.autodiff import gradients
from treadle.batching import Batching
from treadle.devices.reference import compute, leaf_array
from treadle.errors import ShapeError
from treadle.evaluate import leaf_value
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered, with_sizes
from treadle.graph.node import Node, Op, Type, Types, new
from treadle.ops.batch import in_front
from treadle.ops.record import results

SIZE = 3
ALONE = ("random_bits", "update", "keep")
"""Records whose batching is not that of their reference: tested in test_vmap.py."""

PARTIAL = ("random_at",)
"""Records whose rule is not for every operand."""

BATCHED = [op for op in RECORDS if op.name not in ALONE and op.name != "result"]


def variants(case: Example, place: int) -> np.ndarray:
    """An operand for every example: the same elements in other orders, so that they stay in its domain."""
    array = case.arrays[place]
    generator = np.random.default_rng(place)
    if op_examples.family(case.op) in op_examples.MATRICES:
        return np.stack([another(case, array, i) for i in range(SIZE)])
    flat = [generator.permutation(array.ravel()) if i else array.ravel() for i in range(SIZE)]
    return np.stack(flat).reshape(SIZE, *array.shape)


def another(case: Example, array: np.ndarray, i: int) -> np.ndarray:
    """The same elements further on; matrices turned and grown, which keeps them definite and invertible."""
    if op_examples.family(case.op) not in op_examples.MATRICES:
        return np.roll(array, i)
    return (1 + i) * (array[..., ::-1, ::-1] if i % 2 and array.ndim > 1 else array)


def choices(case: Example) -> list[tuple[bool, ...]]:
    """Over each operand alone, and over all of them."""
    count = len(case.arrays)
    alone = [tuple(i == j for j in range(count)) for i in range(count)]
    return alone if count == 1 else [*alone, (True,) * count]


def operands(case: Example, batched: tuple[bool, ...]) -> list[np.ndarray]:
    return [variants(case, i) if b else array for i, (array, b) in enumerate(zip(case.arrays, batched))]


def mapped(case: Example, inputs: list[Node], batched: tuple[bool, ...]) -> list[Node]:
    """The results of a case for all examples."""
    batching = Batching(SIZE)
    given = [batching.example(x) if b else x for x, b in zip(inputs, batched, strict=True)]
    outputs = list(results(case.node(*given)))
    made = batching.nodes(outputs)
    return [in_front(m, SIZE, m.ndim > y.ndim) for m, y in zip(made, outputs, strict=True)]


def one_by_one(case: Example, arrays: list[np.ndarray], batched: tuple[bool, ...]) -> list[np.ndarray]:
    """The results by the reference, example after example."""
    found = []
    for i in range(SIZE):
        row = tuple(array[i] if b else array for array, b in zip(arrays, batched, strict=True))
        value = Example(case.op, row, case.attributes, case.result).expected()
        found.append(value if isinstance(value, tuple) else (value,))
    return [np.stack(values) for values in zip(*found, strict=True)]


def by_reference(nodes: list[Node]) -> list[np.ndarray]:
    given = [node for node in ordered(nodes) if node.op.leaf and node.op.reference is None]
    return compute(nodes, {node: leaf_array(node.type, leaf_value(node)) for node in given})


def dtype_of(op: Op) -> dtypes.DType:
    """A dtype that the record takes, the default one if it can be."""
    for dtype in (*ONLY.get(op.name, ()), dtypes.float32, dtypes.int64, dtypes.bool, dtypes.complex64):
        if examples(op, dtype):
            return dtype
    raise AssertionError(f"{op.name} takes no dtype")


@pytest.mark.parametrize("tier", ["reference", "native"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_examples_at_once_are_as_one_after_the_other(family: str, tier: str, monkeypatch):
    cases, nodes, wanted = [], [], []
    for op in BATCHED:
        if op_examples.family(op) != family:
            continue
        for case in examples(op, dtype_of(op)):
            for batched in choices(case):
                arrays = operands(case, batched)
                made = mapped(case, [leaf(array) for array in arrays], batched)
                nodes += made
                wanted += one_by_one(case, arrays, batched)
                cases += [(case, batched)] * len(made)
    if not nodes:
        pytest.skip("no record of the family has operands")
    found = compiled(nodes, monkeypatch) if tier == "native" else by_reference(nodes)
    wrong = []
    for (case, batched), value, expected in zip(cases, found, wanted, strict=True):
        message = difference(case, value, expected)
        if message:
            wrong.append(f"{batched}: {message}")
    assert not wrong, f"{len(wrong)} of {len(cases)} differ:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("family", sorted({op_examples.family(op) for op in DIFFERENTIABLE}))
def test_gradients_of_all_at_once_and_all_gradients_at_once(family: str):
    """Against the gradients of one example after the other: to what is the same for all go their sums."""
    generator = np.random.default_rng(0)
    for op in DIFFERENTIABLE:
        if op_examples.family(op) != family or op not in BATCHED:
            continue
        for case, by in generic(op, dtypes.float64)[:3]:
            if isinstance(case.node(*map(leaf, case.arrays)).type, Types):
                continue
            for batched in choices(case):
                arrays = operands(case, batched)
                inputs = [leaf(array) for array in arrays]
                weights = generator.normal(size=(SIZE, *case.node(*map(leaf, case.arrays)).shape))
                rows = []
                for i in range(SIZE):
                    row = [leaf(a[i] if b else a) for a, b in zip(arrays, batched, strict=True)]
                    xs = [row[p] for p in by]
                    rows.append(gradients([case.node(*row)], xs, [leaf(weights[i])], unconnected="zero"))
                (whole,) = mapped(case, inputs, batched)
                of_all = gradients([whole], [inputs[p] for p in by], [leaf(weights)], unconnected="zero")
                all_of = gradients_at_once(case, inputs, batched, by, leaf(weights))
                flat = [*of_all, *all_of, *[g for row in rows for g in row]]
                values = by_reference(flat)
                count = len(by)
                for k, p in enumerate(by):
                    singles = np.stack([values[(2 + i) * count + k] for i in range(SIZE)])
                    expected = singles if batched[p] else singles.sum(axis=0)
                    np.testing.assert_allclose(
                        values[k], expected, rtol=1e-9, atol=1e-9, err_msg=f"{case} {batched} by {p}"
                    )
                    np.testing.assert_allclose(
                        values[count + k], singles, rtol=1e-9, atol=1e-9, err_msg=f"{case} {batched} by {p}"
                    )


def gradients_at_once(
    case: Example, inputs: list[Node], batched: tuple[bool, ...], by: list[int], weights: Node
) -> list[Node]:
    """The gradients of every example by its operands, those that are the same for all too."""
    batching = Batching(SIZE)
    given = [batching.example(x) if b else x for x, b in zip(inputs, batched, strict=True)]
    y = case.node(*given)
    found = gradients([y], [given[p] for p in by], [batching.example(weights)], unconnected="zero")
    made = batching.nodes(found)
    return [in_front(m, SIZE, m.ndim > g.ndim) for m, g in zip(made, found, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_map_in_a_map(family: str):
    """The outer one over the last operand, the inner one over the first, or both over all."""
    wrong = []
    for op in BATCHED:
        for case in examples(op, dtype_of(op))[:2] if op_examples.family(op) == family else ():
            count = len(case.arrays)
            ends = (tuple(i == count - 1 for i in range(count)), tuple(i == 0 for i in range(count)))
            for outer, inner in (ends, ((True,) * count,) * 2):
                if not any(outer) or not any(inner):
                    continue
                rows = [Example(op, tuple(row), case.attributes, case.result) for row in _rows(case, outer)]
                arrays = [
                    np.stack([row.arrays[i] for row in rows]) if o else array
                    for i, (array, o) in enumerate(zip(case.arrays, outer, strict=True))
                ]
                arrays = [
                    np.stack([another(case, array, k) for k in range(SIZE)], axis=int(o)) if b else array
                    for array, o, b in zip(arrays, outer, inner, strict=True)
                ]
                wrong += _nested_differences(case, arrays, outer, inner)
    assert not wrong, "\n".join(wrong[:20])


def _rows(case: Example, batched: tuple[bool, ...]) -> list[list[np.ndarray]]:
    """The operands of every example."""
    arrays = operands(case, batched)
    return [[a[i] if b else a for a, b in zip(arrays, batched, strict=True)] for i in range(SIZE)]


def _nested_differences(
    case: Example, arrays: list[np.ndarray], outer: tuple[bool, ...], inner: tuple[bool, ...]
) -> list[str]:
    inputs = [leaf(array) for array in arrays]
    mapping = Batching(SIZE)
    given = [mapping.example(x) if b else x for x, b in zip(inputs, outer, strict=True)]
    outputs = mapped(case, given, inner)
    made = [in_front(m, SIZE, m.ndim > y.ndim) for m, y in zip(mapping.nodes(outputs), outputs, strict=True)]
    expected = [
        one_by_one(case, [a[i] if b else a for a, b in zip(arrays, outer, strict=True)], inner)
        for i in range(SIZE)
    ]
    wanted = [np.stack(values) for values in zip(*expected, strict=True)]
    messages = [difference(case, value, w) for value, w in zip(by_reference(made), wanted, strict=True)]
    return [f"{outer} {inner}: {message}" for message in messages if message]


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_examples_as_a_run_says(family: str):
    """Rules must not need the number of examples; only an op without one does."""
    wrong = []
    for op in BATCHED:
        for case in examples(op, dtype_of(op))[:3] if op_examples.family(op) == family else ():
            for batched in choices(case):
                arrays = operands(case, batched)
                size = Dimension(["examples"])
                types = [
                    Type((size, *a.shape[1:]) if b else a.shape, dtypes.as_dtype(a.dtype))
                    for a, b in zip(arrays, batched, strict=True)
                ]
                leaves = [new(GIVEN, (), (), type) for type in types]
                mapping = Batching(size)
                given = [mapping.example(x) if b else x for x, b in zip(leaves, batched, strict=True)]
                outputs = list(results(case.node(*given)))
                try:
                    mapped_nodes = mapping.nodes(outputs)
                except ShapeError as error:
                    assert op.batch is None or op.name in PARTIAL
                    assert f"{op.name} has no batching rule" in str(error)
                    continue
                made = [
                    in_front(m, size, m.ndim > y.ndim) for m, y in zip(mapped_nodes, outputs, strict=True)
                ]
                values = dict(zip(leaves, map(leaf, arrays), strict=True))
                found = by_reference(with_sizes(made, {"examples": SIZE}, values))
                wanted = one_by_one(case, arrays, batched)
                messages = [difference(case, v, w) for v, w in zip(found, wanted, strict=True)]
                wrong += [f"{batched}: {message}" for message in messages if message]
    assert not wrong, "\n".join(wrong[:20])
