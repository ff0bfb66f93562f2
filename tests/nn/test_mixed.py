"""Mixed precision: products in 16 bits, in native code, parameters and what is delicate in float32."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.cpu.runner import Table
from treadle.errors import ArgumentError, StateError
from treadle.graph.graph import ordered

HALVES = {"bfloat16": td.bfloat16, "float16": td.float16}
PRODUCTS = {"matmul", "conv", "conv_input_gradient", "conv_weight_gradient"}
X = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype("float32")
LABELS = np.arange(4)


def network():
    td.random.seed(1)
    return nn.Sequential(
        nn.Conv(3, 8, 3, padding=1),
        nn.BatchNorm(8),
        td.relu,
        nn.MaxPool(2),
        nn.ConvTranspose(8, 4, 2, stride=2),
        nn.GroupNorm(2, 4),
        nn.GlobalAveragePool(),
        nn.Dense(4, 6),
        nn.LayerNorm(6),
        nn.Dense(6, 4),
    )


def training(net, opt):
    @td.compile
    def step(x, y):
        loss = nn.cross_entropy(net(x), y)
        opt.step(td.gradients(opt.scaled(loss), net.parameters()))
        return loss

    return step


def in_session(net, opt):
    x, y = td.placeholder(("batch", 3, 12, 12)), td.placeholder(("batch",), dtype=td.int64)
    train, session = opt.minimize(nn.cross_entropy(net(x), y)), td.Session()
    return lambda a, b: session.run(train, {x: a, y: b})


@pytest.mark.parametrize("dtype", HALVES)
def test_a_step_is_one_table_of_native_kernels_with_16_bit_products(dtype):
    net = network()
    net.compute_dtype = dtype
    step = training(net, optim.Adam(net.parameters(), 0.01, loss_scale=optim.LossScale(128.0)))
    program = step.program(X, LABELS)
    assert isinstance(program, CpuExecutable)
    assert [type(segment) for segment in program.segments] == [Table]
    door, _ = step.door(X, LABELS)
    nodes = ordered(door.targets)
    assert {node.dtype for node in nodes if node.op.name in PRODUCTS} == {HALVES[dtype]}
    assert {node.op.name for node in nodes} >= PRODUCTS
    assert {node.dtype for node in nodes if node.op.name in ("exp", "log")} == {td.float32}
    losses = [float(step(X, LABELS)) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    assert {w.dtype for w in net.variables().values()} == {td.float32}


@pytest.mark.parametrize("dtype", HALVES)
def test_every_style_gives_nearly_the_numbers_of_float32(dtype):
    states = {}
    for style in ("float32", "eager", "compiled", "session"):
        net = network()
        net.compute_dtype = None if style == "float32" else dtype
        opt = optim.SGD(net.parameters(), 0.1, loss_scale=optim.LossScale(64.0))
        if style == "session":
            run = in_session(net, opt)
        elif style == "eager":

            def run(a, b, net=net, opt=opt):
                loss = nn.cross_entropy(net(td.asarray(a)), td.asarray(b))
                opt.scaled(loss).backward()
                opt.step()
                return loss

        else:
            run = training(net, opt)
        losses = [float(run(X, LABELS)) for _ in range(3)]
        states[style] = (losses, net.state())
    exact, *others = states.values()
    for losses, values in others:
        np.testing.assert_allclose(losses, exact[0], rtol=0.02)
        for path, value in values.items():
            np.testing.assert_allclose(value, exact[1][path], rtol=0.1, atol=0.02, err_msg=path)


def test_what_is_narrow_and_what_is_wide():
    x, w = td.ones((2, 3)), td.ones((3, 4))
    with nn.mixed():
        y = x @ w
        assert y.dtype is td.einsum("ij,jk->ik", x, w).dtype is td.bfloat16
        assert (y * 2 + 1).dtype is td.relu(y).dtype is td.max(y).dtype is td.bfloat16
        for wide in (
            td.softmax(y),
            td.exp(y),
            y.sum(),
            td.var(y),
            y**3,
            y + x @ td.ones((3, 1)) * td.ones(4),
        ):
            assert wide.dtype is td.float32
        assert (td.ones((2, 3), dtype=td.float64) @ td.ones((3, 4), dtype=td.float64)).dtype is td.float64
        assert (td.ones((2, 3), dtype=td.int32) @ td.ones((3, 4), dtype=td.int32)).dtype is td.int32
        with nn.mixed("float32"):
            assert (x @ w).dtype is td.float32
        attended = nn.attention(td.ones((1, 2, 4)), td.ones((1, 3, 4)), td.ones((1, 3, 5)), causal=True)
        assert attended.dtype is td.bfloat16
        (g,) = td.gradients(td.sum(td.exp(x @ w)), [w])  # taken inside, and as wide as w
        assert g.dtype is td.float32
        mapped = td.vmap(lambda row: td.sum(td.softmax(row @ w)))(x)
        assert mapped.dtype is td.float32 and mapped.tolist() == pytest.approx([1.0, 1.0])
        carry, _ = td.scan(lambda h, row: (td.relu(row @ w + h), None), td.zeros(4), x)
        assert carry.dtype is td.float32 and carry.tolist() == [6.0] * 4
        last = td.while_loop(lambda h: td.sum(h) < 20, lambda h: h @ td.ones((4, 4)), td.ones(4))
        assert last.dtype is td.float32
    assert (x @ w).dtype is td.float32


def test_norms_and_losses_of_16_bit_values_are_computed_in_float32():
    values = np.random.default_rng(0).normal(300.0, 1.0, (8, 4, 2, 2)).astype("float32")
    x = td.asarray(values, dtype=td.float16)
    for layer in (nn.BatchNorm(4), nn.LayerNorm((4, 2, 2)), nn.GroupNorm(2, 4), nn.LocalResponseNorm(3)):
        y = layer(x)
        assert y.dtype is td.float16
        np.testing.assert_allclose(y.numpy(), layer(td.astype(x, td.float32)).numpy(), rtol=2e-3, atol=1e-3)
    norm = nn.BatchNorm(4, dtype=td.bfloat16)
    norm(td.astype(x, td.bfloat16))
    assert norm.running_mean.dtype is td.bfloat16 and float(norm.running_mean[0]) == pytest.approx(30, 0.02)
    scores = td.asarray([[0.0, 12.0]], dtype=td.float16)
    assert nn.cross_entropy(scores, td.asarray([1])).item() == pytest.approx(6.1442e-6, rel=1e-3, abs=1e-7)
    assert nn.squared_error(scores * 100, scores).item() > 65504


def test_a_part_may_stay_in_float32():
    net = nn.Sequential(nn.Dense(3, 4), nn.Dense(4, 5), nn.Dense(5, 2))
    net.compute_dtype = "bfloat16"
    net[1].compute_dtype = "float32"
    seen = []
    for layer in net.children().values():
        forward = layer.forward
        layer.forward = lambda x, forward=forward: (seen.append((x.dtype, forward(x).dtype)), forward(x))[1]
    assert net(td.ones((1, 3))).dtype is td.float32
    assert seen == [(td.float32, td.bfloat16), (td.float32, td.float32), (td.float32, td.bfloat16)]


def test_another_dtype_is_another_trace():
    net = nn.Dense(3, 4)
    run = td.compile(lambda x: net(x))
    x = np.full((2, 3), 1 + 2.0**-10, "float32")
    exact = run(x).numpy()
    net.compute_dtype = td.bfloat16
    assert not np.array_equal(run(x).numpy(), exact)
    assert run.traces[1] == "Dense computes in bfloat16 now, in the last trace in None"
    net.compute_dtype = None
    np.testing.assert_array_equal(run(x).numpy(), exact)
    assert len(run.traces) == 2


def test_activations_take_half_the_memory():
    net = nn.Sequential(*[part for _ in range(4) for part in (nn.Dense(64, 64), td.relu)])

    def need(dtype):
        net.compute_dtype = dtype
        step = training(net, optim.SGD(net.parameters(), 0.1))
        return step.memory(np.ones((4096, 64), "float32"), np.zeros(4096, "int64"))["arena"]

    assert need("bfloat16") < 0.65 * need(None)


def test_wrong_use():
    net = nn.Dense(3, 4)
    for dtype in ("int8", "float64"):
        with pytest.raises(ArgumentError, match=f"dtype={dtype}; products are computed in bfloat16"):
            net.compute_dtype = dtype
        with pytest.raises(ArgumentError, match=f"dtype={dtype}"), nn.mixed(dtype):
            pass

    @td.compile
    def step(x):
        net.compute_dtype = "bfloat16"
        return net(x)

    with pytest.raises(StateError, match="change it outside"):
        step(td.ones((1, 3)))
