"""Every op record, found by itself: values in all dtypes and instruction sets, and gradients to second order.

The reference of a record is its meaning. Many cases are outputs of one program, so that a family and
dtype is one compilation.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import numeric
import numpy as np
import op_examples
import pytest
from op_examples import OPS, REAL, Example, examples

from treadle import config, dtypes
from treadle.autodiff import gradients
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.target import host_isas
from treadle.devices.host import from_array
from treadle.devices.reference import compute, leaf_array
from treadle.dtypes import DType
from treadle.errors import GradientError
from treadle.evaluate import data, evaluate, leaf_value, planned
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Op, Type, make
from treadle.ops import elementwise
from treadle.ops.elementwise import add

TESTED_APART = {"result", "cond", "loop"}
"""Records that work on graphs, or on several results: test_several_results.py and test_control_flow.py."""
RECORDS = [op for op in list(OPS.values()) if not op.leaf and op.name not in TESTED_APART]
FAMILIES = sorted({op_examples.family(op) for op in RECORDS})
HOST_ONLY = {"sort", "argsort", "rfft"}
"""Records that run their reference inside a compiled program of any real dtype."""

EPS = {
    "float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52,
    "complex64": 2**-23, "complex128": 2**-52,
}  # fmt: skip
TINY = {
    "float16": 2**-24, "bfloat16": 2**-126, "float32": 2**-126, "float64": 2**-1022,
    "complex64": 2**-100, "complex128": 2**-900,
}  # fmt: skip
"""What is lost near zero: results below the normal range need not be exact."""


def leaf(array: np.ndarray) -> Node:
    type = Type(array.shape, dtypes.as_dtype(array.dtype))
    return data(from_array(array, type), type)


def cases_of(family: str, dtype: DType) -> list[Example]:
    found = [example for op in RECORDS if op_examples.family(op) == family for example in examples(op, dtype)]
    if not found:
        pytest.skip(f"no op of {family} takes {dtype}")
    return found


def compiled(nodes: Sequence[Node], monkeypatch, **options) -> list[np.ndarray]:
    """The values by one program of the cpu, however small; its passes are verified."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    with config.configured(check=True, debug=False, **options):
        evaluate(nodes)
    return [node.buffer.view(node.type) for node in nodes]


def difference(case: Example, found: np.ndarray, expected: np.ndarray) -> str:
    """What is wrong with a value; nothing if nothing is."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return f"{case}: {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
    kind = dtypes.as_dtype(expected.dtype).kind
    if kind not in ("float", "complex"):
        wrong = found != expected
    else:
        eps = EPS[expected.dtype.name]
        wide = np.complex128 if kind == "complex" else np.float64
        f, e = found.astype(wide), expected.astype(wide)
        with np.errstate(all="ignore"):
            # Sums in another order are off by what their largest terms round to.
            scale = np.abs(e) if case.op.elementwise else np.max(np.abs(e), initial=1.0, where=np.isfinite(e))
            near = (
                np.abs(f - e)
                <= 8 * eps * (1 if case.op.elementwise else 4) * scale + TINY[expected.dtype.name]
            )
        wrong = ~(near | (f == e) | (np.isnan(f) & np.isnan(e)))
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    operands = [a[at] for a in case.arrays if a.shape == expected.shape]
    return (
        f"{case}: {int(wrong.sum())} wrong, at {at} of {operands}: {found[at]!r}, expected {expected[at]!r}"
    )


def agree(cases: Sequence[Example], found: Sequence[np.ndarray]) -> None:
    wrong = [difference(case, value, case.expected()) for case, value in zip(cases, found, strict=True)]
    wrong = [line for line in wrong if line]
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ:\n" + "\n".join(wrong)


def test_an_elementwise_op_is_one_short_record():
    tree = ast.parse(Path(elementwise.__file__).read_text("utf-8"))
    makers = ("unary", "binary")
    lengths = {
        call.args[0].value: (call.end_lineno or 0) - call.lineno + 1
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in makers
        if isinstance(call.args[0], ast.Constant)
    }
    assert len(lengths) > 60
    assert {name: lines for name, lines in lengths.items() if lines > 12} == {}


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: op.name)
def test_every_record_has_examples_and_takes_them(op: Op):
    accepted = [dtype for dtype in dtypes.ALL if examples(op, dtype)]
    assert accepted, f"{op.name} refuses its examples in every dtype"
    for dtype in accepted:
        for case in examples(op, dtype):
            case.expected()


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_tier_computes_it(family: str, dtype: DType):
    cases = cases_of(family, dtype)
    nodes = [case.node(*map(leaf, case.arrays)) for case in cases]
    found = compute(nodes, {x: x.buffer.view(x.type) for x in ordered(nodes) if x.buffer is not None})
    agree(cases, found)
    assert [node.dtype for node in nodes] == [case.expected().dtype for case in cases]


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_native_code_computes_it(family: str, dtype: DType, monkeypatch):
    cases = cases_of(family, dtype)
    agree(cases, compiled([case.node(*map(leaf, case.arrays)) for case in cases], monkeypatch))


@pytest.mark.every_device
@pytest.mark.parametrize("family", FAMILIES)
def test_every_device_computes_it(family: str, on_device: str, monkeypatch):
    """In float32; `--device NAME` and `--all-devices` run the rest."""
    cases = cases_of(family, dtypes.float32)
    nodes = [case.node(*map(leaf, case.arrays)) for case in cases]
    agree(cases, compiled(nodes, monkeypatch))
    assert {node.device for node in nodes} == {"cpu" if family == "transfer" else on_device}


@pytest.mark.parametrize("isa", [isa.name for isa in host_isas()[1:]])
@pytest.mark.parametrize("family", FAMILIES)
def test_native_code_of_other_instruction_sets_computes_it(family: str, isa: str, monkeypatch):
    cases = cases_of(family, dtypes.float32)
    agree(cases, compiled([case.node(*map(leaf, case.arrays)) for case in cases], monkeypatch, isa=isa))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiled_program_computes_complex_values_too(family: str, monkeypatch):
    cases = cases_of(family, dtypes.complex64)
    agree(cases, compiled([case.node(*map(leaf, case.arrays)) for case in cases], monkeypatch))


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_only_a_few_run_their_reference_in_a_compiled_program(dtype: DType, monkeypatch):
    """docs/dtypes.md has this table."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    cases = [case for op in RECORDS for case in examples(op, dtype)]
    program = planned([case.node(*map(leaf, case.arrays)) for case in cases])
    hosted = {segment.node.op.name for segment in program.segments if isinstance(segment, HostStep)}
    assert {name for name in hosted if op_examples.family(OPS[name]) not in op_examples.MATRICES} <= HOST_ONLY


def test_what_users_add_runs_its_reference_in_a_compiled_program(monkeypatch):
    op = Op("third_difference", lambda x: Type((x.shape[0] - 3,), x.dtype), lambda x: np.diff(x, 3))
    monkeypatch.setitem(OPS, op.name, op)
    x = leaf(np.arange(19, dtype=np.float32) ** 4)
    y = add(make(op, (add(x, x),)), leaf(np.ones(16, np.float32)))
    np.testing.assert_array_equal(compiled([y], monkeypatch)[0], 2 * np.diff(np.arange(19.0) ** 4, 3) + 1)


# -- gradients


GIVEN_RULES = ("stop_gradient", "checkpoint", "custom_vjp")
"""Records whose gradient is not that of their value, or is that of what their first operand was made of."""

DIFFERENTIABLE = [op for op in RECORDS if op.vjp is not None and op.name not in GIVEN_RULES]


def generic(op: Op, dtype: DType) -> list[tuple[Example, list[int]]]:
    """Examples at points where nothing jumps, with the numbers of the operands to differentiate by."""
    found = []
    for case in examples(op, dtype):
        by = [i for i, array in enumerate(case.arrays) if array.dtype == dtype]
        if (
            case.keywords.get("dtype", dtype) is dtype
            and by
            and all(array.size and np.isfinite(array).all() for array in case.arrays)
        ):
            found.append((case, by))
    return found


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_gradients_to_second_order(op: Op):
    for case, by in generic(op, dtypes.float64):

        def function(*inputs: Node, case: Example = case, by: list[int] = by) -> Node:
            operands = [numeric.given(array) for array in case.arrays]
            for i, node in zip(by, inputs, strict=True):
                operands[i] = node
            return case.node(*operands)

        numeric.check_gradients(function, *[case.arrays[i] for i in by])


@pytest.mark.parametrize("family", sorted({op_examples.family(op) for op in DIFFERENTIABLE}))
def test_compiled_gradients(family: str, monkeypatch):
    generator = np.random.default_rng(0)
    cases, found = [], []
    for op in DIFFERENTIABLE:
        for case, by in generic(op, dtypes.float32) if op_examples.family(op) == family else ():
            inputs = list(map(leaf, case.arrays))
            y = case.node(*inputs)
            cotangent = leaf(generator.normal(size=y.shape).astype(np.float32))
            for gradient in gradients([y], [inputs[i] for i in by], [cotangent], unconnected="zero"):
                cases.append(case)
                found.append(gradient)
    given = [node for node in ordered(found) if node.op.leaf and node.op.reference is None]
    leaves = {node: leaf_array(node.type, leaf_value(node)) for node in given}
    expected = compute(found, leaves)
    wrong = [
        f"{case}: off by {np.abs(value - wanted).max()} of {np.abs(wanted).max()}"
        for case, value, wanted in zip(cases, compiled(found, monkeypatch), expected, strict=True)
        if not np.allclose(value, wanted, rtol=1e-4, atol=2e-5 * max(1.0, np.abs(wanted).max()))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("op", [op for op in RECORDS if op.vjp is None], ids=lambda op: op.name)
def test_a_record_without_a_gradient_says_why(op: Op):
    for dtype in (dtypes.float64, dtypes.int64, dtypes.bool):
        for case in examples(op, dtype)[:1]:
            operands = list(map(numeric.given, case.arrays))
            if case.expected().dtype.kind != "f" or not operands:
                continue
            with pytest.raises(GradientError, match=op.no_gradient):
                gradients([case.node(*operands)], [operands[0]])
    assert op.no_gradient or not examples(op, dtypes.float32) or op.name == "iota"
