"""`treadle bench input` measures every stage and the pipeline, on its own images or a folder's."""

from __future__ import annotations

import json

import pytest

from treadle.bench.input import generate
from treadle.cli import main

QUICK = ["--size", "32", "--batch", "4", "--seconds", "0.05", "--threads", "2"]


def test_generated_images(capsys):
    assert main(["bench", "input", "--images", "8", *QUICK]) == 0
    shown = capsys.readouterr().out
    for word in ("disk", "decode", "augment", "batch", "copy", "compute", "60 % of", "waiting"):
        assert word in shown, word


def test_a_folder_as_json(tmp_path, capsys):
    generate(tmp_path, 6)
    assert main(["bench", "input", str(tmp_path), *QUICK, "--step-ms", "5", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 6 and found["bytes"] > 10_000
    assert all(ms > 0 for ms in found["stages_ms"].values()) and len(found["stages_ms"]) == 6
    for run in found["runs"].values():
        assert run["images_per_s"] > 0 and 0 <= run["waited_share"] <= 1
        assert {"reading", "decoding", "augmenting", "batching", "copying"} <= set(run["spent_ms"])
    assert main(["bench", "input", str(tmp_path), *QUICK, "--json", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["images"] == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch", "7"], "has 6 images, fewer than a batch of 7"),
        (["--busy", "2"], "busy=2.0 is not in (0, 1]"),
    ],
)
def test_wrong_use(tmp_path, capsys, words, says):
    generate(tmp_path, 6)
    assert main(["bench", "input", str(tmp_path), *QUICK, *words]) == 1
    assert says in capsys.readouterr().err
