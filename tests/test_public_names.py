"""Every public name is there, described, and tried by a test; what is generated from the records is fresh."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import treadle as td
from treadle import generate
from treadle.ops import record

TESTS = Path(__file__).resolve().parent
MEMBERS = sorted(name for name in dir(td.Array) if not name.startswith("_"))
CALLABLE = sorted(name for name in td.__all__ if callable(getattr(td, name)) and name not in ("Array",))
BELOW = {name: getattr(td, name) for name in record.NAMESPACES}
"""The namespaces below the main one."""


def words() -> set[str]:
    """Every name that a test or the example of a docstring uses, this file's own not counted."""
    found: set[str] = set()
    for path in TESTS.rglob("*.py"):
        if path != Path(__file__).resolve():
            found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return found


def test_no_public_name_is_untested():
    tried = words()
    assert sorted(set(td.__all__) - tried) == []


@pytest.mark.parametrize("module", BELOW.values(), ids=BELOW)
def test_no_name_of_a_namespace_below_is_untested(module):
    tried = words()
    assert sorted(set(module.__all__) - tried) == []


def test_no_member_of_arrays_is_untested():
    tried = words()
    assert sorted(set(MEMBERS) - tried) == []


def test_every_public_name_is_there_once():
    assert len(set(td.__all__)) == len(td.__all__)
    for name in td.__all__:
        assert hasattr(td, name), name


@pytest.mark.parametrize("name", CALLABLE)
def test_every_public_function_says_what_it_does(name: str):
    assert (inspect.getdoc(getattr(td, name)) or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("module", BELOW.values(), ids=BELOW)
def test_every_function_of_a_namespace_below_says_what_it_does(module):
    for name in module.__all__:
        assert (inspect.getdoc(getattr(module, name)) or "").strip(), f"{module.__name__}.{name}"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_says_what_it_does(name: str):
    assert (inspect.getdoc(getattr(td.Array, name)) or "").strip(), f"Array.{name} has no docstring"


def test_every_function_of_the_ops_is_public():
    missing = set(record.PUBLIC) - set(td.__all__)
    assert not missing, f"marked @public and not in the namespace: {sorted(missing)}; run ./dev generate"
    for name, functions in record.NAMESPACES.items():
        assert sorted(functions) == BELOW[name].__all__


@pytest.mark.parametrize("path", generate.files(), ids=lambda path: path.name)
def test_generated_files_are_fresh(path: Path):
    fresh = generate.files()[path]
    assert path.read_text(encoding="utf-8") == fresh, f"{path.name} is out of date: run ./dev generate"


def test_generation_writes_what_differs_and_nothing_else(monkeypatch, tmp_path, capsys):
    stale, kept = tmp_path / "stale.py", tmp_path / "kept.py"
    stale.write_text("old", encoding="utf-8")
    kept.write_text("same", encoding="utf-8")
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr(generate, "files", lambda: {stale: "new", kept: "same"})
    assert generate.main() == 0
    assert stale.read_text(encoding="utf-8") == "new"
    assert kept.stat().st_mtime_ns == before
    assert capsys.readouterr().out == "wrote stale.py\n"
