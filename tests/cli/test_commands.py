"""Each command from end to end, in this process."""

from __future__ import annotations

import re

import numpy as np
import pytest

import treadle as td
from treadle import cli
from treadle.cli import doctor, predict_digits
from treadle.lecture import two_layer


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_train_then_predict(data_dir, capsys):
    assert cli.main(["train", "digits", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    found = re.search(r"(\d+) of 360 held-out digits right: test accuracy (\d+\.\d+)%", out)
    assert int(found[1]) / 360 == pytest.approx(float(found[2]) / 100, abs=1e-4)
    assert float(found[2]) > 85
    assert f"saved to {data_dir / 'digits.safetensors'}" in out
    last = out.splitlines()[-1]
    assert re.match(r"88 steps of \d+\.\d\d ms in \d+\.\d s: data \d+%, steps \d+%, evaluation \d+%, ", last)

    assert cli.main(["predict", "digits", "--index", "7"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 8 + 10 + 1
    probabilities = [float(re.match(r"\d +(\d+\.\d)%", line)[1]) for line in out[8:18]]
    assert sum(probabilities) == pytest.approx(100, abs=0.6)
    guess = int(np.argmax(probabilities))
    assert re.match(rf"held-out digit 7 is a \d; the network says {guess}, (right|wrong)ly", out[-1])


def test_train_on_the_reference_device_to_a_chosen_file(tmp_path, monkeypatch, capsys):
    from treadle.train import fit

    images, labels, *test = fit.load_digits()
    monkeypatch.setattr(fit, "load_digits", lambda: (images[:32], labels[:32], test[0][:8], test[1][:8]))
    out = tmp_path / "here.safetensors"
    words = ["train", "digits", "--epochs", "1", "--out", str(out), "--device", "reference"]
    assert cli.main(words) == 0
    assert out.is_file()
    assert "of 8 held-out digits right" in capsys.readouterr().out


def test_predict_before_training(data_dir, capsys):
    assert cli.main(["predict", "digits", "--index", "7"]) == 1
    assert "yet: type `treadle train digits` first" in capsys.readouterr().err


@pytest.mark.parametrize("index", [-1, 360])
def test_predict_a_digit_that_is_not_there(index, data_dir, capsys):
    assert cli.main(["predict", "digits", "--index", str(index)]) == 1
    assert f"--index {index}: the held-out digits are 0 to 359" in capsys.readouterr().err


def test_pictures_and_bars():
    image = np.array([[0.0, 1.0], [0.5, 0.0]])
    assert predict_digits.drawn(image, ascii_only=False) == ["  ██", "▒▒"]
    assert predict_digits.drawn(image, ascii_only=True) == ["  ##", "::"]
    bars = predict_digits.bars(np.array([0.25, 0.75]), ascii_only=True)
    assert bars == ["0   25.0%  " + 10 * "#", "1   75.0%  " + 30 * "#"]


def test_lecture_prints_all_five(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["lecture", "two-layer", "--steps", "5"]) == 0
    out = capsys.readouterr().out
    for name in two_layer.PROGRAMS:
        row = next(line for line in out.splitlines() if line.strip().startswith(name))
        assert "5.0004e+07" in row
    assert "The same losses" in out


def test_lecture_fails_where_losses_differ(capsys, monkeypatch):
    runs = [two_layer.Run("a", [1.0], [1.0]), two_layer.Run("b", [1.001], [1.0])]
    monkeypatch.setattr(two_layer, "run_all", lambda steps, on_start: runs)
    assert cli.main(["lecture", "two-layer"]) == 1
    assert "DIFFERENT LOSSES: 1.0e-03" in capsys.readouterr().out


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["Treadle"] == td.__version__
    assert rows["numpy"] == np.__version__
    assert rows["devices"] == ", ".join(td.devices())
    assert rows["check"] == "a compiled program gives what NumPy gives"
    assert "TREADLE_CACHE_DIR=" in rows["settings"]


def test_doctor_says_when_code_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(td, "relu", lambda x: x)
    assert cli.main(["doctor"]) == 1
    assert re.search(r"check +FAILED: a compiled program gives", capsys.readouterr().out)


def test_doctor_without_a_cache(monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE", "0")
    assert doctor._cache() == "off: every process compiles its kernels anew"


def test_doctor_in_a_fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path / "fresh"))
    assert doctor._cache().endswith(": 0 kernels, 0.0 of at most 537 MB")
