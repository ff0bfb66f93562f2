"""The table of commands: help, mistyped commands, and errors as one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

import treadle
from treadle import cli


def test_help_names_every_command(capsys):
    for words in ([], ["--help"], ["help"]):
        assert cli.main(words) == 0
        out = capsys.readouterr().out
        assert all(f"treadle {name} " in out for name in cli.COMMANDS)


def test_every_command_has_help(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as exit:
            cli.main([*name.split(), "--help"])
        assert exit.value.code == 0
        assert f"usage: treadle {name}" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"treadle {treadle.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "digits"], "there is no command 'trian digits': did you mean `treadle train`?"),
        (["lecture", "two_layer"], "did you mean `treadle lecture two-layer`?"),
        (["doctr"], "did you mean `treadle doctor`?"),
        (["lecture"], "'lecture' wants one more word: `treadle lecture two-layer`"),
        (["frobnicate"], "there is no command 'frobnicate'; there are: train, "),
    ],
)
def test_mistyped_commands(words, message, capsys):
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_errors_are_one_line(capsys, tmp_path):
    assert cli.main(["train", "digits", "--device", "tape:7", "--folder", str(tmp_path / "x")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("treadle train: there is no device 'tape:7'")
    assert err.count("\n") == 1


def test_recipes_are_checked_before_anything(capsys, tmp_path):
    assert cli.main(["train", "digit"]) == 1
    assert "there is no recipe 'digit': did you mean 'digits'?" in capsys.readouterr().err
    words = ["train", "digits", "--folder", str(tmp_path / "x"), "--set", "optimizer.rat=1", "--epochs", "0"]
    assert cli.main(words) == 1
    assert "--set optimizer.rat=1: [optimizer] there is no key 'rat'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_interruption_is_no_traceback(capsys, monkeypatch):
    from treadle.cli import doctor

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_the_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "treadle", "--version"], capture_output=True, text=True)
    assert run.stdout == f"treadle {treadle.__version__}\n"


def test_help_loads_neither_rich_nor_llvm():
    program = (
        "import sys; from treadle import cli; cli.main(['--help']);"
        "print([name for name in ('rich', 'llvmlite', 'safetensors') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("\n[]\n")


ODD = {
    "no recipe": (["tune", "nothing.toml"], "treadle tune: there is no file nothing.toml"),
    "no script": (["explain", "nothing.py"], "treadle explain: there is no file nothing.py"),
    "no recipe to train": (["train", "nothing.toml"], "treadle train: there is no file nothing.toml"),
    "a folder": (["train", "folder.toml"], "treadle train: folder.toml: Is a directory"),
    "no TOML": (["tune", "bytes.toml"], "treadle tune: bytes.toml is no TOML file"),
    "an empty recipe": (["explain", "empty.toml"], "there is no section [model]"),
    "no saved graph": (["tune", "bytes.bin"], "this is no safetensors file"),
    "no run": (["tune", "folder"], "treadle tune: there is no run in folder"),
}


@pytest.mark.parametrize("name", ODD)
def test_missing_and_odd_files_are_named(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file in ("bytes.toml", "bytes.bin"):
        (tmp_path / file).write_bytes(bytes(range(255, 100, -1)))
    (tmp_path / "empty.toml").write_text("")
    for folder in ("folder", "folder.toml"):
        (tmp_path / folder).mkdir()
    words, message = ODD[name]
    assert cli.main(words) == 1
    assert message in capsys.readouterr().err


SCRIPTS = (
    "open('missing')",
    "import treadle as td\ntd.ones((2,)) + td.ones((3,))",
    "1 / 0",
    "what is this",
)


@pytest.mark.parametrize("text", SCRIPTS)
def test_what_a_script_raises_is_shown_with_its_lines(text, tmp_path, capsys):
    script = tmp_path / "mine.py"
    script.write_text(f"# a script\n{text}\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["explain", str(script)])
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert f'mine.py", line {1 + text.count(chr(10)) + 1}' in shown and "runpy" not in shown
