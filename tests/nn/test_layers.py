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
    "transposed stride": (lambda: nn.ConvTranspose(4, 2, 3, stride=(2,)), ArgumentError, "of the 2 spatial"),
    "four dimensions": (lambda: nn.Conv(4, 2, 3, dimensions=4), ArgumentError, "layers of 1 to 3"),
    "no window": (lambda: nn.Conv(4, 2, 0), ArgumentError, "expected positive integers"),
    "no groups": (lambda: nn.Conv(4, 2, 1, groups=0), ArgumentError, "into 0 groups"),
    "no inputs": (lambda: nn.Dense(0, 2), ShapeError, "sizes are positive integers"),
    "padding": (
        lambda: nn.Conv(4, 2, 3, padding_mode="mirror"),
        ArgumentError,
        "zeros, reflect, replicate, circular",
    ),
    "wide padding": (
        lambda: nn.Conv(4, 2, 3, padding=6, padding_mode="reflect")(X),
        ArgumentError,
        "in Conv",
    ),
    "pooling": (lambda: nn.MaxPool((2, 2, 2), ceil=True)(X), ArgumentError, "each of the 2 spatial"),
    "pooling stride": (lambda: nn.AveragePool(2, stride=0)(X), ArgumentError, "expected positive integers"),
    "pooling places": (lambda: nn.GlobalMaxPool()(X[0, 0]), ShapeError, "1 to 3 spatial"),
    "adaptive": (lambda: nn.AdaptiveMaxPool((2,))(X), ArgumentError, r"outputs=\(2,\)"),
    "slopes": (lambda: nn.PReLU(3)(X), ShapeError, "dimension 1 must be 3 channels"),
    "spatial dropout": (lambda: nn.Dropout(0.5, spatial=True)(X[0, 0]), ShapeError, "spatial dimensions"),
    "responses": (lambda: nn.LocalResponseNorm(3)(X[0, 0]), ShapeError, "spatial dimensions"),
    "places": (lambda: nn.MultiHeadAttention(6, 2)(X[0, 0]), ShapeError, r"\[batch, places, 6\]"),
    "source": (
        lambda: nn.MultiHeadAttention(6, 2)(X[0], X[0, :3]),
        ShapeError,
        r"source .* \[4, places, 6\]",
    ),
    "halves": (lambda: nn.glu(td.ones((2, 3))), ShapeError, "even size"),
    "rows": (lambda: nn.Embedding(0, 2), ArgumentError, "expected positive integers"),
    "residual": (lambda: nn.Residual(nn.Conv(4, 1, 1))(X), ShapeError, r"\(2, 1, 6, 6\) of x, the shortcut"),
    "limit": (lambda: nn.MaxNorm(0.0), ArgumentError, "not positive"),
    "constraint": (
        lambda: td.optim.SGD(nn.Dense(2, 2).parameters(), 0.1, constraint=3.0),  # type: ignore[arg-type]
        ArgumentError,
        "expected a function",
    ),
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


@pytest.mark.parametrize(
    "loss, others",
    [
        (nn.squared_error, ["floats"]),
        (nn.absolute_error, ["floats"]),
        (nn.huber, ["floats"]),
        (nn.binary_cross_entropy, ["floats"]),
        (nn.kl_divergence, ["floats"]),
        (nn.cross_entropy, ["floats"]),
        (nn.cross_entropy, ["labels"]),
        (nn.hinge, ["labels"]),
        (nn.triplet, ["floats", "same"]),
        (nn.triplet, ["same", "floats"]),
    ],
)
def test_no_loss_broadcasts(loss, others):
    """Whatever NumPy would stretch is refused: on arrays, and on placeholders while the graph is made."""
    wider = {"floats": [(4, 1), (1, 3), (3,), (1, 4, 3), ()], "labels": [(4, 1), (1,), (1, 4), ()]}
    made_of = {"floats": td.ones, "same": td.ones, "labels": lambda shape: td.zeros(shape, dtype=td.int64)}
    (stretched,) = [kind for kind in others if kind != "same"]
    for shape in wider[stretched]:
        given = [made_of[kind]((4, 3) if kind == "same" else shape) for kind in others]
        fed = [td.placeholder(x.shape, dtype=str(x.dtype)) for x in given]
        for scores, rest in ((td.ones((4, 3)), given), (td.placeholder((4, 3)), fed)):
            with pytest.raises((ShapeError, DTypeError), match=r"they must be equal|expected|labels are"):
                loss(scores, *rest)


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


PADDED = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", PADDED)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_what_stands_around_a_convolutions_input(mode, dimensions):
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 6, 4)[: 2 + dimensions]).astype("float32")
    conv = nn.Conv(2, 3, 3, dimensions=dimensions, padding=2, padding_mode=mode)
    around = np.pad(x, [(0, 0), (0, 0)] + [(2, 2)] * dimensions, mode=PADDED[mode])
    bare = nn.Conv(2, 3, 3, dimensions=dimensions)
    bare.load_state(conv.state())
    np.testing.assert_allclose(conv(x).numpy(), bare(around).numpy(), rtol=1e-5, atol=1e-5)
    last = nn.Conv(2, 3, 3, dimensions=dimensions, padding="same", padding_mode=mode, layout="NHWC")
    last.load_state(conv.state())
    around = np.pad(x, [(0, 0), (0, 0)] + [(1, 1)] * dimensions, mode=PADDED[mode])
    y = last(np.moveaxis(x, 1, -1)).numpy()
    np.testing.assert_allclose(np.moveaxis(y, -1, 1), bare(around).numpy(), rtol=1e-5, atol=1e-5)
    assert y.shape[1:-1] == x.shape[2:]


def test_a_residual_block():
    block = nn.Residual(
        nn.Conv(2, 4, 3, padding=1), nn.BatchNorm(4), shortcut=nn.Conv(2, 4, 1), activation=td.relu
    )
    x = td.ones((2, 2, 3, 3))
    expected = td.relu(block.branch(x) + block.shortcut(x))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-6, atol=1e-6)
    assert [path for path in block.modules() if path] == ["branch", "branch.0", "branch.1", "shortcut"]


def test_layers_take_numpys_arrays_and_channels_last():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    layer = nn.PReLU(3)
    layer.weight.assign(np.asarray([0.1, 0.2, 0.3], "float32"))
    last = nn.PReLU(3, layout="NHWC")
    last.load_state(layer.state())
    y = last(x.transpose(0, 2, 3, 1)).numpy()
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), layer(x).numpy())
    whole = nn.Dropout(0.5, spatial=True, layout="NHWC")(np.ones((4, 3, 3, 8), "float32")).numpy()
    assert (whole == whole[:, :1, :1]).all() and len(np.unique(whole)) == 2
    assert nn.BatchNorm(3)(x).shape == nn.InstanceNorm(3)(x).shape == x.shape


@pytest.mark.parametrize("style", ["eager", "compiled", "static"])
def test_a_norm_is_bounded_in_the_step(style):
    net = nn.Sequential(nn.Dense(3, 4), nn.Dense(4, 2))
    free = td.optim.Group(net[1].parameters())
    bound = td.optim.Group(net[0].parameters(), constraint=nn.MaxNorm(0.5))
    opt = td.optim.SGD([bound, free], 1.0)
    x = td.asarray(np.random.default_rng(0).normal(size=(8, 3)).astype("float32"))

    def step(x):
        loss = td.sum(td.square(net(x)))
        opt.step(td.gradients(loss, opt.parameters))
        return loss

    if style == "static":
        fed = td.placeholder((8, 3))
        td.Session().run(opt.minimize(td.sum(td.square(net(fed)))), {fed: x.numpy()})
    else:
        float((td.compile(step) if style == "compiled" else step)(x))
    norms = np.linalg.norm(net[0].weight.numpy(), axis=0)
    assert (norms <= 0.5 + 1e-5).all() and norms.max() > 0.49
    assert np.linalg.norm(net[1].weight.numpy(), axis=0).max() > 0.5
    windows = nn.MaxNorm(1.0)(td.ones((3, 2, 2, 2))).numpy()
    np.testing.assert_allclose(np.linalg.norm(windows.reshape(3, -1), axis=1), 1, rtol=1e-5)


def test_batch_norm_refuses_one_value_when_the_batchs_size_is_known():
    net = nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3))
    x = td.placeholder(("batch", 2))
    y, session = net(x), td.Session()
    assert session.run(y, {x: np.ones((4, 2), "float32")}).shape == (4, 3)
    before = net.state()
    with pytest.raises(ShapeError, match=r"in 1, has one value for each channel; .* call eval\(\)"):
        session.run(y, {x: np.ones((1, 2), "float32")})
    for path, value in net.state().items():
        np.testing.assert_array_equal(value, before[path])
    net.eval()
    assert session.run(net(x), {x: np.ones((1, 2), "float32")}).shape == (1, 3)


def test_global_pooling_in_both_layouts():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    expected = x.mean((2, 3))
    np.testing.assert_allclose(nn.GlobalAveragePool()(td.asarray(x)).numpy(), expected, rtol=1e-5)
    last = nn.GlobalAveragePool(layout="NHWC")(td.asarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(last.numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(nn.GlobalMaxPool()(x).numpy(), x.max((2, 3)))
    assert nn.GlobalMaxPool(layout="NHWC")(x[..., 0]).shape == (2, 4)


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
