"""The script behind the README's first two commands, with its processes recorded instead of run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def dev(tmp_path, monkeypatch):
    """The script as a module that believes `tmp_path` to be the checkout, and its commands in `dev.calls`."""
    loader = SourceFileLoader("dev_script", str(ROOT / "dev"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    module.ROOT = tmp_path
    module.live_in(".venv")
    (tmp_path / "pyproject.toml").write_text("first")
    module.calls = []

    def call(command, environment=None):
        words = [str(word) for word in command]
        module.calls.append((words, environment))
        if "venv" in words:
            module.PYTHON.parent.mkdir(parents=True)
            module.PYTHON.touch()
        return 0

    module.call = call
    module.find_installer = lambda: ["pip", "install"]
    return module


def installs(dev):
    return [words[-1] for words, _ in dev.calls if words[0] == "pip"]


def test_it_parses_on_pythons_that_it_turns_away():
    ast.parse((ROOT / "dev").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_it_supports_the_pythons_that_pyproject_does(dev):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">={}.{},<{}.{}".format(
        *dev.OLDEST, dev.NEWEST[0], dev.NEWEST[1] + 1
    )


def test_without_a_command_it_lists_them_and_installs_nothing(dev, capsys):
    assert dev.main([]) == 0
    assert "./dev train digits" in capsys.readouterr().out and dev.calls == []
    listed = subprocess.run(
        [sys.executable, str(ROOT / "dev"), "help"], capture_output=True, text=True, check=True
    )
    assert all(f"./dev {name}" in listed.stdout for name in dev.COMMANDS)


def test_an_unsupported_python_is_told_what_to_install_in_one_line(dev, monkeypatch):
    monkeypatch.setattr(dev, "supported", lambda python: False)
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 to 3\.14, and this is \d+\.\d+") as stopped:
        dev.find_python()
    assert "\n" not in str(stopped.value)


def test_it_installs_once_and_again_when_pyproject_changes(dev, tmp_path):
    dev.install({"test"})
    dev.install({"test"})
    assert installs(dev) == [".[test]"]
    (tmp_path / "pyproject.toml").write_text("second")
    dev.install({"test"})
    assert installs(dev) == [".[test]", ".[test]"]


def test_extras_are_added_and_kept(dev):
    dev.install({"test"})
    dev.install({"lint", "test"})
    dev.install({"test"})
    assert installs(dev) == [".[test]", ".[lint,test]"]


def test_a_moved_checkout_gets_a_new_environment(dev):
    dev.install({"test"})
    stamp = json.loads(dev.STAMP.read_text())
    dev.STAMP.write_text(json.dumps(dict(stamp, root="elsewhere")))
    dev.install({"test"})
    assert len([words for words, _ in dev.calls if "venv" in words]) == 2


def test_a_failed_installation_is_tried_again(dev, monkeypatch):
    works = dev.call
    monkeypatch.setattr(dev, "call", lambda command: works(command) or (command[0] == "pip"))
    with pytest.raises(SystemExit, match="the installation failed"):
        dev.install({"test"})
    monkeypatch.setattr(dev, "call", works)
    dev.install({"test"})
    assert installs(dev) == [".[test]", ".[test]"]


def test_quick_deselects_slow_tests_and_says_so_to_the_tests(dev):
    dev.main(["test", "--quick", "tests/test_dev.py"])
    words, environment = dev.calls[-1]
    assert words[-3:] == ["-m", "not slow", "tests/test_dev.py"]
    assert environment["TREADLE_TEST_QUICK"] == "1"
    dev.main(["test", "-x"])
    words, environment = dev.calls[-1]
    assert "not slow" not in words and words[-1] == "-x"


def test_other_words_go_to_treadle(dev):
    dev.main(["train", "digits", "--epochs", "3"])
    words, _ = dev.calls[-1]
    assert Path(words[0]).name == "treadle" and words[1:] == ["train", "digits", "--epochs", "3"]


def test_measurements_have_an_environment_of_their_own(dev, tmp_path, capsys):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "part.py").write_text("")
    (tmp_path / "bench" / "whole.py").write_text('if __name__ == "__main__": pass')
    dev.main(["bench", "whole", "--threads", "1"])
    assert installs(dev) == [".[bench]"] and (tmp_path / ".bench-venv" / "installed.json").exists()
    words, _ = dev.calls[-1]
    assert ".bench-venv" in words[0] and Path(words[1]).name == "whole.py" and words[2:] == ["--threads", "1"]
    dev.main(["bench"])
    assert "one of whole;" in capsys.readouterr().out
    dev.main(["bench", "part", "--rounds", "3"])
    words, _ = dev.calls[-1]
    assert ".bench-venv" in words[0] and words[1:] == ["bench", "part", "--rounds", "3"]
