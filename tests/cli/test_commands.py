"""Each command from end to end, in this process."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rich.console import Console

import treadle as td
from treadle import cli
from treadle.cli import doctor, drawing, evaluate
from treadle.lecture import two_layer


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_train_then_use(data_dir, capsys):
    assert cli.main(["train", "digits", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    folder = data_dir / "runs" / "digits" / "1"
    accuracy = float(re.search(r"after epoch 2: .*validation/accuracy (\d+\.\d+)%", out)[1])
    assert accuracy > 85
    assert f"kept in {folder}: recipe, checkpoints, log.csv, curves.html" in out
    assert re.search(r"^88 steps in \d+\.\d s \(2 epochs made\): ", out, re.MULTILINE)

    assert cli.main(["evaluate", "digits", "--checkpoint", "last"]) == 0
    out = capsys.readouterr().out
    right = int(re.search(r"(\d+) of 360 examples right", out)[1])
    assert right / 360 == pytest.approx(accuracy / 100, abs=1e-4)
    table = [line.split() for line in out.splitlines() if re.match(r" +\d( +[\d·]+){10} +\d+\.\d%", line)]
    assert sum(int(row[1 + label]) for label, row in enumerate(table) if row[1 + label] != "·") == right

    assert cli.main(["predict", "digits", "--index", "7"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 8 + 10 + 1
    probabilities = [float(re.match(r"\d +(\d+\.\d)%", line)[1]) for line in out[8:18]]
    assert sum(probabilities) == pytest.approx(100, abs=0.6)
    guess = int(np.argmax(probabilities))
    assert re.match(rf"held-out example 7 is a \d; the network says {guess}, (right|wrong)ly", out[-1])

    (folder / "curves.html").unlink()
    assert cli.main(["curves", "digits"]) == 0
    assert "<svg" in (folder / "curves.html").read_text()


def test_a_second_run_and_one_that_goes_on(data_dir, capsys, tmp_path):
    words = ["train", "digits", "--epochs", "1", "--set", "data.limit=64", "--set", "training.log_steps=1"]
    for _ in range(2):
        assert cli.main(words) == 0
    assert {path.name for path in (data_dir / "runs" / "digits").iterdir()} == {"1", "2"}
    words[3] = "2"
    assert cli.main([*words, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "from step 2/4 on" in out and str(data_dir / "runs" / "digits" / "2") in out
    mine = str(tmp_path / "mine")
    assert cli.main([*words, "--folder", mine]) == 0
    assert cli.main([*words, "--folder", mine]) == 1
    assert "holds a run: resume=True (--resume) goes on with it" in capsys.readouterr().err
    assert cli.main(["train", mine]) == 1
    assert f"{mine} is a run: --resume goes on with it" in capsys.readouterr().err
    assert cli.main(["train", mine, "--resume", "--epochs", "3"]) == 0
    assert "from step 4/6 on" in capsys.readouterr().out


def test_train_on_the_reference_device(data_dir, capsys):
    words = ["train", "digits", "--epochs", "1", "--device", "reference", "--set", "data.limit=32"]
    assert cli.main(words) == 0
    assert "1 steps in" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["predict", "evaluate", "curves"])
def test_before_training(command, data_dir, capsys):
    assert cli.main([command, "digits"]) == 1
    assert "there is no run of 'digits' yet: type `treadle train digits` first" in capsys.readouterr().err
    assert cli.main([command, str(data_dir)]) == 1
    assert f"there is no run in {data_dir}: type `treadle train" in capsys.readouterr().err


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on images of 20 x 20 pixels in colour, of three classes with names."""
    folder = tmp_path_factory.mktemp("images")
    labels = np.arange(30) % 3
    pixels = np.zeros((30, 20, 20, 3), np.uint8)
    pixels[np.arange(30), :, :, labels] = 200
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("grain")
    for i, (image, label) in enumerate(zip(pixels, labels)):
        (folder / "data" / "rgb"[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "data" / "rgb"[label] / f"{i}.png"), image[..., ::-1])
    (folder / "net.py").write_text(
        "import treadle as td\nfrom treadle import nn\n"
        "def Net():\n    return nn.Sequential(nn.GlobalAveragePool(), nn.Dense(3, 3))\n"
    )
    (folder / "colours.toml").write_text(
        '[model]\nname = "net.py:Net"\n[data]\nkind = "image_folder"\nfolder = "data"\nsize = [20, 20]\n'
        "batch = 6\nholdout = 6\n[optimizer]\nrate = 0.1\n[training]\nepochs = 8\nfolder = 'run'\n"
    )
    assert cli.main(["train", str(folder / "colours.toml")]) == 0
    return folder


def test_image_files(images, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    words = ["predict", str(images / "run"), "--image", str(images / "data" / "g" / "1.png")]
    assert cli.main(words) == 0
    *picture, _, green, _, last = capsys.readouterr().out.splitlines()
    assert len(picture) == 20 and picture[0] == 40 * "░"
    assert green.startswith("g   ") and float(re.search(r"(\d+\.\d)%", green)[1]) > 50
    assert last.endswith("1.png: the network says g")
    assert cli.main(["predict", str(images / "run"), "--image", str(images / "none.png")]) == 1
    assert "none.png" in capsys.readouterr().err


def test_photographs_are_drawn_in_colours():
    console = Console(force_terminal=True, color_system="truecolor", width=30, legacy_windows=False)
    image = np.zeros((61, 60, 3), np.uint8)
    image[:2] = [255, 0, 0]
    text = drawing.drawn(image, console)
    rows = text.plain.split("\n")
    assert len(rows) == 16 and set(map(len, rows)) == {30}
    assert str(text.spans[0].style) == "rgb(255,0,0) on rgb(0,0,0)"


def test_files_that_cannot_be_read(images, tmp_path, capsys):
    broken = images / "data" / "r" / "broken.png"
    broken.write_bytes(b"\x89PNG")
    words = ["train", str(images / "colours.toml"), "--epochs", "1", "--folder"]
    try:
        assert cli.main([*words, str(tmp_path / "a"), "--set", "data.holdout=0"]) == 1
        assert "broken.png" in capsys.readouterr().err
        assert (
            cli.main([*words, str(tmp_path / "b"), "--set", "data.holdout=0", "--set", "data.bad=skip"]) == 0
        )
        assert re.search(
            r"left out 1 that could not be read, the first: .*broken\.png", capsys.readouterr().out
        )
    finally:
        broken.unlink()


@pytest.mark.parametrize("index", [-1, 6])
def test_predict_an_example_that_is_not_there(index, images, capsys):
    assert cli.main(["predict", str(images / "run"), "--index", str(index)]) == 1
    assert f"--index {index}: the held-out examples are 0 to 5" in capsys.readouterr().err


def test_many_classes_are_listed():
    confusion = np.eye(30, dtype=int) * 5
    confusion[3, 4], confusion[7, 1] = 2, 3
    names = [f"class {i}" for i in range(30)]
    assert evaluate.worst(confusion, names).splitlines() == [
        "  class 7 taken for class 1 3 times", "  class 3 taken for class 4 2 times",
    ]  # fmt: skip


def test_pictures_and_bars():
    image = np.array([[0.0, 1.0], [0.5, 0.0]])
    assert drawing.inked(image, 2, ascii_only=False) == ["  ██", "▒▒"]
    assert drawing.inked(image, 1, ascii_only=True) == [" #", ":"]
    probabilities = np.array([0.25, 0.75])
    assert drawing.bars(probabilities, ["cat", "ox"], 10, ascii_only=True) == [
        "cat   25.0%  " + 10 * "#", "ox    75.0%  " + 30 * "#",
    ]  # fmt: skip
    assert drawing.bars(probabilities, ["cat", "ox"], 1, ascii_only=True) == ["ox   75.0%  " + 30 * "#"]


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


def test_doctor_says_which_extras_are_missing(capsys, monkeypatch):
    extras = {"a": ("this", ("numpy",)), "b": ("that", ("numpy", "no-such-package"))}
    monkeypatch.setattr(doctor, "EXTRAS", extras)
    assert dict(doctor._extras()) == {
        "extra 'a'": f"numpy {np.__version__}",
        "extra 'b'": "without no-such-package: type `pip install 'treadle[b]'` for that",
    }


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
