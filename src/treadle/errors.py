"""The family of errors, and how a message finds the user's own line. Knows nothing of the rest.

A message says the operation and its arguments, what was given, the user's line, and what to do.
"""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_inside: dict[CodeType, bool] = {}


class Line(NamedTuple):
    """A place in the user's program: the code object and the instruction, turned to text only when asked."""

    code: CodeType
    instruction: int

    @property
    def number(self) -> int:
        """The line number in the file."""
        for start, stop, line in self.code.co_lines():
            if start <= self.instruction < stop and line is not None:
                return line
        return self.code.co_firstlineno

    def __str__(self) -> str:
        text = linecache.getline(self.code.co_filename, self.number).strip()
        name = self.code.co_filename
        relative = os.path.relpath(name) if os.path.isabs(name) and os.path.exists(name) else name
        name = relative if len(relative) < len(name) else name
        return f"{name}:{self.number}" + (f": {text}" if text else "")


class SavedLine(str):
    """A place in the program that made a graph, as text: that program need not be here."""

    __slots__ = ()


Place = Line | SavedLine


def _is_inside(code: CodeType) -> bool:
    """Whether code belongs to Treadle itself or to code that Treadle wrote."""
    found = code.co_filename.startswith(PACKAGE)
    _inside[code] = found
    return found


def user_line() -> Line | None:
    """The innermost line outside Treadle of the call that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        inside = _inside.get(code)
        if not (_is_inside(code) if inside is None else inside):
            return Line(code, frame.f_lasti)
        frame = frame.f_back
    return None


class TreadleError(Exception):
    """Base of every error that Treadle raises on purpose. `line` is the user's line it is about, if there
    is one.
    """

    def __init__(self, message: str, line: Place | None = None):
        line = user_line() if line is None else line
        super().__init__(f"{message}\n  at {line}" if line is not None else message)
        self.message = message
        self.line = line
        self.placed = False

    def place(self, where: str) -> None:
        """Say in which part of a program it happened; the innermost part that says so stands."""
        if not self.placed:
            self.placed = True
            self.message = f"{self.message}, {where}"
            self.args = (f"{self.message}\n  at {self.line}" if self.line is not None else self.message,)


class ShapeError(TreadleError, ValueError):
    """Shapes do not fit an operation. Reshape, broadcast or transpose an argument."""


class DTypeError(TreadleError, TypeError):
    """An operation is not defined for a dtype. Convert with ``astype``."""


class ArgumentError(TreadleError, ValueError):
    """An argument has a value that means nothing to the operation."""


class AxisError(ArgumentError, IndexError):
    """An axis lies outside the dimensions of an array, or is no integer."""


class IndexingError(TreadleError, IndexError):
    """An index lies outside its dimension, or has a form that arrays do not take."""


class NameUnknown(TreadleError, AttributeError):
    """A name of another system, or a misspelled one: the message names ours."""


class KeywordUnknown(TreadleError, TypeError):
    """A keyword of another system, or a misspelled one: the message names ours."""


class GradientError(TreadleError, ValueError):
    """No gradient: not connected, not differentiable, or its history ended at an assignment."""


class PlaceholderError(TreadleError, ValueError):
    """A value was demanded that depends on a placeholder. Run it through a session or a function, and feed
    it.
    """


class FeedError(TreadleError, ValueError):
    """What was fed does not fit: unknown or missing placeholder, wrong shape or dtype."""


class StateError(TreadleError, RuntimeError):
    """An assignment that cannot be made, or an array whose variable version never came to be."""


class VerifyError(TreadleError, AssertionError):
    """A compiler pass broke an invariant: a bug in Treadle. The message names the pass."""


class LinAlgError(TreadleError, np.linalg.LinAlgError):
    """A matrix is not what an operation needs when it runs: singular, not positive definite, not finite."""


class OutOfMemory(TreadleError, MemoryError):
    """A program needs more memory than the device has; known before it runs."""


class DeviceError(TreadleError, RuntimeError):
    """A device that is not there, or that does not do what was asked."""


class NumericsError(TreadleError, ArithmeticError):
    """A program gave a NaN or an infinity under ``check_numerics``; the message names where it arose."""


class DataError(TreadleError, RuntimeError):
    """An item of a data set cannot be read or mapped, or what reads it is not there; the message names it.
    `fault` is what is known of an item.
    """

    fault: Any = None


class CheckpointError(TreadleError, OSError):
    """A checkpoint cannot be written: the folder is not writable, or the disk is full."""


class FormatError(TreadleError, ValueError):
    """A file or text that is not what it should be; the message gives the offset."""
