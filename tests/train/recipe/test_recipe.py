"""The grammar: every key is checked, all that is wrong is told with its line before anything is made."""

from __future__ import annotations

import pytest

import treadle as td
from treadle.errors import FormatError
from treadle.train.recipe.parts import found
from treadle.train.recipe.recipe import built_in, read_recipe

GOOD = """\
[model]
name = "net.py:Net"
width = 8

[data]
kind = "npz"
file = "numbers.npz"
batch = 16

[data.augment]
noise = 0.1

[loss]
name = "cross_entropy"
smoothing = 0.1

[optimizer]
name = "adamw"
rate = 1e-3
betas = [0.9, 0.99]
clip_norm = 1

[schedule]
name = "cosine"
warm_up = 10

[training]
epochs = 3
metrics = ["accuracy", "top5"]
folder = "runs/mine"
"""
NET = """\
from treadle import nn

class Net(nn.Module):
    def __init__(self, width: int, depth: int = 1):
        self.dense = nn.Dense(4, width)

    def forward(self, x):
        return self.dense(x)
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "mine.toml").write_text(GOOD)
    return tmp_path / "mine.toml"


def wrong(path, *changes, overrides=()):
    """The message for the good recipe with changes (old, new), as lines."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(FormatError) as error:
        read_recipe(path, overrides)
    return error.value.message.splitlines()


def test_a_recipe(path, tmp_path):
    recipe = read_recipe(path, ["optimizer.rate=0.5", "data.augment.shift=2"])
    assert recipe.name == "mine"
    assert recipe.named("model") == (f"{tmp_path}/net.py:Net", {"width": 8})
    assert recipe["data"]["file"] == str(tmp_path / "numbers.npz")
    assert recipe["data"]["augment"] == {"noise": 0.1, "shift": 2}
    assert recipe["optimizer"]["rate"] == 0.5
    assert recipe.training.epochs == 3 and recipe.training.folder == str(tmp_path / "runs/mine")
    assert recipe.named("schedule") == ("cosine", {"warm_up": 10})


def test_what_it_writes_is_the_same_recipe_anywhere(path, tmp_path):
    recipe = read_recipe(path)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "mine.toml"
    copy.write_text(recipe.text())
    assert read_recipe(copy).sections == recipe.sections


def test_paths_of_overrides_begin_here(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.py").write_text(NET)
    path = path.rename(tmp_path / "deep.toml")
    recipe = read_recipe(path, ["data.file=x.npz", "model.name=other.py:Net"])
    assert recipe["data"]["file"] == str(tmp_path / "x.npz")
    assert recipe["model"]["name"] == f"{tmp_path}/other.py:Net"


@pytest.mark.parametrize("name", built_in())
def test_those_that_come_with_treadle_are_of_the_same_grammar(name):
    assert {"model", "data", "optimizer", "training"} <= set(read_recipe(name).sections)


def test_the_number_of_a_line_and_what_was_meant(path):
    (line,) = wrong(path, ("rate = 1e-3", "rat = 1e-3"))
    assert line.startswith(
        f"{path}, line 19: [optimizer] there is no key 'rat': did you mean 'rate'? There are n"
    )
    (line,) = wrong(path, ("[optimizer]", "[optimiser]"))
    assert line.startswith(f"{path}, line 17: there is no section [optimiser]: did you mean 'optimizer'?")
    (line,) = wrong(path, ('"adamw"', '"adamv"'))
    assert "line 18: [optimizer] there is no name 'adamv': did you mean 'adam'? There are sgd, " in line
    (line,) = wrong(path, ('kind = "npz"', 'kind = "npy"'))
    assert "line 6: [data] there is no kind 'npy': did you mean 'npz'?" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 3", 'epochs = "three"'), "line 28: [training] epochs = 'three' is text: expected a w"),
        (("batch = 16", "batch = 1.5"), "line 8: [data] batch = 1.5 is a number: expected a whole number"),
        (("[0.9, 0.99]", "[0.9]"), "line 20: [optimizer] betas = [0.9] is a list: expected a list of 2: a"),
        (("noise = 0.1", "noise = true"), "line 11: [data.augment] noise = true is true or false: expect"),
        (("noise", "nose"), "line 11: [data.augment] there is no key 'nose': did you mean 'noise'?"),
        (("width = 8", "widht = 8"), "line 3: [model] there is no key 'widht': did you mean 'width'?"),
        (("smoothing = 0.1", "reduction = 'sum'"), "line 15: [loss] there is no key 'reduction'"),
        (('file = "numbers.npz"\n', ""), "line 5: [data] there is no file: it needs a path"),
        (("net.py:Net", "net.py:Nets"), "line 2: [model] "),
        (("net.py:Net", "nets.py:Net"), "line 2: [model] there is no file "),
        (("net.py:Net", "nosuchmodule:Net"), "line 2: [model] there is no module 'nosuchmodule'; a file"),
        (('["accuracy", "top5"]', '["acuracy"]'), "metrics = 'acuracy', which there is not: did you mean"),
        (("batch = 16", "layout = 'CHW'"), "layout = 'CHW', which there is not: did you mean 'NCHW'?"),
        (('name = "net.py:Net"\n', ""), "line 1: [model] name says nothing: expected text"),
        (("[model]", "[[model]]"), "is a section: write [model]"),
    ],
)  # fmt: skip
def test_wrong_values(path, change, message):
    assert any(message in line for line in wrong(path, change))


def test_networks_by_name(path):
    named = ('name = "net.py:Net"\nwidth = 8', 'name = "mobilenet_v2"\nnum_clases = 3')
    assert "[model] there is no key 'num_clases': did you mean 'num_classes'?" in wrong(path, named)[0]
    (line,) = wrong(path, (named[0], 'name = "mobilenet_v2"\nnum_classes = "ten"'))
    assert line.endswith("line 3: [model] num_classes = 'ten' is text: expected a whole number")
    (line,) = wrong(path, (named[0], 'name = "mobilenet"'))
    assert "there is no model 'mobilenet': did you mean 'mobilenet_v2'? There are digits, " in line
    path.write_text(GOOD.replace(named[0], 'name = "mobilenet_v2"\npretrained = "weights.pth"'))
    assert read_recipe(path)["model"]["pretrained"] == str(path.parent / "weights.pth")
    made = found("mobilenet_v2", path.parent)(num_classes=3)
    assert made.eval()(td.placeholder((1, 3, 32, 32))).shape == (1, 3)


def test_everything_is_told_at_once(path):
    lines = wrong(
        path, ("batch = 16", "batches = 16"), ("width = 8", "width = 'wide'"), ("epochs = 3", "epoch = 3")
    )
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in lines] == ["3", "8", "28"]


def test_a_missing_section(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[data]\nkind = "digits"\n')
    with pytest.raises(FormatError, match=r"a: there is no section \[model\]"):
        read_recipe(path)


def test_overrides_are_checked_too(path):
    (line,) = wrong(path, overrides=["optimizer.rate=fast"])
    assert line == "--set optimizer.rate=fast: [optimizer] rate = 'fast' is text: expected a number"


def test_names_that_are_none(tmp_path):
    with pytest.raises(
        FormatError, match=r"no recipe 'digit': did you mean 'digits'\? There are digits.*\.toml"
    ):
        read_recipe("digit")
    with pytest.raises(FileNotFoundError):
        read_recipe(tmp_path / "none.toml")
