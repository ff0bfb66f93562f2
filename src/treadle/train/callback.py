"""What watches or steers training: callbacks, and triggers that say how often. Knows nothing of the loop.

A trainer calls its callbacks in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from treadle.errors import ArgumentError

if TYPE_CHECKING:
    from treadle.train.trainer import Trainer


class Callback:
    """Base of what is told of a training run; a subclass overrides what it wants to hear of.

    It reads ``trainer.step``, ``trainer.epoch``, ``trainer.latest`` and so on, and may call
    ``trainer.stop(reason)``. What it remembers goes into checkpoints by `state` and comes back by
    `load_state`, so that a resumed run goes on as if it had never been interrupted.
    """

    def begin(self, trainer: Trainer) -> None:
        """Before the first step; in a resumed run after everything was loaded, with ``trainer.step`` > 0."""

    def stepped(self, trainer: Trainer) -> None:
        """After every step: ``trainer.latest["loss"]`` is the loss of its batch."""

    def epoch_ended(self, trainer: Trainer) -> None:
        """After the last step of an epoch and its evaluation: ``trainer.latest`` has the epoch's means."""

    def evaluated(self, trainer: Trainer) -> None:
        """After every evaluation in training: ``trainer.latest`` has the names ``validation/...``."""

    def ended(self, trainer: Trainer) -> None:
        """At the end, also after an interrupt or an error: ``trainer.stopped`` says why."""

    def state(self) -> dict[str, Any]:
        """What it remembers: numbers, text, lists and dicts of them, and NumPy arrays."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""


class Trigger:
    """How often something happens in training. Made by `every`; called with a function or callback, it makes
    a callback that hears of it so often.
    """

    def __init__(self, steps: int | None, epochs: int | None):
        self.steps, self.epochs = steps, epochs

    def after_step(self, trainer: Trainer) -> bool:
        """Whether it is due after the step that was just made."""
        return self.steps is not None and trainer.step % self.steps == 0

    def after_epoch(self, trainer: Trainer) -> bool:
        """Whether it is due at the end of the epoch that was just made."""
        return self.epochs is not None and trainer.epoch % self.epochs == 0

    def __call__(self, action: Callback | Callable[[Trainer], Any]) -> Callback:
        if isinstance(action, Callback):
            return _Triggered(self, action)
        if not callable(action):
            raise ArgumentError(f"[every] {action!r} is neither a callback nor a function of the trainer")
        return _Calling(self, action)

    def __repr__(self) -> str:
        return f"every(steps={self.steps})" if self.steps is not None else f"every(epochs={self.epochs})"


def every(*, steps: int | None = None, epochs: int | None = None) -> Trigger:
    """A trigger: after every so many steps, or epochs.

    Args:
        steps, epochs: one of them, positive.

    Returns:
        Trigger. Called with a function of the trainer it gives a callback that calls it so often; called with
        a callback, one whose `stepped` (or `epoch_ended`) is called so often, and the rest as always.

    Raises:
        ArgumentError: not exactly one of them is given, or it is not positive.

    >>> from treadle import train
    >>> train.every(steps=100)(lambda trainer: print(trainer.latest["loss"]))
    every(steps=100)(<lambda>)
    """
    if (steps is None) == (epochs is None):
        raise ArgumentError(f"[every] steps={steps}, epochs={epochs}: give one of them")
    count = steps if steps is not None else epochs
    if not isinstance(count, int) or count < 1:
        raise ArgumentError(f"[every] {count!r} is not a positive integer")
    return Trigger(steps, epochs)


class _Calling(Callback):
    """A function as a callback."""

    def __init__(self, trigger: Trigger, function: Callable[[Trainer], Any]):
        self.trigger, self.function = trigger, function

    def stepped(self, trainer: Trainer) -> None:
        if self.trigger.after_step(trainer):
            self.function(trainer)

    def epoch_ended(self, trainer: Trainer) -> None:
        if self.trigger.after_epoch(trainer):
            self.function(trainer)

    def __repr__(self) -> str:
        return f"{self.trigger}({getattr(self.function, '__name__', type(self.function).__name__)})"


class _Triggered(Callback):
    """A callback that hears less often of steps, or of epochs."""

    def __init__(self, trigger: Trigger, inner: Callback):
        self.trigger, self.inner = trigger, inner
        self.begin, self.evaluated, self.ended = inner.begin, inner.evaluated, inner.ended
        self.state, self.load_state = inner.state, inner.load_state

    def stepped(self, trainer: Trainer) -> None:
        if self.trigger.steps is None or self.trigger.after_step(trainer):
            self.inner.stepped(trainer)

    def epoch_ended(self, trainer: Trainer) -> None:
        if self.trigger.epochs is None or self.trigger.after_epoch(trainer):
            self.inner.epoch_ended(trainer)

    def __repr__(self) -> str:
        return f"{self.trigger}({self.inner!r})"


def inner(callback: Callback) -> Any:
    """The callback, or function, that a trigger wraps; any other callback itself."""
    if isinstance(callback, _Triggered):
        return inner(callback.inner)
    return callback
