"""Compiling many kernels at once: what is not on the disk is shared among this process and a few that are
started for it.

That pays from about half a second of work: a compiler process takes 0.1 s to start. Whatever becomes of those
processes, this one finishes the work; it alone decides what an error is.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence

import llvmlite.binding as llvm

from treadle.devices.cpu import codegen, jit
from treadle.devices.cpu.native import ENTRY, LoadedKernel, NativeKernel
from treadle.devices.cpu.target import Isa, host_isas
from treadle.devices.cpu.threads import num_threads

MODULE_S, CHARACTER_S = 2e-3, 1.2e-6
"""About what compiling takes: for each module, and for each character of its text."""
PROCESS_S = 0.5
"""As many processes, this one among them, as there are such portions of work."""
MAXIMUM_PROCESSES = 16


def load_many(kernels: Sequence[NativeKernel], isa: Isa | None = None) -> list[LoadedKernel]:
    """`jit.load` of each, sooner where many must be compiled."""
    isa = isa or host_isas()[0]
    texts = {kernel.text for kernel in kernels if not jit.is_loaded(kernel.text, isa)}
    missing = [text for text in texts if not jit.is_kept(text, isa)]
    work_s = sum(MODULE_S + CHARACTER_S * len(text) for text in missing)
    processes = min(int(work_s / PROCESS_S), num_threads(), len(missing), MAXIMUM_PROCESSES)
    codes = compile_texts(missing, isa, processes) if processes > 1 else {}
    # Held until every kernel has taken hold of its own.
    libraries = [jit.load_module(text, (ENTRY,), isa, code) for text, code in codes.items()]
    loaded = [jit.load(kernel, isa) for kernel in kernels]
    del libraries
    return loaded


def compile_texts(texts: Sequence[str], isa: Isa, processes: int) -> dict[str, bytes]:
    """Object code of each text, by so many processes, this one among them.

    Raises RuntimeError with LLVM's message where a text is wrong.
    """
    # The longest come first, so that no process is left alone with one at the end.
    waiting = deque(sorted(texts, key=len, reverse=True))
    codes: dict[str, bytes] = {}
    servers = [server for server in (_start_server() for _ in range(processes - 1)) if server is not None]
    feeders = [threading.Thread(target=_feed, args=(s, waiting, codes, isa), daemon=True) for s in servers]
    for feeder in feeders:
        feeder.start()
    try:
        _compile_here(waiting, codes, isa)
        for feeder in feeders:
            feeder.join()
        _compile_here(waiting, codes, isa)  # what servers gave back
    finally:
        waiting.clear()
        for server in servers:
            server.kill()
        for feeder in feeders:
            feeder.join()
        for server in servers:
            _close(server)
    return codes


def _compile_here(waiting: deque[str], codes: dict[str, bytes], isa: Isa) -> None:
    while waiting:
        try:
            text = waiting.popleft()
        except IndexError:  # a server took the last one
            return
        codes[text] = jit.object_code(text, isa)


def _start_server() -> subprocess.Popen[bytes] | None:
    """A process that compiles, in a group of its own, so that an interrupt at the keyboard is left to this
    one.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    # Without -P the folder of that file would come first on the path, and its names hide the standard
    # library's.
    command = [sys.executable, "-P", codegen.__file__]
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return None


def _close(server: subprocess.Popen[bytes]) -> None:
    """Leave neither a zombie nor an open pipe behind."""
    for stream in (server.stdin, server.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    server.wait()


def _feed(server: subprocess.Popen[bytes], waiting: deque[str], codes: dict[str, bytes], isa: Isa) -> None:
    """Hand texts to a server until none are left or it fails; what it failed at goes back."""
    assert server.stdin is not None and server.stdout is not None
    triple = llvm.get_process_triple()
    while waiting:
        try:
            text = waiting.popleft()
        except IndexError:
            return
        try:
            codegen.request(server.stdin, text, isa.features, triple)
            code = codegen.reply(server.stdout)
        except (OSError, ValueError):
            code = None
        if code is None:
            waiting.append(text)
            return
        codes[text] = code
