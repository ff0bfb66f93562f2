"""A worker that dies in the middle of a message leaves whoever reads it waiting; the loop is not."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from treadle.data import ahead
from treadle.data.item import Item


class Stuck:
    """Gives one item; then its worker is killed, and nothing comes any more."""

    def __init__(self):
        self.seen, self.over = threading.Event(), threading.Event()
        self.worker = multiprocessing.get_context("spawn").Process(
            target=time.sleep, args=(100,), name="grain-process-prefetch"
        )
        self.given = False
        self._prefetch_process = self.worker

    def __next__(self):
        if not self.given:
            self.given = True
            self.worker.start()
            return Item(1, ("item 0",))
        self.seen.wait(60)
        self.worker.kill()
        self.worker.join()
        self.over.wait(60)
        raise StopIteration


def test_half_a_message_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(ahead, "PATIENCE_S", 0.1)
    stuck = Stuck()
    monkeypatch.setattr(ahead, "_grains", lambda: {stuck.worker: stuck} if stuck.worker.pid else {})
    items = ahead.Ahead(stuck, 2, None, processes=True)
    assert next(items).value == 1  # whereupon it looks for workers
    assert items._workers == {stuck.worker}
    stuck.seen.set()
    with pytest.raises(RuntimeError, match="it ended with exit code -9"):
        next(items)
    items.close()
    assert stuck._prefetch_process is None  # so that nothing empties its queue when the program ends
    stuck.over.set()
    items._thread.join(10)
    assert not items._thread.is_alive()
