"""What holds for every test: how hard hypothesis searches, Ctrl-C, and a kernel cache of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# What several files of tests use: nodes.py and op_examples.py here, numeric.py among the tests of ops.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "ops")]

QUICK = os.environ.get("TREADLE_TEST_QUICK") == "1"
CI = "CI" in os.environ

# Compiling a kernel for the first time takes longer than any deadline that would mean something.
settings.register_profile("default", deadline=None, derandomize=CI)
settings.register_profile("quick", settings.get_profile("default"), max_examples=10)
settings.load_profile("quick" if QUICK else "default")

# What is started in the background of a shell ignores Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Set here, before a test imports treadle. Workers of pytest-xdist inherit the variable from the process
# that started them: they share one cache, and only the process that made it removes it.
_own_cache = None
if "TREADLE_CACHE_DIR" not in os.environ:
    _own_cache = os.environ["TREADLE_CACHE_DIR"] = tempfile.mkdtemp(prefix="treadle-test-cache-")


def pytest_unconfigure() -> None:
    if _own_cache is not None:
        shutil.rmtree(_own_cache, ignore_errors=True)
        del os.environ["TREADLE_CACHE_DIR"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where new arrays are, in tests that name no device")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--device")
    if name != "cpu":
        from treadle.devices import registry
        from treadle.graph.node import Surroundings

        Surroundings.device = registry.find(name).name
