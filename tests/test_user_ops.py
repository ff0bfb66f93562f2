"""Ops that programs add: in every style, with kernels, checked; and what one of Treadle's own takes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest

import treadle as td
from treadle import config, errors, generate
from treadle.array import Array
from treadle.ops import elementwise
from treadle.ops.record import OPS, PUBLIC
from treadle.user_ops import UserOp

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture(autouse=True)
def compiled_always(monkeypatch):
    """Ops of a test are gone after it, and no graph is too small to compile."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    before = dict(OPS)
    with config.configured(check=True):
        yield
    OPS.clear()
    OPS.update(before)


def gated() -> UserOp:
    @td.op("gated", elementwise=True, vjp=lambda g, y, x, t, *, scale: (g * td.tanh(t) * scale, None))
    def gated(x, t, *, scale=1.0):
        """x through a gate."""
        return x * np.tanh(t) * scale

    return gated


def differences() -> UserOp:
    def vjp(g, y, x, *, step):
        zeros = td.zeros((*x.shape[:-1], step))
        return td.concat([zeros, g], axis=-1) - td.concat([g, zeros], axis=-1)

    @td.op("differences", infer=lambda x, *, step: ((*x.shape[:-1], x.shape[-1] - step), x.dtype), vjp=vjp)
    def differences(x, *, step=1):
        return x[..., step:] - x[..., :-step]

    return differences


# -- every style


@pytest.mark.parametrize("how", ["reference", "expression"])
def test_an_elementwise_op_in_every_style(how):
    op = gated()
    if how == "expression":
        assert op.kernel("cpu", expression="x * tanh(t) * scale") is op
    expected = X * np.tanh(X[0]) * 2
    x, t = td.asarray(X), td.asarray(X[0])
    np.testing.assert_allclose(op(x, t, scale=2.0).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        td.compile(lambda x, t: op(x, t, scale=2.0))(x, t).numpy(), expected, rtol=1e-5
    )
    p = td.placeholder(("n", 6))
    np.testing.assert_allclose(td.function([p], op(p, t, scale=2.0))(X).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(td.vmap(lambda row: op(row, t, scale=2.0))(x).numpy(), expected, rtol=1e-5)
    with td.debug():
        np.testing.assert_allclose(op(x, t, scale=2.0).numpy(), expected, rtol=1e-5)
    slope = td.gradients(td.sum(op(x, t, scale=2.0)), x)
    np.testing.assert_allclose(slope.numpy(), np.broadcast_to(2 * np.tanh(X[0]), X.shape), rtol=1e-5)


def test_a_general_op_in_every_style():
    op = differences()
    x = td.asarray(X)
    np.testing.assert_array_equal(op(x * 2, step=2).numpy(), X[:, 2:] * 2 - X[:, :-2] * 2)
    slope = td.gradients(td.sum(op(x) ** 2), x)
    expected = np.zeros_like(X)
    expected[:, 1:] += 2 * np.diff(X)
    expected[:, :-1] -= 2 * np.diff(X)
    np.testing.assert_allclose(slope.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        td.compile(lambda x: td.gradients(td.sum(op(x) ** 2), x))(x).numpy(), expected, atol=1e-6
    )
    np.testing.assert_array_equal(td.vmap(op)(x).numpy(), np.diff(X))


def test_several_results_and_variable_numbers_of_operands():
    @td.op(
        "extent",
        infer=lambda x: [(x.shape[:-1], x.dtype), (x.shape[:-1], "int64")],
        vjp=lambda g, y, x: None if g[0] is None else td.ones(x.shape) * td.expand_dims(g[0], axis=-1),
    )
    def extent(x):
        return x.max(-1), x.argmax(-1)

    top, place = extent(td.asarray(X))
    assert place.dtype is td.int64
    np.testing.assert_array_equal(top.numpy(), X.max(-1))
    assert td.gradients(td.sum(extent(x := td.asarray(X))[0]), x).tolist() == np.ones_like(X).tolist()

    @td.op("total", infer=lambda *xs: xs[0])
    def total(*xs):
        return sum(xs)

    assert total(td.ones(2), td.ones(2), td.ones(2)).tolist() == [3.0, 3.0]


def test_it_travels_and_is_asked_for_by_name(tmp_path):
    op = gated()
    td.save(tmp_path / "g", lambda x: op(x, x, scale=3.0), td.placeholder(("n",)))
    np.testing.assert_allclose(td.load(tmp_path / "g")(X[0]).numpy(), X[0] * np.tanh(X[0]) * 3, rtol=1e-5)
    del OPS["gated"]
    with pytest.raises(
        errors.FormatError, match="there is no op 'gated': if it is one of yours, import the module"
    ):
        td.load(tmp_path / "g")


# -- kernels


def test_an_expression_joins_the_loops_around_it():
    op = gated().kernel("cpu", expression="x * tanh(t) * scale")
    x = td.asarray(X)
    text = td.explain(td.sum(td.exp(op(x, x, scale=2.0)) + 1.0))
    assert "reference on the host" not in text
    assert text.count("tasks,") == 1


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32"])
def test_an_expression_takes_every_dtype(dtype):
    @td.op("blend", elementwise=True)
    def blend(x, y):
        return np.where(x > y, x * 2 + 1, -y)

    blend.kernel("cpu", expression="where(x > y, x * 2 + 1, -y)")
    x, y = td.asarray(np.arange(8), dtype=dtype), td.asarray(np.arange(8)[::-1].copy(), dtype=dtype)
    found = blend(x, y)
    assert found.dtype == td.asarray(0, dtype=dtype).dtype
    expected = np.where(np.arange(8) > np.arange(8)[::-1], np.arange(8) * 2 + 1, -np.arange(8)[::-1])
    np.testing.assert_array_equal(found.numpy().astype(float), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x +", "does not parse at column"),
        ("z * x", "column 1: the name 'z' is neither an operand nor an attribute"),
        ("x + sum(x)", "column 5: there is no elementwise function 'sum'"),
        ("x.shape", "only operators"),
        ("__import__('os').system('true')", "only operators|no elementwise function"),
        ("x if t else t", "only operators"),
        ("(lambda: x)()", "only operators"),
        ("[x for x in t]", "only operators"),
        ("0 < x < 1", "only operators"),
        ("x * 'a'", "only operators"),
        ("tanh(x, axis=t)", "only operators"),
    ],
)
def test_what_is_no_expression(text, message):
    with pytest.raises(errors.ArgumentError, match=message):
        gated().kernel("cpu", expression=text)


SCALED = """
define void @kernel(ptr %operands, i64 %first, i64 %last, ptr %scratch) {{
entry:
  %in = load ptr, ptr %operands
  %slot = getelementptr ptr, ptr %operands, i64 1
  %out = load ptr, ptr %slot
  br label %head
head:
  %i = phi i64 [ %first, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %body, label %end
body:
  %from = getelementptr float, ptr %in, i64 %i
  %x = load float, ptr %from
  %y = fmul float %x, {factor:e}
  %to = getelementptr float, ptr %out, i64 %i
  store float %y, ptr %to
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}}
"""


def scaled() -> UserOp:
    @td.op("scaled", infer=lambda x, *, factor: x)
    def scaled(x, *, factor=2.0):
        return x * np.float32(factor)

    return scaled.kernel(
        "cpu",
        llvm_ir=lambda x, *, factor: SCALED.format(factor=factor),
        tasks=lambda x, *, factor: int(np.prod(x.shape)),
    )


def test_ir_is_a_kernel_like_any_other():
    op = scaled()
    x = td.asarray(X)
    y = td.exp(op(td.permute_dims(x, (1, 0)), factor=0.5)) + 1.0
    text = td.explain(y)
    assert "reference on the host" not in text and "scaled: 24 tasks" in text
    np.testing.assert_allclose(y.numpy(), np.exp(X.T * 0.5) + 1, rtol=1e-5)
    assert op(td.zeros((0, 3))).shape == (0, 3)


BODY = "{ ret void }"
HEAD = "define void @kernel(ptr %a, i64 %b, i64 %c, ptr %d)"


@pytest.mark.parametrize(
    ("ir", "message"),
    [
        ("define void @kernel(", r"does not parse: (?s:.*)1:\d+"),
        (f"{HEAD} {{\n  %x = add i32 1, %y\n  ret void\n}}", r"does not parse: (?s:.*)2:\d+"),
        (f"define void @other() {BODY}", "defines no function @kernel; its functions are: other"),
        ("", "defines no function @kernel; its functions are: none"),
        (f"define void @kernel(ptr %a) {BODY}", r"@kernel is void \(ptr\); expected void"),
        (f"declare void @free(ptr)\n{HEAD} {{\n call void @free(ptr %a)\n ret void\n}}", "calls free"),
        (f"@environ = external global ptr\n{HEAD} {BODY}", "calls environ"),
    ],
)
def test_ir_that_is_no_kernel(ir, message):
    with pytest.raises(errors.ArgumentError, match=message):
        differences().kernel("cpu", llvm_ir=ir)


# -- what is refused


def test_two_ops_of_one_name():
    first = gated()
    with pytest.raises(errors.ArgumentError, match="an op 'gated' already: pass replace=True"):
        gated()
    second = td.op("gated", lambda x: x + 1, elementwise=True, replace=True)
    assert OPS["gated"] is second.record
    assert first(td.ones(2), td.ones(2)).shape == second(td.ones(2)).shape
    with pytest.raises(errors.ArgumentError, match="one of Treadle's own"):
        td.op("add", lambda x: x, elementwise=True, replace=True)


def test_wrong_records_and_calls():
    with pytest.raises(errors.ArgumentError, match="a name is an identifier"):
        td.op("my op", lambda x: x, elementwise=True)
    with pytest.raises(errors.ArgumentError, match="needs infer="):
        td.op("bare", lambda x: x)
    op = gated()
    with pytest.raises(errors.ArgumentError, match=r"takes 2 arrays \(x, t\), got 1"):
        op(td.ones(2))
    with pytest.raises(errors.ArgumentError, match="no attribute 'sale'; there are: scale"):
        op(td.ones(2), td.ones(2), sale=1)
    with pytest.raises(errors.ShapeError, match="x of shape"):
        op(td.ones(2), td.ones(3))
    with pytest.raises(errors.DTypeError, match="attribute scale is a dict"):
        op(td.ones(2), td.ones(2), scale={})
    with pytest.raises(errors.DeviceError, match="kernels can be given for cpu"):
        op.kernel("tpu", expression="x")
    with pytest.raises(errors.ArgumentError, match="either an expression or llvm_ir"):
        op.kernel("cpu")
    with pytest.raises(errors.ArgumentError, match="for elementwise ops"):
        differences().kernel("cpu", expression="x")
    with pytest.raises(errors.GradientError, match="it was added without vjp="):
        td.gradients(td.op("plain_copy", lambda x: x, elementwise=True)(x := td.ones(2)).sum(), x)


def test_shapes_and_gradients_that_are_not_as_promised():
    wrong = td.op("wrong", lambda x: x[1:], infer=lambda x: x, vjp=lambda g, y, x: g[1:])
    with pytest.raises(
        errors.ShapeError, match=r"\[wrong\] its reference gives .* \(2,\), infer says \(3,\)"
    ):
        wrong(td.ones(3)).numpy()
    with pytest.raises(errors.GradientError, match=r"cotangent of shape \(2,\) for input 0 of shape \(3,\)"):
        td.gradients(wrong(x := td.ones(3)).sum(), x)
    two = td.op("two", lambda x: x, infer=lambda x: x, vjp=lambda g, y, x: (g, g))
    with pytest.raises(errors.GradientError, match="2 cotangents for 1 inputs"):
        td.gradients(two(x := td.ones(3)).sum(), x)
    with pytest.raises(errors.ShapeError, match="infer gives 3; expected"):
        td.op("three", lambda x: x, infer=lambda x: 3)(td.ones(2))
    changes = td.op("changes", lambda x: np.add(x, 1, out=x), infer=lambda x: x)
    for graph in (changes(td.ones(3)), changes(td.ones(3) + 1.0) * 2.0):
        with pytest.raises(ValueError, match="read-only"):
            graph.numpy()


def test_the_disk_keeps_no_program_of_it():
    """A program may hold another op of that name tomorrow."""
    script = """
import numpy as np, sys, treadle as td
from treadle import config
config.SMALL_NODES = 0
op = td.op("shifted", lambda x: x + float(sys.argv[1]), elementwise=True)
op.kernel("cpu", expression="x + " + sys.argv[1])
print(op(td.ones(3)).tolist())
"""
    for number in ("1.0", "2.0"):
        ran = subprocess.run(
            [sys.executable, "-c", script, number], capture_output=True, text=True, check=True
        )
        assert ran.stdout.split() == [f"[{1 + float(number)},"] + [
            f"{1 + float(number)},",
            f"{1 + float(number)}]",
        ]


# -- one of Treadle's own


def test_a_record_is_all_that_a_unary_op_needs():
    def record():
        elementwise.unary(
            "doubled",
            "Twice x.",
            lambda x: x + x,
            lambda g, y, x: elementwise.add(g, g),
            accepts="numeric",
        )

    assert len(inspect.getsource(record).splitlines()) <= 12
    record()
    try:
        function = PUBLIC["doubled"]
        text = next(text for path, text in generate.files().items() if path.name == "namespace.py")
        assert re.search(r"^def doubled\(x: ArrayLike, /\) -> Array:", text, re.MULTILINE)
        assert '"doubled",' in text and "Twice x." in text
        x = td.asarray([1.0, 2.0])
        assert td.gradients(Array(function(x.node)).sum(), x).tolist() == [2.0, 2.0]
        assert Array(function(x.node)).tolist() == [2.0, 4.0]
        from op_examples import examples

        assert examples(OPS["doubled"], td.float32)
    finally:
        del PUBLIC["doubled"]
