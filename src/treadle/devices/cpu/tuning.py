"""Schedules that were measured: a table by problem, kept on the disk for this machine.

Generators list the schedules they could use, the one they would choose first, all with the same bits; `pick`
takes the first, or the one that was quickest when somebody asked to measure. Knows neither kernels nor how
they are run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from treadle import config
from treadle.devices.cpu import disk, identity
from treadle.devices.cpu.target import Isa

T = TypeVar("T")
MOST = 8
"""Schedules that are tried for one problem."""


class _Trial(threading.local):
    """While problems are measured: what was asked, and what is to be answered."""

    asked: dict[str, list[str]] | None = None
    """The schedules of each problem asked for, by their texts."""
    answers: dict[str, str] | None = None


_trial = _Trial()
_tables: dict[tuple[str, str | None], dict[str, str]] = {}
"""The schedules chosen for problems, by instruction set and folder."""


def pick(problem: Any, schedules: Sequence[T], isa: Isa) -> T:
    """One of the schedules: that measured to be the quickest for the problem, or the first."""
    if _trial.asked is None and not table(isa):
        return schedules[0]
    name = disk.name(repr(problem), isa.name)
    texts = [repr(schedule) for schedule in schedules[:MOST]]
    if _trial.asked is not None:
        _trial.asked[name] = texts
    chosen = (_trial.answers or {}).get(name) or table(isa).get(name)
    return schedules[texts.index(chosen)] if chosen in texts else schedules[0]


@contextmanager
def asking(answers: dict[str, str] | None = None) -> Iterator[dict[str, list[str]]]:
    """A block whose problems are noted, by name with the texts of their schedules; `answers` are given before
    the table's.
    """
    before = _trial.asked, _trial.answers
    _trial.asked, _trial.answers = {}, answers
    try:
        yield _trial.asked
    finally:
        _trial.asked, _trial.answers = before


def table(isa: Isa) -> dict[str, str]:
    """What has been chosen by measurement, for this build on this machine."""
    kept = disk.from_environment()
    place = isa.name, None if kept is None else str(kept.directory)
    if place not in _tables:
        data = None if kept is None else kept.get(_name(isa))
        _tables[place] = {} if data is None else json.loads(data)
    return _tables[place]


def choose(chosen: dict[str, str], isa: Isa) -> None:
    """Add to the table, for this process and those that come."""
    known = table(isa)
    known.update(chosen)
    kept = disk.from_environment()
    if kept is not None:
        kept.put(_name(isa), json.dumps(known).encode())
    config.tunings += 1


def forget(isa: Isa) -> None:
    """Empty the table."""
    table(isa).clear()
    choose({}, isa)


def digest(isa: Isa) -> str:
    """The table as a short text; empty where nothing was measured."""
    known = table(isa)
    return hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest() if known else ""


def _name(isa: Isa) -> str:
    return disk.name("tuned", identity.build(), json.dumps(identity.machine()), isa.name)
