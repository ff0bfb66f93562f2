"""What holds for every test: how hard hypothesis searches, Ctrl-C, and a kernel cache of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
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


# -- devices: tests run on the CPU; those marked `every_device` run on every other device too, and with
# --all-devices everything does.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where new arrays are, in tests that name no device")
    parser.addoption("--all-devices", action="store_true", help="run every test on every device that is here")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--device")
    if name != "cpu":
        from treadle.devices import registry

        _set_device(registry.find(name).name)
    missing = set(os.environ.get("TREADLE_TEST_DEVICES", "").split()) - set(accelerators())
    if missing:
        raise pytest.UsageError(f"TREADLE_TEST_DEVICES asks for {', '.join(sorted(missing))}, not found here")


def pytest_report_header() -> str:
    found = accelerators()
    if not found:
        return "devices: no OpenCL or CUDA device is here, tests on them are left out"
    from treadle.devices import registry

    return "devices: " + ", ".join([f"{name} ({registry.find(name).describes})" for name in found])


@cache
def accelerators() -> tuple[str, ...]:
    """The first device of each kind besides the host's."""
    from treadle.devices import registry

    return tuple([name for name in registry.names() if name in registry.FAMILIES])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    places = list(accelerators())
    if metafunc.definition.get_closest_marker("every_device") is None:
        if not metafunc.config.getoption("--all-devices"):
            return
        places = ["cpu"] if metafunc.definition.get_closest_marker("cpu_only") else ["cpu", *places]
    if "on_device" not in metafunc.fixturenames:
        metafunc.fixturenames.append("on_device")
    metafunc.parametrize("on_device", places, indirect=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.getoption("--device") != "cpu" and item.get_closest_marker("cpu_only"):
        pytest.skip("about the CPU's memory and calls")


@pytest.fixture
def on_device(request: pytest.FixtureRequest) -> Iterator[str]:
    """New arrays are on this device."""
    from treadle.graph.node import Surroundings

    before = Surroundings.device
    _set_device(request.param)
    yield request.param
    _set_device(before)


def _set_device(name: str) -> None:
    from treadle.graph.node import Surroundings, surroundings

    # What a thread begins with, and what this one has kept from a block.
    Surroundings.device = surroundings.device = name
