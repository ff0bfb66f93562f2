"""The program cache: compiled programs by the structure of their graphs, bounded, and why it missed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from treadle.compiler import recording
from treadle.compiler.executable import Executable


class ProgramCache:
    """Compiled programs by structure, the least recently used dropped first. It says why it missed."""

    def __init__(self, most: int = 512):
        self.most = most
        self.programs: OrderedDict[Any, Executable] = OrderedDict()
        self.hits = 0
        self.misses: list[str] = []
        self._lock = threading.RLock()  # threads that compile must not change what others look through

    def get(self, key: Any, build: Callable[[], Executable], reason: Callable[[], str]) -> Executable:
        """The program of that structure, built if it is new."""
        with self._lock:
            found = self.programs.get(key)
            if found is not None:
                self.hits += 1
                self.programs.move_to_end(key)
                return found
        self.misses = [*self.misses[-19:], reason()]
        began, recorder = time.monotonic_ns(), recording.local.recorder
        program = build()
        if recorder is not None:
            recorder.compiling_ns += time.monotonic_ns() - began
        with self._lock:
            self.programs[key] = program
            while len(self.programs) > self.most:
                self.programs.popitem(last=False)
        return program

    def explain_miss(self, key: tuple[Any, ...]) -> str:
        """How a structure differs from the most similar one that is known."""
        best, best_same = None, -1
        with self._lock:
            recent = list(self.programs)[-64:]
        for known in recent:
            same = 0
            for a, b in zip(known, key, strict=False):
                if a != b:
                    break
                same += 1
            if same > best_same:
                best, best_same = known, same
        if best is None:
            return "the first program"
        here, there = _entry(key, best_same), _entry(best, best_same)
        return f"node {best_same - 1} is {here}, in the most similar program {there}"


def _entry(key: tuple[Any, ...], position: int) -> str:
    if position >= len(key):
        return "nothing"
    entry = key[position]
    return (
        f"{entry[0].name}" + (f" {entry[1]}" if entry[1] else "")
        if isinstance(entry, tuple) and entry and hasattr(entry[0], "name")
        else repr(entry)
    )


programs = ProgramCache()
if hasattr(os, "register_at_fork"):
    # A child must not find it locked by a thread that it does not have.
    os.register_at_fork(
        before=programs._lock.acquire,
        after_in_child=programs._lock.release,
        after_in_parent=programs._lock.release,
    )
