"""Ctrl-C while training: the first asks it to end, the second ends it. Knows nothing of the loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = "interrupted"


@contextmanager
def ending_on_interrupt(stop: Callable[[str], None]) -> Iterator[None]:
    """A block in which the first Ctrl-C calls `stop`, a second one does what it did before. Only the main
    thread is ever interrupted.
    """
    main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT) if main else None
    if not callable(previous):
        yield
        return
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            previous(number, frame)
        asked = True
        stop(INTERRUPTED)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
