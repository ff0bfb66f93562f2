"""What this machine can do at most: multiply-adds, register tiles, memory by level, starting work. Measured
once and kept on the disk for profiles to compare with.

Knows nothing of how the numbers are shown.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from treadle.devices.cpu import disk, jit, probes, threads
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.identity import machine
from treadle.devices.cpu.native import LoadedKernel, NativeKernel
from treadle.devices.cpu.runner import Entry, Frame, Table
from treadle.devices.cpu.target import Isa, host_isas
from treadle.devices.host import allocate

VERSION = 1
SPENT_S = 1e-3
"""How long one measurement of registers or of a cache takes, roughly."""
LEAST_S, MOST_S = 0.02, 0.5
"""How long it is repeated. The best counts, since whatever else runs only takes away; several threads are
waited for until they do nearly what so many single ones would.
"""
NEARLY = 0.95
DISTURBED = 0.75
"""Arithmetic of all threads is less than this share of what so many single ones do only where others have the
cores.
"""
REPEATS = 20
CALLS = 256
SHORT_ROUNDS = 500
"""Of multiply-adds: some microseconds, so that every thread comes to take its part."""
BEYOND_MOST = 128 << 20
"""The most memory that is taken to measure what lies behind the caches."""
CPUS = Path("/sys/devices/system/cpu")
USUAL_NBYTES = {"L1": 32 << 10, "L2": 1 << 20}
"""The caches of a machine that does not tell."""


@dataclass
class Limits:
    """Of a machine, each by the number of threads: 1, and all."""

    isa: str
    """The widest instruction set, or the one asked for."""
    threads: int
    machine: dict[str, Any]
    gflops: dict[str, dict[int, float]] = field(default_factory=dict)
    """Multiply-adds of float32 in registers, by instruction set; 10^9 operations a second."""
    tile_gflops: dict[str, dict[int, float]] = field(default_factory=dict)
    """The same of the register tile of products, which loads its operands from the first cache."""
    gbytes: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    """By level of memory, and read, copy or triad; 10^9 bytes a second, those read and those written."""
    levels: dict[str, int] = field(default_factory=dict)
    """By level, the bytes of one core's cache; of "beyond" those that were gone over."""
    fork_join_us: float = 0.0
    """What it takes to share a kernel among all threads."""
    kernel_us: float = 0.0
    """What it takes to start a kernel on one thread."""
    program_us: float = 0.0
    """What it takes to start a program from Python."""
    whole: bool = False
    """Everything was measured, not only what a profile needs."""
    disturbed: bool = False
    """Others had the cores: the arithmetic of all threads is taken to be that of so many single ones."""

    def peak_gflops(self, count: int, itemsize: int = 4) -> float:
        """Multiply-adds that `count` threads can do."""
        found = self.gflops[self.isa]
        return (found[count] if count in found else count * found[1]) * 4 / max(4, itemsize)

    def memory_gbytes(self, nbytes: int, count: int) -> float:
        """What `count` threads can read and write, of values of `nbytes` altogether."""
        room = {"L2": self.levels["L2"] * count, "L3": self.levels.get("L3", 0)}
        level = next((level for level, most in room.items() if nbytes <= most), "beyond")
        best = [found.get(count, found[1]) for found in self.gbytes[level].values()]
        return max(best)

    def roofs(self, count: int) -> dict[str, float]:
        """The fastest that `count` threads can read and write, by level of memory."""
        names = {"L2": "L2", "L3": "L3", "beyond": "memory"}
        return {
            name: max(found.get(count, found[1]) for found in self.gbytes[level].values())
            for level, name in names.items()
            if level in self.gbytes
        }

    def to_dict(self) -> dict[str, Any]:
        """As numbers, texts, lists and dicts."""
        return asdict(self)


def limits() -> Limits:
    """This machine's: those that are kept, or what a profile needs, measured now in about a second."""
    count, isa = threads.num_threads(), chosen_isa().name
    return _limits(count, isa, _name(count, isa))


@cache
def _limits(count: int, isa: str, name: str) -> Limits:
    return _kept(name) or measure(whole=False)


def measure(whole: bool = True) -> Limits:
    """Measure, and keep it on the disk.

    Args:
        whole: all instruction sets and levels of memory; False for what profiles need.
    """
    isa, count = chosen_isa(), threads.num_threads()
    levels = _levels(count)
    found = Limits(isa.name, count, machine(), levels=levels, whole=whole)
    for each in host_isas() if whole else (isa,):
        found.gflops[each.name] = _by_count(count, partial(_gflops, probes.multiply_adds, each))
        if whole:
            found.tile_gflops[each.name] = _by_count(count, partial(_gflops, probes.tile, each))
    for level in levels if whole else [level for level in levels if level != "L1"]:
        found.gbytes[level] = {
            kind: _by_count(count, partial(_gbytes, isa, kind, level, levels[level]))
            for kind in (probes.MEMORY if whole else ("read", "triad"))
        }
    for by_count in (*found.gflops.values(), *found.tile_gflops.values()):
        expected = _cores(count) * by_count[1]
        if by_count[count] < DISTURBED * expected:
            by_count[count], found.disturbed = expected, True
    found.kernel_us, found.program_us = _starting(isa)
    found.fork_join_us = _sharing(isa, count) if count > 1 else 0.0
    kept = disk.from_environment()
    if kept is not None:
        kept.put(_name(count, isa.name), json.dumps(found.to_dict()).encode())
        _limits.cache_clear()
    return found


def _name(count: int, isa: str) -> str:
    return disk.name("machine", str(VERSION), json.dumps(machine()), str(count), isa)


def _kept(name: str) -> Limits | None:
    kept = disk.from_environment()
    data = None if kept is None else kept.get(name)
    if data is None:
        return None
    read = json.loads(data, object_hook=lambda d: {int(k) if k.isdigit() else k: v for k, v in d.items()})
    return Limits(**read)


def _cores(count: int) -> int:
    """How many cores so many threads have, as far as the system tells."""
    cores = {path.read_text() for path in CPUS.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return min(count, len(cores)) if cores else 1


def _levels(count: int) -> dict[str, int]:
    """Bytes of a core's first and second cache, and how many are gone over to measure what is behind them."""
    sizes = dict(USUAL_NBYTES)
    for folder in sorted(CPUS.glob("cpu0/cache/index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and f"L{level}" in sizes | {"L3": 0} and size.endswith("K"):
            sizes[f"L{level}"] = int(size[:-1]) << 10
    # Virtual machines tell the third cache of the whole host, of which they have a part.
    third = sizes.pop("L3", 0)
    if third > 8 * sizes["L2"]:
        sizes["L3"] = min(third, 8 * sizes["L2"] * count)
    return sizes | {"beyond": min(BEYOND_MOST, max(4 * third, 16 * sizes["L2"] * count))}


# -- one number each


def _by_count(count: int, rate: Callable[[int, float], float]) -> dict[int, float]:
    """A rate by one thread, and by all."""
    one = rate(1, 0.0)
    # Several can do what one can, whoever disturbed them.
    return {1: one} if count == 1 else {1: one, count: max(one, rate(count, NEARLY * count * one))}


def _gflops(make: Callable[[Isa, int, int], NativeKernel], isa: Isa, count: int, enough: float) -> float:
    room, rounds = count * max(probes.tile_nbytes(isa), 4096), 1000
    kernel = make(isa, 1, rounds)
    took = _seconds(kernel, isa, [room, room], 0.0)
    kernel = make(isa, count, max(1, round(rounds * SPENT_S / took)))
    enough_s = kernel.flops / enough / 1e9 if enough else 0.0
    return kernel.flops / _seconds(kernel, isa, [room, room], enough_s) / 1e9


def _gbytes(isa: Isa, kind: str, level: str, size: int, count: int, enough: float) -> float:
    """Over half of a cache on each core; of what is behind the caches over all of it, once."""
    arrays, shared = probes.MEMORY[kind], level in ("beyond", "L3")
    step = probes.STREAMS * isa.vector_nbytes
    nbytes = max(step, size // (arrays * (count if shared else 2)) // step * step)
    rounds = 1 if shared else max(1, round(SPENT_S * 50e9 / (arrays * nbytes)))
    kernel = probes.memory(isa, kind, count, nbytes, rounds)
    enough_s = kernel.nbytes / enough / 1e9 if enough else 0.0
    return kernel.nbytes / _seconds(kernel, isa, [nbytes * count] * arrays, enough_s) / 1e9


def _seconds(kernel: NativeKernel, isa: Isa, sizes: list[int], enough_s: float) -> float:
    """The least time of a kernel; none that is less than `enough_s` is waited for."""
    loaded = jit.load(kernel, isa)
    buffers = [allocate(nbytes) for nbytes in sizes]
    for buffer in buffers:
        buffer.raw.fill(0)
    frame = Frame(Table([Entry(loaded, tuple((i, 0) for i in range(len(sizes))))] * 2))
    best, began = float("inf"), time.perf_counter()
    while True:
        frame.run([buffer.address for buffer in buffers], profile=True)
        best = min(best, *(timing.total_ns / 1e9 for timing in frame.timings()))
        spent = time.perf_counter() - began
        if spent > (MOST_S if enough_s and best > enough_s else LEAST_S):
            return max(best, 1e-9)


def _starting(isa: Isa) -> tuple[float, float]:
    """Microseconds that a kernel without work takes, and a program of one."""
    many, one = _calls(jit.load(probes.nothing(isa), isa), 0)
    return max(0.0, many - one) / (CALLS - 1), one


def _sharing(isa: Isa, count: int) -> float:
    """Microseconds that all threads take for a task each, beyond what one takes for one."""
    each = [_calls(jit.load(probes.multiply_adds(isa, n, SHORT_ROUNDS), isa), n)[0] for n in (count, 1)]
    return max(0.0, each[0] - each[1]) / CALLS


def _calls(kernel: LoadedKernel, tasks: int) -> tuple[float, float]:
    """Microseconds of a program of `CALLS` times a kernel, and of one that has it once: medians, since the
    least of several threads is where one of them did it all.
    """
    memory = allocate(4096 * max(1, tasks))
    memory.raw.fill(0)
    entry = Entry(kernel, ((0, 0),) * (tasks > 0))
    took: list[list[float]] = [[], []]
    frames = [Frame(Table([entry] * length)) for length in (CALLS, 1)]
    for _ in range(REPEATS):
        for seconds, frame in zip(took, frames, strict=True):
            began = time.perf_counter()
            frame.run([memory.address] * (tasks > 0))
            seconds.append(time.perf_counter() - began)
    many, one = (statistics.median(seconds) * 1e6 for seconds in took)
    return many, one
