"""Summaries of networks, against what is counted by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.compiler.flops import flops
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.graph import ordered


def test_a_dense_net():
    net = nn.Sequential(nn.Dense(4, 8), td.relu, nn.Dense(8, 2, bias=False))
    net.freeze("2.*")
    found = net.summary(("batch", 4), sizes={"batch": 3})
    first, last = found["0"], found["2"]
    assert (first.parameters, first.frozen, last.parameters, last.frozen) == (40, 0, 16, 16)
    assert (first.flops, last.flops, found[""].flops) == (3 * (2 * 4 * 8 + 8), 3 * 2 * 8 * 2, 3 * 8)
    assert found.total.flops == first.flops + last.flops + found[""].flops
    # The frozen layer needs no gradient of its weight: only relu's sign, by its result, is read.
    assert found.total.kept == 3 * 8 * 4 and found[""].kept == 3 * 8 * 4
    assert found.total.alive == 3 * (8 + 2) * 4 and found.parameter_bytes == 56 * 4
    batch = td.placeholder(("batch", 8)).shape[0]
    assert first.output == (batch, 8) and found.total.output == (batch, 2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_convolution(layout):
    conv = nn.Conv(4, 6, 3, stride=2, padding=1, groups=2, layout=layout)
    shape = (2, 4, 8, 8) if layout == "NCHW" else (2, 8, 8, 4)
    found = conv.summary(shape)
    values = 2 * 6 * 4 * 4
    assert found.total.flops == values * 2 * 2 * 9 + values
    assert found.total.parameters == 6 * 2 * 9 + 6
    assert found.total.alive == values * 4 and found.total.kept == 0  # the input is not counted


def test_a_transposed_convolution_and_pooling():
    layer = nn.ConvTranspose(4, 2, 4, stride=2, padding=1)
    assert layer.summary((1, 4, 8, 8)).total.flops == 8 * 8 * 4 * 2 * 16 * 2 + 2 * 16 * 16
    assert nn.MaxPool(2).summary((1, 3, 8, 8)).total.flops == 3 * 16 * 4
    assert nn.GlobalAveragePool().summary((1, 3, 8, 8)).total.flops == 3 * 64 + 3


def test_an_lstm():
    steps, batch, inputs, width = 5, 2, 3, 4
    found = nn.LSTM(inputs, width).summary((batch, steps, inputs))
    gates = 4 * width
    before = steps * batch * gates * (2 * inputs + 1)
    each = batch * gates * (2 * width + 1)  # the state's product and bias
    # Their sum, the gates' functions; c = f c + i g; o tanh(c).
    each += batch * (gates + gates + 3 * width + 2 * width)
    assert found.total.flops == before + steps * each
    assert found.total.parameters == gates * (inputs + width + 2)
    whole, h, c = found.total.output
    assert (whole, h, c) == ((batch, steps, width), (1, batch, width), (1, batch, width))
    assert found.total.kept > steps * batch * gates * 4


class Pair(nn.Module):
    def __init__(self):
        self.both = nn.Dense(3, 3)
        self.blocks = [nn.Dense(3, 3), {"deep": nn.Sequential(nn.Dense(3, 1))}]
        self.scales = [nn.Parameter((3,), 1.0), nn.Parameter((), 1.0)]
        self.seen = nn.Statistic((2,), 0.0)
        self.unused = nn.Dense(3, 7)

    def forward(self, x, *, scaled=False):
        with td.scope("inner"):
            x = td.exp(x) * self.scales[0]
        x = self.both(self.both(x))
        return {"y": self.blocks[1]["deep"](self.blocks[0](x)), "x": x * 2 if scaled else x}


def test_modules_of_ones_own():
    found = Pair().summary(np.ones((5, 3), "float32"), scaled=True)
    assert found["both"].flops == 2 * 5 * 3 * (2 * 3 + 1)  # called twice
    assert found["both"].parameters == 12
    assert found[""].flops == 5 * 3 * 3 and found[""].parameters == 4 and found[""].statistics == 2
    assert found["unused"].output is None and found["unused"].parameters == 28
    assert found[""].output == ((5, 1), (5, 3))
    shallow = found.to_depth(1)
    assert [row.path for row in shallow.rows] == ["", "both", "blocks.0", "blocks.1.deep", "unused"]
    assert shallow["blocks.1.deep"].flops == 5 * (2 * 3 + 1) and shallow.total == found.total
    assert [row.path for row in found.to_depth(0).rows] == [""]
    text = str(found)
    for part in ("not called", "blocks.1.deep.0", "Dense(3 -> 1)", "2 statistics", "(5, 1), (5, 3)"):
        assert part in text
    with pytest.raises(ArgumentError, match="no module 'other'; there are"):
        found["other"]


LAYERS = {
    "batch norm": (nn.BatchNorm(4), ("batch", 4, 6, 6)),
    "one value": (nn.BatchNorm(4), (1, 4)),
    "layer norm": (nn.LayerNorm(6), (None, 6)),
    "group norm": (nn.GroupNorm(2, 4), ("batch", 4, 6, 6)),
    "instance norm": (nn.InstanceNorm(4, affine=True), ("batch", 4, 6)),
    "local response": (nn.LocalResponseNorm(3), ("batch", 4, 6, 6)),
    "average": (nn.AveragePool(2), ("batch", 4, 6, 6)),
    "adaptive": (nn.AdaptiveAveragePool(2), ("batch", 4, 6, 6)),
    "adaptive max": (nn.AdaptiveMaxPool(2), ("batch", 4, 6, 6)),
    "prelu": (nn.PReLU(4), ("batch", 4, 6)),
    "heads": (nn.MultiHeadAttention(4, 2), ("batch", 5, 4)),
    "rnn": (nn.RNN(4, 3, layers=2, bidirectional=True), ("batch", "time", 4)),
    "gru": (nn.GRU(4, 3), ("batch", 5, 4)),
    "cell": (nn.GRUCell(4, 3), ("batch", 4)),
    "conv 3d": (nn.Conv(2, 4, 3, dimensions=3), ("batch", 2, 4, 5, 6)),
    "dropout": (nn.Dropout(0.5), ("batch", 3)),
    "noise": (nn.Sequential(nn.Dense(3, 3), nn.GaussianNoise(0.5)), ("batch", 3)),
    "depth": (nn.StochasticDepth(nn.Dense(3, 3), 0.5), ("batch", 3)),
    "connect": (nn.DropConnect(nn.Dense(3, 3)), ("batch", 3)),
    "flip": (nn.RandomFlip(), ("batch", 3, 8, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_counts(name):
    layer, shape = LAYERS[name]
    found = layer.summary(shape)
    assert (not found.uncounted and found.total.alive > 0) or name in ("dropout", "flip")
    assert (found.kept_unknown is not None) == (name == "one value")
    assert found.total.parameters == sum(int(np.prod(w.shape)) for w in layer.parameters().values())
    assert found.total.flops > 0 or name in ("dropout", "flip")


def test_it_leaves_everything_as_it_was():
    net = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4), nn.Dropout(0.5).eval())
    before = net.state()
    td.random.seed(3)
    expected = td.random.uniform((2,)).tolist()
    td.random.seed(3)
    found = nn.summary(net, ("batch", 3))
    assert td.random.uniform((2,)).tolist() == expected
    assert [net.training, net[1].training, net[2].training] == [True, True, False]
    for path, value in net.state().items():
        np.testing.assert_array_equal(value, before[path])
    assert found["1"].statistics == 8 and found["1"].kept > 0


def test_embeddings_and_what_does_not_fit():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Dense(4, 2))
    assert net.summary((None, 7), dtype=td.int64)["0"].parameters == 40
    with pytest.raises(ShapeError, match=r"must be 5, in 1, Dense\(5 -> 2\)"):
        nn.Sequential(nn.Dense(4, 4), nn.Dense(5, 2)).summary((None, 4))


def test_a_known_network():
    """3.5 million parameters and 300 million multiplications and additions (Sandler et al. 2018, table 4)."""
    with nn.without_values():
        net = td.models.load("mobilenet_v2")
    found = net.summary((None, 3, 224, 224))
    assert found.total.parameters == 3_504_872 and found.kept_unknown is None
    products = 2 * 300_774_272  # of all convolutions and the dense layer
    assert products < found.total.flops < 1.07 * products


def test_what_a_relu_keeps():
    def kept(*parts):
        return nn.Sequential(nn.Dense(4, 8), *parts).summary((1, 4)).total.kept

    assert kept() == 0
    assert kept(td.relu) == kept(nn.relu6) == 8 * 4
    assert kept(td.relu, nn.Dense(8, 2)) == 8 * 4
    # Between batch-norm, which reads what it is given, and a layer that reads its result: nothing of its own.
    norm = nn.BatchNorm(8)
    assert kept(norm, nn.relu6, nn.Dense(8, 2)) == kept(norm, nn.Dense(8, 2))


def test_loops_and_branches_count_what_is_inside():
    x = td.placeholder((4,))
    last, _ = td.scan(lambda c, _: (td.sin(c) * 2, None), x, length=5)
    assert flops(next(n for n in ordered([last.node]) if n.op.name == "loop")) == 5 * 8
    longer = td.cond(td.sum(x) > 0, lambda: x * 2, lambda: td.exp(x * 3))
    assert flops(next(n for n in ordered([longer.node]) if n.op.name == "cond")) == 8
    endless = td.while_loop(lambda c: td.sum(c) < 9, lambda c: c * 2, x)
    assert flops(next(n for n in ordered([endless.node]) if n.op.name == "loop")) is None


def test_a_net_with_functions_can_be_pickled():
    net = nn.Sequential(nn.Dense(3, 2), td.relu)
    x = td.ones((1, 3))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x).numpy(), net(x).numpy())
