"""`treadle bench cnn` measures networks where it is told to, and draws. No number is compared."""

from __future__ import annotations

import json

import pytest

import treadle as td
from treadle.bench import cnn
from treadle.cli import main


def test_all_gradients_are_made(monkeypatch):
    made = []

    def once(step, images, labels, runs, seconds):
        found = step(images, labels)
        made.append(len(found) if isinstance(found, tuple) else 1)
        assert all(isinstance(value, td.Array) for value in (found if isinstance(found, tuple) else (found,)))
        return 1.0

    monkeypatch.setattr(cnn, "_median", once)
    cnn.measure(cnn.NETWORKS["resnet18"], cnn.Way("cpu", "cpu"), batch=2, image=32)
    assert made == [1, 1 + 62]


def test_a_network_is_measured_and_drawn(tmp_path, capsys):
    picture, numbers = tmp_path / "charts.png", tmp_path / "numbers.json"
    words = ["alexnet", "--devices", "cpu", "--batch", "1", "--image", "64", "--runs", "1"]
    assert main(["bench", "cnn", *words, "--out", str(picture), "--json", str(numbers)]) == 0
    said = capsys.readouterr().out
    assert "AlexNet" in said and "14.56" in said and "no NVIDIA GPU" in said
    times = json.loads(numbers.read_text())["ms"]["alexnet"]["cpu"]
    assert times["forward"] > 0 and times["total"] > 0
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "pip install 'treadle[train]'" in said
    else:
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resnet19"], "there is no network 'resnet19'; there are alexnet,"),
        (["--batch", "0"], "--batch 0: expected a positive number"),
        (["--devices", "abacus"], "there is no device 'abacus'"),
    ],
)
def test_wrong_use(words, said, capsys):
    assert main(["bench", "cnn", *words]) == 1
    assert said in capsys.readouterr().err
