"""Ctrl-C while variables are being replaced: held back until the last of them is in place. Knows nothing of
programs.
"""

from __future__ import annotations

# Not `signal`: it turns every handler into an enum and back, which took longer than a small program's run.
import _signal  # pyright: ignore[reportMissingImports]
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_noted: list[FrameType | None] = []
_previous: list[Callable[[int, FrameType | None], Any]] = []


def _note(number: int, frame: FrameType | None) -> None:
    _noted.append(frame)


@contextmanager
def held() -> Iterator[None]:
    """A block whose interrupts come at its end, or where `deliver` is called. Only the main thread is
    interrupted at all.
    """
    previous = (
        _signal.getsignal(_signal.SIGINT) if threading.get_ident() == threading.main_thread().ident else None
    )
    if not callable(previous) or previous is _note:
        yield
        return
    _previous.append(previous)
    _signal.signal(_signal.SIGINT, _note)
    try:
        yield
    finally:
        _signal.signal(_signal.SIGINT, previous)
        _previous.pop()
        if _noted:
            frame = _noted.pop()
            _noted.clear()
            previous(_signal.SIGINT, frame)


def deliver() -> None:
    """Raise now what a surrounding `held` holds back: for places before the first store into a variable."""
    if _noted and threading.get_ident() == threading.main_thread().ident:
        frame = _noted.pop()
        _noted.clear()
        _previous[-1](_signal.SIGINT, frame)
