"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import treadle

MODULES = sorted(module.name for module in pkgutil.walk_packages(treadle.__path__, "treadle."))
# ELLIPSIS: what differs between machines, such as times, is left out of an example.
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0, (
        f"{result.failed} of {result.attempted} examples of {name} fail, as printed above"
    )
