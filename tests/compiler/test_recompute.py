"""What is computed again in a backward pass: where, who reads it, and that values stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import by_references, detached, leaf, normal, run_fused

import treadle as td
from treadle import autodiff, nn, optim
from treadle.compiler import recompute
from treadle.compiler.fuse import fuse
from treadle.compiler.program import LoopCall
from treadle.compiler.simplify import simplify
from treadle.compiler.verify import verify, verify_fused
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops import elementwise as ew
from treadle.ops import reduction, window
from treadle.ops.record import reshaped

CHANNELS = 4
ARRAYS = [normal(3, 3, 6, 6), normal(CHANNELS, 3, 3, 3), normal(CHANNELS), normal(CHANNELS, CHANNELS, 3, 3)]
X, W, SCALE, V = leaf(0, 3, 3, 6, 6), leaf(1, CHANNELS, 3, 3, 3), leaf(2, CHANNELS), leaf(3, *ARRAYS[3].shape)


def library(node: Node) -> bool:
    return node.op.name in ("conv", "conv_input_gradient", "conv_weight_gradient")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "LEAST", 100)


def changed(outputs: list[Node]) -> list[Node]:
    """The graph after the pass; its values by the references, and its program's, are those it had before."""
    given, values = detached(outputs, ARRAYS)
    graph = simplify(given)
    result = recompute.recompute(graph, library)
    verify(result, after="recompute")
    wanted = by_references(graph, values)
    fused = fuse(result, library)
    verify_fused(fused, after="fuse")
    for found in (by_references(result, values), run_fused(fused, values)):
        for array, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-3)
    return result


def copies(graph: list[Node]) -> int:
    return sum(node.op.name == "barrier" for node in ordered(graph))


def normalized(x: Node) -> Node:
    mean = reduction.mean(x, axis=(0, 2, 3), keepdims=True)
    variance = reduction.var(x, axis=(0, 2, 3), keepdims=True)
    unit = ew.divide(ew.subtract(x, mean), ew.sqrt(ew.add(variance, 1e-5)))
    return ew.multiply(unit, reshaped(SCALE, (CHANNELS, 1, 1)))


def trained(y: Node) -> list[Node]:
    loss = reduction.sum(ew.square(y))
    return [loss, *autodiff.gradients([loss], [W, SCALE, V])]


def by_name(graph: list[Node], name: str) -> list[Node]:
    return [node for node in ordered(graph) if node.op.name == name]


def test_normalised_values_and_masks_are_computed_again(monkeypatch):
    monkeypatch.setattr(recompute, "LIGHT", recompute.LIGHT | {"divide"})
    y = ew.relu(normalized(window.conv(X, W, padding=1)))
    result = changed(trained(window.conv(y, V, padding=1)))
    assert copies(result) == 1
    early = by_name(result, "conv")[1].inputs[0]
    late = next(node for node in by_name(result, "conv_weight_gradient") if node.shape == V.shape).inputs[0]
    assert early.op.name == late.op.name == "relu" and early is not late
    masks = by_name(result, "greater")
    assert len(masks) == 1 and masks[0].inputs[0].op.name != "relu"


def test_a_copy_is_stored_beside_the_gradient_that_reads_the_same(monkeypatch):
    monkeypatch.setattr(recompute, "LIGHT", recompute.LIGHT | {"divide"})
    y = ew.relu(normalized(window.conv(X, W, padding=1)))
    given, _ = detached(trained(window.conv(y, V, padding=1)), ARRAYS)
    fused = fuse(recompute.recompute(simplify(given), library), library)
    calls = [call for call in fused.calls if not isinstance(call, LoopCall)]
    weights = next(call for call in calls if call.node.shape == V.shape)
    inputs = next(call for call in calls if call.node.op.name == "conv_input_gradient")
    writer = next(call for call in fused.calls if weights.inputs[0].buffer in call.writes)
    assert isinstance(writer, LoopCall) and inputs.outputs[0] in writer.reads


def test_what_else_would_have_to_be_kept_is_not_computed_again():
    y = ew.relu(ew.add(window.conv(X, W, padding=1), reshaped(SCALE, (CHANNELS, 1, 1))))
    assert copies(changed(trained(window.conv(y, V, padding=1)))) == 0


def test_outputs_small_values_and_forward_passes_stay(monkeypatch):
    monkeypatch.setattr(recompute, "LIGHT", recompute.LIGHT | {"divide"})
    y = ew.relu(normalized(window.conv(X, W, padding=1)))
    z = window.conv(y, V, padding=1)
    assert copies(changed([z])) == 0
    assert copies(changed([*trained(z), y])) == 0
    monkeypatch.setattr(recompute, "LEAST", 1000)
    assert copies(changed(trained(z))) == 0


def test_a_shortcut_that_is_added_late_is_a_copy(monkeypatch):
    monkeypatch.setattr(recompute, "LIGHT", recompute.LIGHT | {"divide"})
    y = normalized(window.conv(X, W, padding=1))
    result = changed(trained(ew.add(y, window.conv(y, V, padding=1))))
    assert copies(result) == 1


def arena(layers: int) -> int:
    """Of a training step."""
    net = nn.Sequential(
        *[
            layer
            for _ in range(layers)
            for layer in (nn.Conv(16, 16, 3, padding=1, bias=False), nn.BatchNorm(16), td.relu)
        ]
    )
    rule = optim.SGD(net.parameters(), 0.1)

    @td.compile
    def step(x: td.Array) -> td.Array:
        loss = td.sum(td.square(net(x)))
        rule.step(td.gradients(loss, rule.parameters))
        return loss

    return step.memory(td.zeros((2, 16, 48, 48)))["arena"]


def test_a_layer_keeps_one_value_for_its_backward_pass():
    one = 4 * 2 * 16 * 48 * 48
    assert arena(8) - arena(4) < 4 * 1.2 * one


def test_results_of_loops_are_no_repetitions():
    """A recurrent net's step, whose values come out of a loop as one of its many results."""
    net, x = nn.LSTM(3, 5), td.asarray(np.ones((4, 6, 3), "float32"))
    step = td.compile(lambda x: td.gradients(td.mean(td.square(net(x)[0] - 1)), net.parameters()))
    assert all(np.isfinite(np.asarray(g)).all() for g in step(x).values())
