"""What layers and losses refuse, noise, first values, and penalties."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError

X = td.ones((2, 4, 6, 6))
REFUSED = {
    "channels": (lambda: nn.Conv(3, 8, 3)(X), ShapeError, "with 3 channels, in"),
    "dimensions": (lambda: nn.Conv(4, 8, 3)(X[0]), ShapeError, "expected 4 dimensions"),
    "groups": (lambda: nn.Conv(4, 6, 3, groups=4), ArgumentError, "do not divide into 4 groups"),
    "layout": (lambda: nn.Conv(4, 8, 3, layout="NCWH"), ArgumentError, "'NCWH'; it is one of NCHW, NHWC"),
    "transposed": (lambda: nn.ConvTranspose(3, 8, 3)(X), ShapeError, "with 3 channels"),
    "dense": (lambda: nn.Dense(5, 2)(X), ShapeError, r"shape \(2, 4, 6, 6\); its last dimension must be 5"),
    "batch norm": (lambda: nn.BatchNorm(3)(X), ShapeError, "must be 3 channels"),
    "one value": (lambda: nn.BatchNorm(4)(td.ones((1, 4))), ShapeError, "one value for each channel"),
    "layer norm": (lambda: nn.LayerNorm(5)(X), ShapeError, r"must end in \(5,\)"),
    "group norm": (lambda: nn.GroupNorm(3, 4), ArgumentError, "4 channels do not divide into 3 groups"),
    "rate": (lambda: nn.Dropout(1.0), ArgumentError, r"rate=1.0 is not in \[0, 1\)"),
    "indices": (lambda: nn.Embedding(4, 2)(X), DTypeError, "expected integers"),
    "heads": (lambda: nn.MultiHeadAttention(8, 3), ArgumentError, "3 heads do not divide 8"),
    "attention": (lambda: nn.attention(X, X[..., :5], X), ShapeError, "expected"),
    "broadcast": (lambda: nn.squared_error(td.ones((3, 1)), td.ones((3,))), ShapeError, "they must be equal"),
    "labels": (
        lambda: nn.cross_entropy(td.ones((3, 2)), td.ones((4,), dtype=td.int64)),
        ShapeError,
        "labels",
    ),
    "float labels": (lambda: nn.hinge(td.ones((3, 2)), td.ones((3,))), DTypeError, "expected integers"),
    "real labels": (
        lambda: nn.cross_entropy(td.ones((3, 2)), td.ones((3,))),
        DTypeError,
        "labels are integers",
    ),
    "reduction": (lambda: nn.huber(X, X, reduction="average"), ArgumentError, "mean, sum, none"),
    "first values": (lambda: nn.Dense(2, 3, first=np.ones((3, 2))), ShapeError, r"has \(2, 3\)"),
    "fan": (lambda: nn.Parameter((3,), nn.initial.he_normal), ShapeError, "no fan_in"),
}


@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.hinge])
@pytest.mark.parametrize("wrong", [4, -1, 1 << 40])
@pytest.mark.parametrize("batch", [3, 3000])
def test_a_label_of_no_class_is_refused_before_anything_is_stored(loss, wrong, batch):
    """The small batch runs its references, the large one and the compiled step native code."""
    weight = td.Variable(td.ones((5, 4)), name="weight")
    x, labels = td.ones((batch, 5)), np.full(batch, 3)

    def step(labels):
        value = loss(x @ weight, labels)
        weight.assign(weight - td.gradients(value, weight))
        return value

    step(td.asarray(labels)).item()
    before = weight.numpy()
    labels[-1] = wrong
    for run in (step, td.compile(step)):
        with pytest.raises(IndexingError, match=f"{wrong} is not the number of a class: with 4 classes"):
            run(td.asarray(labels)).item()
        np.testing.assert_array_equal(weight.numpy(), before)
    if loss is nn.cross_entropy:
        assert np.isfinite(nn.cross_entropy(x @ weight, td.asarray(labels), ignore=wrong).item())


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


def test_noise_is_there_in_training_alone():
    x = td.ones((64, 8, 4))
    for layer in (nn.Dropout(0.25), nn.Dropout(0.25, spatial=True), nn.GaussianNoise(0.5)):
        y = layer(x).numpy()
        assert (y != 1).any() and abs(y.mean() - 1) < 0.1
        np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    whole = nn.Dropout(0.5, spatial=True)(x).numpy()
    assert (whole == whole[..., :1]).all()
    for wrapped in (
        nn.StochasticDepth(nn.Dense(4, 4, first=1.0), 0.5),
        nn.DropConnect(nn.Dense(4, 64, first=1.0)),
    ):
        noisy, calm = wrapped(x).numpy(), wrapped.eval()(x).numpy()
        assert (noisy != calm).any() and abs(noisy.mean() / calm.mean() - 1) < 0.6
    assert list(nn.DropConnect(nn.Dense(2, 2)).parameters()) == ["inner.weight", "inner.bias"]


RULES = {
    "he_normal": (nn.initial.he_normal, 2 / 300), "he_uniform": (nn.initial.he_uniform, 2 / 300),
    "xavier_normal": (nn.initial.xavier_normal, 2 / 500),
    "xavier_uniform": (nn.initial.xavier_uniform, 2 / 500),
    "lecun_normal": (nn.initial.lecun_normal, 1 / 300), "normal": (nn.initial.normal(0.1), 0.01),
    "uniform": (nn.initial.uniform(-1, 1), 1 / 3),
    "truncated_normal": (nn.initial.truncated_normal(1.0), 0.774),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_first_values_have_the_variance_they_should(name):
    rule, variance = RULES[name]
    values = nn.Parameter((300, 200), rule).numpy()
    assert abs(values.var() / variance - 1) < 0.05 and abs(values.mean()) < 0.02
    assert nn.initial.fans((8, 3, 5, 5)) == (75, 200)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 3, 2)])
def test_orthogonal_first_values(shape):
    w = nn.Parameter(shape, nn.initial.orthogonal(2.0)).numpy().reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_penalties():
    w = {"w": td.Variable([[3.0, 0.3], [4.0, 0.4]]), "b": td.Variable([9.0])}
    assert float(nn.l2(w, 0.5)) == pytest.approx(0.5 * (25.25 + 81))
    assert float(nn.l1(w.values(), 1.0)) == pytest.approx(16.7)
    nn.max_norm(w, 1.0)
    np.testing.assert_allclose(w["w"].numpy(), [[0.6, 0.3], [0.8, 0.4]], rtol=1e-5)
    assert w["b"].tolist() == [9.0]


def test_global_pooling_in_both_layouts():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    expected = x.mean((2, 3))
    np.testing.assert_allclose(nn.GlobalAveragePool()(td.asarray(x)).numpy(), expected, rtol=1e-5)
    last = nn.GlobalAveragePool(layout="NHWC")(td.asarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(last.numpy(), expected, rtol=1e-5)


def test_layers_on_placeholders():
    net = nn.Sequential(
        nn.Conv(1, 4, 3, padding=1), nn.BatchNorm(4), td.relu, nn.MaxPool(2), nn.GlobalAveragePool()
    )
    x = td.placeholder(("batch", 1, 8, 8))
    images = np.ones((3, 1, 8, 8), "float32")
    static = td.Session().run(net(x), {x: images})
    assert static.shape == (3, 4)
    net.eval()
    np.testing.assert_allclose(
        td.Session().run(net(x), {x: images}), net(td.asarray(images)).numpy(), rtol=1e-5
    )
