"""The layout pass: values against the references, and what is computed in which order of dimensions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from graphs import by_references, detached, leaf, normal

from treadle import autodiff, config
from treadle.compiler.layout import arrange, divided
from treadle.compiler.simplify import simplify
from treadle.compiler.verify import verify
from treadle.devices.cpu.section import Section
from treadle.devices.cpu.target import host_isas
from treadle.devices.host import from_array
from treadle.evaluate import data, evaluate
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, Type
from treadle.ops import elementwise as ew
from treadle.ops import movement, pooling, reduction, window
from treadle.ops.record import broadcast, reshaped


def always(node: Node) -> bool:
    return True


def names(outputs) -> list[str]:
    return [node.op.name for node in ordered(outputs)]


def arranged(outputs, arrays):
    """The graph after the pass; its values, by the references, are those it had before."""
    given, values = detached(outputs, arrays)
    graph = simplify(given)
    result = arrange(graph, always)
    verify(result, after="layout")
    for found, expected in zip(by_references(result, values), by_references(graph, values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
    return result


def normalized(x: Node, scale: Node) -> Node:
    mean = reduction.mean(x, axis=(0, 2, 3), keepdims=True)
    variance = reduction.var(x, axis=(0, 2, 3), keepdims=True)
    unit = ew.divide(ew.subtract(x, mean), ew.sqrt(ew.add(variance, 1e-5)))
    return ew.relu(ew.multiply(unit, reshaped(scale, (5, 1, 1))))


def test_a_network_is_channels_last_between_its_image_and_its_last_pooling():
    x, w, scale, v = leaf(0, 2, 3, 8, 8), leaf(1, 5, 3, 3, 3), leaf(2, 5), leaf(3, 5, 5, 3, 3)
    h = normalized(window.conv(x, w, padding=1), scale)
    h = pooling.max_pool(ew.add(h, window.conv(h, v, padding=1)), 2)
    y = reduction.sum(ew.square(reduction.mean(h, axis=(2, 3))))
    arrays = [normal(2, 3, 8, 8), normal(5, 3, 3, 3), normal(5), normal(5, 5, 3, 3)]
    result = arranged([y, *autodiff.gradients([y], [w, scale, v])], arrays)
    full = [n for n in ordered(result) if n.op.elementwise and n.ndim == 4 and set(n.shape) == {2, 5, 8}]
    assert full and {node.shape for node in full} == {(2, 8, 8, 5)}
    assert not {"conv", "conv_input_gradient", "max_pool", "max_pool_gradient"} & set(names(result))


def test_what_asks_for_channels_last_itself_is_not_permuted():
    x, w, bias = leaf(0, 2, 8, 8, 3), leaf(1, 5, 3, 3, 3), leaf(2, 5)
    y = movement.moveaxis(window.conv(movement.moveaxis(x, -1, 1), w), 1, -1)
    y = ew.relu(ew.add(y, bias))
    result = arranged([y], [normal(2, 8, 8, 3), normal(5, 3, 3, 3), normal(5)])
    assert names(result).count("permute_dims") == 1  # of x, which the convolution reads as it is


def test_a_pooling_of_what_is_not_channels_last_stays():
    x = leaf(0, 2, 3, 8, 8)
    y = window.conv(pooling.max_pool(x, 2), leaf(1, 5, 3, 3, 3))
    found = names(arranged([y], [normal(2, 3, 8, 8), normal(5, 3, 3, 3)]))
    assert "max_pool" in found and "conv_channels_last" in found


def test_convolutions_of_single_pixels_are_products():
    x, v, w = leaf(0, 2, 3, 6, 5), leaf(1, 4, 3, 3, 3), leaf(2, 7, 4, 1, 1)
    y = window.conv(window.conv(x, v, padding=1), w)
    total = reduction.sum(ew.square(y))
    arrays = [normal(2, 3, 6, 5), normal(4, 3, 3, 3), normal(7, 4, 1, 1)]
    found = names(arranged([total, *autodiff.gradients([total], [v, w])], arrays))
    assert found.count("matmul") == 2  # forward and back to its input; the weight is too small
    assert found.count("conv_channels_last") == 1
    x, v, w = leaf(0, 1, 2, 3, 3), leaf(1, 300, 2, 1, 2), leaf(2, 500, 300, 1, 1)
    y = window.conv(window.conv(x, v), w)
    (gradient,) = autodiff.gradients([reduction.sum(ew.square(y))], [w])
    arrays = [normal(1, 2, 3, 3), normal(300, 2, 1, 2), normal(500, 300, 1, 1)]
    assert "conv_weight_gradient" not in names(arranged([gradient], arrays))
    strided = window.conv(window.conv(x, v), w, stride=2)
    assert "matmul" not in names(arranged([strided], arrays))


def test_graphs_without_convolutions_stay_as_they_are():
    y = ew.relu(movement.permute_dims(leaf(0, 2, 3), (1, 0)))
    assert arrange([y], always) == [y]


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ((2, 6, 4), (2, 3, 2, 4), [([0], [0]), ([1], [1, 2]), ([2], [3])]),
        ((2, 3, 4, 5), (2, 60), [([0], [0]), ([1, 2, 3], [1])]),
        ((7,), (1, 7, 1, 1), [([0], [0, 1]), ([], [2]), ([], [3])]),
        ((2, 5, 1, 1), (2, 5), [([0], [0]), ([1], [1]), ([2], []), ([3], [])]),
        ((6, 4), (4, 6), [([0, 1], [0, 1])]),
        ((0, 3), (3, 0), None),
        ((), (1, 1), [([], [0]), ([], [1])]),
    ],
)
def test_reshapes_are_divided(old, new, parts):
    assert divided(old, new) == parts


# -- random graphs: whatever may stand around convolutions

CHANNELS = 6


def step(x: Node, draw: random.Random, weights: list[Node]) -> Node:
    """One more layer on x, [batch, channels, height, width] of any sizes."""
    n, c, h, w = x.shape
    choice = draw.randrange(14)
    if choice == 0:
        weight = leaf(len(weights), CHANNELS, c, 3, 2)
        weights.append(weight)
        return window.conv(x, weight, padding=(1, (0, 1)), stride=draw.choice([1, 2]))
    if choice == 1 and h > 1 and w > 1:
        return pooling.max_pool(x, 2, stride=1)
    if choice == 2 and h > 1 and w > 1:
        return pooling.average_pool(x, 2, stride=2, padding=((0, 1), (0, 0)), count_include_pad=False)
    if choice == 3:
        return ew.add(x, reduction.mean(x, axis=draw.choice([(0, 2, 3), (1,), (2, 3), (3,)]), keepdims=True))
    if choice == 4:
        return movement.concat([x, ew.tanh(x)], axis=draw.choice([1, 2, 3]))
    if choice == 5:
        return movement.pad(x, ((0, 0), (1, 0), (0, 1), (1, 1)))
    if choice == 6:
        return movement.flip(x, axis=(draw.choice([1, 2]), 3))
    if choice == 7:
        return movement.take_slice(x, (0, c // 2, 0, 0), (n, c, h, w), (1, 1, 1, 1))
    if choice == 8:
        return movement.permute_dims(x, draw.choice([(0, 1, 3, 2), (0, 2, 3, 1), (1, 0, 2, 3)]))
    if choice == 9 and c % 2 == 0:
        grouped = reshaped(x, (n, 2, c // 2, h, w))
        centred = ew.subtract(grouped, reduction.mean(grouped, axis=(2, 3, 4), keepdims=True))
        return reshaped(centred, (n, c, h, w))
    if choice == 10:
        return reshaped(ew.relu(reshaped(x, (n, c * h * w))), (n, c, h, w))
    if choice == 13:
        weight = leaf(len(weights), CHANNELS, c, 1, 1)
        weights.append(weight)
        return window.conv(x, weight)
    if choice == 11:
        return ew.where(ew.greater(x, 0.0), x, broadcast(reduction.max(x), x.shape))
    return ew.multiply(x, broadcast(reshaped(reduction.sum(x, axis=(0, 2, 3)), (c, 1, 1)), x.shape))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_and_their_gradients(seed, monkeypatch):
    draw = random.Random(seed)
    weights = [leaf(0, 2, 4, 5, 6)]
    y = weights[0]
    for _ in range(9):
        y = ew.tanh(step(y, draw, weights))
    total = reduction.sum(ew.square(y))
    used = [x for x in weights if x in ordered([total])]
    outputs = [y, *autodiff.gradients([total], used)]
    arrays = [normal(*[int(n) for n in x.shape], seed=i) for i, x in enumerate(weights)]
    arranged(outputs, arrays)
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    given, values = detached(outputs, arrays)

    def filled(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op.name != "input":
            return None
        array = values[node.attribute("index")]
        return data(from_array(array, Type(array.shape, node.dtype)), node.type)

    copies = rewrite(given, filled)
    with config.configured(check=True):
        evaluate(copies)
    for node, value in zip(copies, by_references(given, values), strict=True):
        np.testing.assert_allclose(node.buffer.view(node.type), value, rtol=2e-3, atol=2e-3)


def test_a_network_has_native_kernels_alone():
    x, w = leaf(0, 2, 3, 9, 8), leaf(1, 5, 3, 3, 3)
    y = pooling.average_pool(pooling.max_pool(window.conv(x, w), 2), 2)
    (gradient,) = autodiff.gradients([reduction.sum(ew.square(y))], [w])
    section = Section([y, gradient], [None, None], host_isas()[0])
    assert not section.on_the_host()


def test_gradients_of_weights_that_are_stored_with_the_filters_last_are_given_so():
    x, held, momentum = leaf(0, 2, 3, 6, 6), leaf(1, 3, 3, 3, 5), leaf(2, 3, 3, 3, 5)
    w, m = (movement.permute_dims(value, (3, 2, 0, 1)) for value in (held, momentum))
    (g,) = autodiff.gradients([reduction.sum(ew.square(window.conv(x, w)))], [w])
    m = ew.add(ew.multiply(m, 0.5), g)
    outputs = [movement.permute_dims(value, (2, 3, 1, 0)) for value in (m, ew.subtract(w, m))]
    result = arranged(outputs, [normal(2, 3, 6, 6), normal(3, 3, 3, 5), normal(3, 3, 3, 5)])
    assert "conv_weight_gradient_channels_last" in names(result)
    full = [node for node in ordered(result) if node.op.elementwise and sorted(node.shape) == [3, 3, 3, 5]]
    assert full and {node.shape for node in full} == {(3, 3, 3, 5)}
    assert "conv_weight_gradient" in names(arranged([g], [normal(2, 3, 6, 6), normal(3, 3, 3, 5)]))
