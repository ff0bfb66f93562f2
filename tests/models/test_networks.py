"""Every network: the published number of parameters, shapes, and one real step of training of each family."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import models, nn, optim
from treadle.errors import ArgumentError

HERE = Path(__file__).parent

# torchvision's documentation; of resnet200 timm's, of alexnet_2012 and inception_v1 those of Caffe's
# definitions, of efficientnet_lite0 the published file's; lenet5 has 60 k in the paper, not all connected.
COUNTS = {
    "alexnet": 61_100_840,
    "alexnet_2012": 60_965_224,
    "efficientnet_lite0": 4_652_008,
    "googlenet": 6_624_904,
    "inception_v1": 6_998_552,
    "lenet5": 61_706,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet200": 64_673_832,
    "two_layer": 79_510,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}


def _count(net):
    return sum(w.size for w in net.parameters().values())


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_shapes(name):
    size = (1, 28, 28) if name in ("lenet5", "two_layer") else (3, 224, 224)
    classes = models.options(name)["num_classes"]
    with nn.without_values():
        net = models.load(name)
        last = models.load(name, layout="NHWC") if "layout" in models.options(name) else net
    assert _count(net) == COUNTS[name]
    for mode in (True, False):
        assert net.train(mode)(td.placeholder((2, *size))).shape == (2, classes)
    if last is not net:
        assert last(td.placeholder((2, *size[1:], size[0]))).shape == (2, classes)


def test_auxiliary_classifiers():
    with nn.without_values():
        nets = [models.load(name, auxiliary=True) for name in ("googlenet", "inception_v1")]
    assert [_count(net) for net in nets] == [13_004_888, 13_378_280]
    for net in nets:
        outputs = net(td.placeholder((2, 3, 224, 224)))
        assert [y.shape for y in outputs] == [(2, 1000)] * 3
        assert net.eval()(td.placeholder((2, 3, 224, 224))).shape == (2, 1000)


STEPS = {
    "lenet5": ({}, (1, 28, 28)),
    "two_layer": ({"inputs": 48, "hidden": 16}, (3, 4, 4)),
    "mobilenet_v2": ({"width": 0.25}, (3, 64, 64)),
    "efficientnet_lite0": ({}, (3, 64, 64)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_lowers_the_loss(name):
    given, size = STEPS[name]
    td.random.seed(1)
    net = models.load(name, num_classes=3, **given)
    opt = optim.SGD(net.parameters(), 0.003)
    x = td.asarray(np.random.default_rng(0).normal(size=(6, *size)).astype("float32"))
    labels = td.asarray([0, 1, 2, 0, 1, 2])

    @td.compile
    def step(x, labels):
        loss = nn.cross_entropy(net(x), labels)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    losses = [float(step(x, labels)) for _ in range(6)]
    assert min(losses[3:]) < losses[0]


def wave(name, shape):
    count = int(np.prod(shape))
    values = np.sin(np.arange(count) * 0.7 + zlib.crc32(name.encode()) % 1000).reshape(shape)
    fan_in = count // shape[0] if len(shape) > 1 else 16
    return values * (2 / fan_in) ** 0.5 + (1.0 if len(shape) == 1 and name.endswith("weight") else 0.0)


def _torch_shape(net, path, shape):
    layer = net.modules()[path.rpartition(".")[0]]
    return shape[::-1] if isinstance(layer, nn.Dense) else shape


def make_wide(net):
    """Give a net parameters and statistics of float64."""
    for module in net.modules().values():
        for name, value in list(vars(module).items()):
            if isinstance(value, (nn.Parameter, nn.Statistic)):
                setattr(module, name, type(value)(value.shape, 0.0, td.float64, name))


@pytest.mark.parametrize(
    "name, given, layout",
    [
        ("resnet18", {"width": 8}, "NCHW"),
        ("resnet50", {"width": 8}, "NHWC"),
        ("googlenet", {"auxiliary": True}, "NCHW"),
    ],
)
def test_pytorch_gives_the_same(name, given, layout):
    """Outputs and gradients in training, outputs in use, of float64. After many batch-norms of few values
    those of float32 depend on rounding: a change of 1e-7 in the images changes some by half.
    """
    golden = np.load(HERE / "pytorch.npz")
    with nn.without_values():
        net = models.load(name, num_classes=5, layout=layout, **given)
        make_wide(net)
    shapes = {path: _torch_shape(net, path, w.shape) for path, w in net.parameters().items()}
    values = {path: wave(path, shape) for path, shape in shapes.items()}
    for path in net.variables().keys() - shapes.keys():
        values[path] = np.full(net.variables()[path].shape, float(path.endswith("var")))
    models.load_pytorch(net, values)
    for module in net.modules().values():
        if isinstance(module, nn.Dropout):
            module.rate = 0.0
    x = wave("x", (3, 3, 64, 64)) * 10
    x = td.asarray(x if layout == "NCHW" else x.transpose(0, 2, 3, 1).copy())
    outputs = net(x)
    loss = models.with_auxiliary(nn.cross_entropy)(outputs, td.asarray([0, 3, 1]))
    gradients = td.gradients(loss, net.parameters())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    td.evaluate(*outputs, *gradients.values())
    found = np.stack([y.numpy() for y in outputs])
    np.testing.assert_allclose(found, golden[f"{name}.outputs"], rtol=1e-6, atol=1e-9)
    for path, gradient in gradients.items():
        g = gradient.numpy()
        g = g if g.shape == shapes[path] else g.T
        size, along = golden[f"{name}.d.{path}"]
        reach = np.linalg.norm(wave(path + "'", g.shape)) * size
        np.testing.assert_allclose(np.linalg.norm(g), size, rtol=1e-5, err_msg=path)
        assert abs((g * wave(path + "'", g.shape)).sum() - along) < 1e-5 * reach, path
    np.testing.assert_allclose(net.eval()(x).numpy(), golden[f"{name}.in_use"], rtol=1e-6, atol=1e-9)


def test_layouts_give_the_same():
    x = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype("float32")
    nets = [models.load("lenet5", layout=layout) for layout in ("NCHW", "NHWC")]
    nets[1].load_state(nets[0].state())
    first, last = nets[0](td.asarray(x)), nets[1](td.asarray(x.transpose(0, 2, 3, 1).copy()))
    np.testing.assert_allclose(first.numpy(), last.numpy(), rtol=1e-4, atol=1e-5)


def test_fine_tuning_takes_few_lines():
    net = models.replace_head(models.load("mobilenet_v2", width=0.25, num_classes=10), 3)
    assert net.parameters()["classifier.1.weight"].shape == (1280, 3)
    assert net.classifier[1].weight.name == "classifier.1.weight"
    net.freeze("features.*")
    assert list(net.parameters()) == ["classifier.1.weight", "classifier.1.bias"]
    net.unfreeze("features.18.*")
    last = {path: w for path, w in net.parameters().items() if path.startswith("features")}
    head = {path: w for path, w in net.parameters().items() if path.startswith("classifier")}
    opt = optim.SGD([optim.Group(last, rate=1e-3), optim.Group(head)], 1e-1)
    before = net.state()
    x, labels = td.ones((2, 3, 32, 32)), td.asarray([0, 2])
    opt.step(td.gradients(nn.cross_entropy(net(x), labels), net.parameters()))
    after = net.state()
    moved = {
        path.rpartition(".")[0] for path in net.variables() if not np.array_equal(before[path], after[path])
    }
    assert "classifier.1" in moved and "features.0.0" not in moved
    with pytest.raises(ArgumentError, match="does not say which layer is its last"):
        models.replace_head(nn.Sequential(nn.Dense(2, 3)), 3)
    with pytest.raises(ArgumentError, match="positive integer"):
        models.replace_head(net, 0)


def test_wrong_options_are_told():
    with pytest.raises(ArgumentError, match="There are 18, 34, 50"):
        models.ResNet(19)
    with pytest.raises(ArgumentError, match="did you mean tanh"):
        models.load("lenet5", activation="tan")
    with pytest.raises(ArgumentError, match="no published weights of resnet200"):
        models.load("resnet200", pretrained=True)
