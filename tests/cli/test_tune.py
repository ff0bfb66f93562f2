"""`treadle tune` on a script: what is measured, what is kept, and a script without anything to measure."""

from __future__ import annotations

import pytest

from treadle import cli, config


@pytest.fixture(autouse=True)
def own_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "tunings", config.tunings)


def test_a_script_is_tuned_and_forgotten(tmp_path, capsys):
    script = tmp_path / "mine.py"
    script.write_text(
        "import treadle as td\nprint((td.ones((64, 256)) @ td.ones((256, 300))).sum().item())\n"
    )
    assert cli.main(["tune", str(script)]) == 0
    assert "1 problems measured" in capsys.readouterr().out
    assert cli.main(["tune", "--forget", str(script)]) == 0


def test_a_script_without_products_says_so(tmp_path, capsys):
    script = tmp_path / "mine.py"
    script.write_text("print('nothing')\n")
    assert cli.main(["tune", str(script)]) == 1
    assert "no product or convolution" in capsys.readouterr().err
