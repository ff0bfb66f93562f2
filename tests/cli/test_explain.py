"""`treadle explain`: the programs of a script, of a saved graph and of a recipe."""

from __future__ import annotations

import sys

import pytest

import treadle as td
from treadle import nn
from treadle.cli import main

SCRIPT = """
import sys
import treadle as td

x = td.ones((80, 100))
print("words", sys.argv[1:], __name__)
assert float(td.sum(td.tanh(x @ td.ones((100, 90))))) > 0
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SCRIPT)
    return str(path)


def test_a_script(script, capsys):
    before = sys.argv
    assert main(["explain", script, "--", "--fast"]) == 0
    assert sys.argv is before
    shown = capsys.readouterr().out
    assert "words ['--fast'] __main__" in shown
    for word in ("== program 0: inputs", "matmul 80x100x90", "tasks", "== largest values", "small.py:7"):
        assert word in shown, word
    assert "define void" not in shown


def test_code_passes_and_times(script, capsys, tmp_path):
    assert main(["explain", script, "--kernel", "0"]) == 0
    assert "define void @kernel" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert main(["explain", script, "--passes", "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "== simplify" in shown and "GFLOP/s" in shown and "<svg" in page.read_text()


def test_a_saved_graph_with_open_sizes(tmp_path, capsys):
    net = nn.Dense(100, 50)
    path = tmp_path / "net.treadle"
    td.save(path, net, td.placeholder(("batch", 100)))
    assert main(["explain", str(path), "--size", "batch=64"]) == 0
    assert "matmul 64x100x50" in capsys.readouterr().out


def test_a_recipe(capsys):
    assert main(["explain", "digits", "--profile"]) == 0
    shown = capsys.readouterr().out
    assert "commit: from here on variables are written" in shown and "update" in shown


def test_wrong_use(tmp_path, capsys):
    (tmp_path / "nothing.py").write_text("import treadle as td\nprint(float(td.ones(3).sum()))\n")
    assert main(["explain", str(tmp_path / "nothing.py")]) == 1
    assert "ran no program: what is below" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "missing.toml")]) == 1
    td.save(tmp_path / "f.treadle", td.exp, td.placeholder(("n", 3)))
    assert main(["explain", str(tmp_path / "f.treadle"), "--size", "n=many"]) == 1
    assert "write NAME=NUMBER" in capsys.readouterr().err
