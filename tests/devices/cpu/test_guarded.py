"""Networks whose every value lies between guard pages: that they train alike there, and that faults show."""

from __future__ import annotations

import ctypes
import sys

import guarded
import numpy as np
import pytest
from guard import PAGE
from guarded import Arena
from test_same_bits import NETS, trained

import treadle as td
from treadle import config
from treadle.devices.cpu import section
from treadle.devices.cpu.target import host_isas


@pytest.mark.parametrize("name", NETS)
def test_networks_train_alike_between_guard_pages(name):
    """Each by another instruction set; that of random networks is drawn (test_random_networks.py)."""
    isa = host_isas()[list(NETS).index(name) % len(host_isas())]
    with config.configured(isa=isa.name):
        with guarded.guarded() as kernels:
            under = trained(name, 2)
        assert under == trained(name, 1)
    assert len(set(kernels)) > 20


def chain(x):
    return td.sum(td.softmax(x @ x.T, axis=1) @ x, axis=0)


def test_two_values_in_one_place_are_found(monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE", "0")
    x = td.asarray(np.random.default_rng(0).standard_normal((70, 70)), dtype=td.float32)
    with guarded.guarded():
        td.compile(chain)(x)
    monkeypatch.setattr(section, "place", lambda spans: ([0] * len(spans), 1 << 20))
    with guarded.guarded(), pytest.raises(AssertionError, match="output 0 has other bits"):
        td.compile(lambda x: chain(x + 1))(x)


def test_bytes_beside_a_value_are_watched():
    arena = Arena(4 * PAGE, [(PAGE, 100), (3 * PAGE - 8, 8)])
    arena.poison()
    for offset in (PAGE, PAGE + 99, 3 * PAGE - 1):
        ctypes.memset(arena.address + offset, 0, 1)
    arena.check()
    for offset in (PAGE + 100, 3 * PAGE - 9):
        arena.poison()
        ctypes.memset(arena.address + offset, 0, 1)
        with pytest.raises(AssertionError, match="beside the values"):
            arena.check()


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux says what may be accessed")
def test_pages_without_a_value_are_inaccessible():
    arena = Arena(4 * PAGE, [(PAGE, 100), (2 * PAGE, 8)])
    with open("/proc/self/maps", encoding="ascii") as file:
        ranges = [line.split()[:2] for line in file]
    access = {}
    for span, permissions in ranges:
        first, last = (int(text, 16) for text in span.split("-"))
        for page in range(4):
            if first <= arena.address + page * PAGE < last:
                access[page] = permissions[:2]
    assert access == {0: "--", 1: "rw", 2: "rw", 3: "--"}
