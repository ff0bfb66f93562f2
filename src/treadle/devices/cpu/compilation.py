"""Compiling many kernels: what is not on the disk is shared among this process and a few that are started for
it, and those begin while this one is still writing kernels.

Whatever becomes of those processes, this one finishes the work; it alone decides what an error is.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterable, Sequence

import llvmlite.binding as llvm

from treadle.devices.cpu import codegen, jit, objects, servers
from treadle.devices.cpu.native import ENTRY, LoadedKernel, NativeKernel
from treadle.devices.cpu.servers import Server
from treadle.devices.cpu.target import Isa, host_isas

MODULE_S, CHARACTER_S = 2e-3, 0.4e-6
"""About what compiling takes: for each module, and for each character of its text."""
AHEAD = 2
"""How many texts a server has at a time, since this process is slow to answer while it writes others."""
SERVER_S = 0.25
"""There is a server for each such portion of work, if so many may be: one takes 0.1 s to start."""


def load_many(kernels: Sequence[NativeKernel], isa: Isa | None = None) -> list[LoadedKernel]:
    """`jit.load` of each, sooner where many must be compiled."""
    with Compilers(isa or host_isas()[0]) as compilers:
        compilers.add(kernels)
        return compilers.load(kernels)


class Compilers:
    """A block in which kernels are compiled by other processes as they become known. `started` are servers
    that are there already.
    """

    def __init__(self, isa: Isa, started: Iterable[Server] = ()):
        self.isa = isa
        self.codes: dict[str, bytes] = {}
        """Object code by name."""
        self._names: dict[str, str] = {}
        # The longest come first, so that no process is left alone with one at the end.
        self._waiting: list[tuple[int, str]] = []
        self._change = threading.Condition()
        self._all_known = False
        self._work_s = 0.0
        self._servers: list[Server] = []
        self._feeders: list[threading.Thread] = []
        for server in started:
            self._employ(server)

    def __enter__(self) -> Compilers:
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._waiting.clear()
            self._all_known = True
            self._change.notify_all()
        for server in self._servers:
            server.kill()
        for feeder in self._feeders:
            feeder.join()
        for server in self._servers:
            servers.close(server)

    def name(self, text: str) -> str:
        """What the object code of a text is kept under."""
        name = self._names.get(text)
        if name is None:
            name = self._names[text] = jit.file_name(text, self.isa)
        return name

    def add(self, kernels: Iterable[NativeKernel]) -> None:
        """Kernels that will be loaded: those that are new may be compiled from now on."""
        for kernel in kernels:
            text = kernel.text
            if text in self._names:
                continue
            name = self.name(text)
            if objects.is_loaded(name, (ENTRY,)) or objects.is_kept(name):
                continue
            with self._change:
                heapq.heappush(self._waiting, (-len(text), text))
                self._change.notify()
            self._work_s += MODULE_S + CHARACTER_S * len(text)
            if min(int(self._work_s / SERVER_S), servers.most()) > len(self._servers):
                server = servers.start()
                if server is not None:
                    self._employ(server)

    def load(self, kernels: Sequence[NativeKernel]) -> list[LoadedKernel]:
        """All of them, in order. Ends what this object is for.

        Raises RuntimeError with LLVM's message where a text is wrong.
        """
        self.add(kernels)
        self._finish()
        return [LoadedKernel(kernel.facts, self._library(kernel.text)) for kernel in kernels]

    def _library(self, text: str) -> objects.Library:
        name = self.name(text)
        return objects.load(name, (ENTRY,), lambda: self.codes.get(name) or jit.object_code(text, self.isa))

    def _finish(self) -> None:
        """Compile what is waiting, here too."""
        with self._change:
            self._all_known = True
            self._change.notify_all()
        self._compile_here()
        for feeder in self._feeders:
            feeder.join()
        self._compile_here()  # what servers gave back

    def _compile_here(self) -> None:
        while (text := self._next()) is not None:
            self.codes[self.name(text)] = jit.object_code(text, self.isa)

    def _next(self, wait: bool = True) -> str | None:
        """The longest text that waits, or None: there is none, and with `wait` there will be no more."""
        with self._change:
            while not self._waiting:
                if self._all_known or not wait:
                    return None
                self._change.wait()
            return heapq.heappop(self._waiting)[1]

    def _employ(self, server: Server) -> None:
        self._servers.append(server)
        feeder = threading.Thread(target=self._feed, args=(server,), daemon=True)
        self._feeders.append(feeder)
        feeder.start()

    def _feed(self, server: Server) -> None:
        """Hand texts to a server until none are left or it fails; what it failed at goes back."""
        assert server.stdin is not None and server.stdout is not None
        triple = llvm.get_process_triple()
        asked: deque[str] = deque()
        try:
            while True:
                while len(asked) < AHEAD and (text := self._next(wait=not asked)) is not None:
                    asked.append(text)
                    codegen.request(server.stdin, text, self.isa.features, triple)
                if not asked:
                    return
                code = codegen.reply(server.stdout)
                if code is None:
                    break
                self.codes[self.name(asked.popleft())] = code
        except (OSError, ValueError):
            pass
        with self._change:
            for text in asked:
                heapq.heappush(self._waiting, (-len(text), text))
