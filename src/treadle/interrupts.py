"""Ctrl-C while variables are being replaced: held back until the last of them is in place. Knows nothing of
programs.
"""

from __future__ import annotations

# Not `signal`: it turns every handler into an enum and back, which took longer than a small program's run.
import _signal  # pyright: ignore[reportMissingImports]
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_noted: list[FrameType | None] = []
_previous: list[Callable[[int, FrameType | None], Any]] = []


def _note(number: int, frame: FrameType | None) -> None:
    _noted.append(frame)


class Held:
    """A block whose interrupts come at its end, or where `deliver` is called. Only the main thread is
    interrupted at all.
    """

    __slots__ = ("previous",)

    def __enter__(self) -> None:
        on_main = threading.get_ident() == threading.main_thread().ident
        previous: Any = _signal.getsignal(_signal.SIGINT) if on_main else None
        self.previous = previous if callable(previous) and previous is not _note else None
        if self.previous is not None:
            _previous.append(self.previous)
            _signal.signal(_signal.SIGINT, _note)

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.previous is None:
            return
        _signal.signal(_signal.SIGINT, self.previous)
        _previous.pop()
        if _noted:
            frame = _noted.pop()
            _noted.clear()
            self.previous(_signal.SIGINT, frame)


def deliver() -> None:
    """Raise now what a surrounding `held` holds back: for places before the first store into a variable."""
    if _noted and threading.get_ident() == threading.main_thread().ident:
        frame = _noted.pop()
        _noted.clear()
        _previous[-1](_signal.SIGINT, frame)
