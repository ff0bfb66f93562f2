"""Run generated kernels where every wrong access shows: guard pages around each buffer, poison in all that is
undefined.

Each run is made twice: once with every array ending exactly where an inaccessible page starts, tasks in
random ranges and random order, and once with every array starting right after one, all tasks in one call.
Overruns crash, short overruns into the page's own padding are found afterwards, and both runs must give the
same bits.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Sequence

import numpy as np

from treadle.devices.cpu import jit
from treadle.devices.cpu.native import LoadedKernel, Lowered, NativeKernel
from treadle.devices.cpu.target import Isa

PAGE = mmap.PAGESIZE
PADDING = 0xA5
POISON = 0xFF
"""All bits set is a NaN in every floating type, -1 in the integers."""


class GuardedBuffer:
    """`nbytes` of memory between two inaccessible pages, touching the one at its `edge` ("end" or
    "begin").
    """

    def __init__(self, nbytes: int, edge: str, align: int = 1):
        span = -(-max(nbytes, 1) // PAGE) * PAGE
        self._pages = mmap.mmap(-1, span + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._bytes = np.frombuffer(self._pages, np.uint8)[PAGE : PAGE + span]
        self._bytes[:] = PADDING
        for guard in (start, start + PAGE + span):
            if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._offset = 0 if edge == "begin" else (span - nbytes) // align * align
        self.contents = self._bytes[self._offset : self._offset + nbytes]
        self.contents[:] = POISON
        self.address = start + PAGE + self._offset

    def check_padding(self, what: str) -> None:
        """Fail if a byte beside the contents was written."""
        end = self._offset + len(self.contents)
        for side, padding in (("before", self._bytes[: self._offset]), ("after", self._bytes[end:])):
            assert (padding == PADDING).all(), f"{what}: bytes {side} the buffer were written"


def ranges(tasks: int, generator: np.random.Generator | None) -> list[tuple[int, int]]:
    """The tasks as ranges ``(first, last)``: one range, or random ones in random order."""
    if generator is None:
        return [(0, tasks)]
    cuts = (
        generator.choice(
            np.arange(1, tasks), size=min(tasks - 1, int(generator.integers(0, 8))), replace=False
        )
        if tasks > 1
        else []
    )
    edges = [0, *sorted(int(cut) for cut in cuts), tasks]
    pairs = list(itertools.pairwise(edges))
    return [pairs[i] for i in generator.permutation(len(pairs))]


def run_kernel(
    kernel: NativeKernel,
    arrays: Sequence[np.ndarray],
    isa: Isa | None = None,
    seed: int = 0,
    task_order: str = "random",
) -> None:
    """Run one kernel on arrays (C-contiguous, read and written where they are given).

    `task_order` is "random" or "ordered": whether the first of the two runs splits and shuffles the tasks.
    """
    results = []
    for edge in ("end", "begin"):
        generator = np.random.default_rng(seed) if edge == "end" and task_order == "random" else None
        buffers = [_guarded(array, edge) for array in arrays]
        _call(jit.load(kernel, isa), buffers, edge, generator)
        results.append(buffers)
    _collect(kernel.label, results, arrays)


def run_lowered(
    lowered: Lowered,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    isa: Isa | None = None,
    seed: int = 0,
    over: Sequence[int] = (),
) -> None:
    """Run the steps of a lowered op. Outputs are poisoned first; inputs must come through unchanged, but for
    inputs `over`, whose memory the outputs take, in order.
    """
    results = []
    for edge in ("end", "begin"):
        generator = np.random.default_rng(seed) if edge == "end" else None
        buffers = {("in", i): _guarded(array, edge) for i, array in enumerate(inputs)}
        buffers |= {("out", i): GuardedBuffer(array.nbytes, edge) for i, array in enumerate(outputs)}
        buffers |= {
            ("temp", i): GuardedBuffer(nbytes, edge, align=64) for i, nbytes in enumerate(lowered.temporaries)
        }
        buffers |= {("out", i): buffers["in", number] for i, number in enumerate(over)}
        for step in lowered.steps:
            _call(
                jit.load(step.kernel, isa), [buffers[operand] for operand in step.operands], edge, generator
            )
        for i, array in enumerate(inputs):
            assert i in over or buffers["in", i].contents.tobytes() == array.tobytes(), (
                f"input {i} was written"
            )
        for (kind, i), buffer in buffers.items():
            buffer.check_padding(f"{kind} {i}")
        results.append([buffers["out", i] for i in range(len(outputs))])
    _collect("+".join(step.kernel.label for step in lowered.steps), results, outputs)


def _guarded(array: np.ndarray, edge: str) -> GuardedBuffer:
    assert array.flags.c_contiguous
    buffer = GuardedBuffer(array.nbytes, edge)
    buffer.contents[:] = np.frombuffer(array.tobytes(), np.uint8)
    return buffer


def _call(
    loaded: LoadedKernel,
    buffers: Sequence[GuardedBuffer],
    edge: str,
    generator: np.random.Generator | None,
) -> None:
    """Do all tasks, with fresh poison in the scratch memory before each range."""
    label = loaded.facts.label
    scratch = GuardedBuffer(loaded.facts.scratch_nbytes, edge, align=64)
    arguments = GuardedBuffer(8 * len(buffers), edge)
    arguments.contents.view(np.int64)[:] = [buffer.address for buffer in buffers]
    for first, last in ranges(loaded.facts.tasks, generator):
        scratch.contents[:] = POISON
        loaded.entry(arguments.address, first, last, scratch.address)
    scratch.check_padding(f"{label}: scratch")
    for i, buffer in enumerate(buffers):
        buffer.check_padding(f"{label}: operand {i}")


def _collect(label: str, results: list[list[GuardedBuffer]], arrays: Sequence[np.ndarray]) -> None:
    """Both runs gave the same bits: hand them out."""
    for i, (array, ended, began) in enumerate(zip(arrays, *results, strict=True)):
        same = ended.contents.tobytes() == began.contents.tobytes()
        assert same, (
            f"{label}: operand {i} depends on how tasks were divided, or on memory that was never written"
        )
        if array.flags.writeable:
            array[...] = np.frombuffer(ended.contents.tobytes(), array.dtype).reshape(array.shape)
