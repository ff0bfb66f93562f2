"""What a training run came to: what was measured when, and where the time went. Knows nothing of the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KINDS = ("data", "steps", "evaluation", "compiling", "checkpoints", "callbacks")
"""What time is spent on."""


@dataclass
class History:
    """What a run came to; `print` shows where its time went and what to change."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """For every evaluation and every end of an epoch: ``step``, ``epoch``, and what was measured then."""
    step: int = 0
    """Steps made, over all epochs."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    """Where the time went; what a program's first run takes counts as compiling."""
    stopped: str | None = None
    """Why training ended."""
    programs: int = 0
    """How many programs were compiled, one for each size of batches, in training and in evaluation."""
    advice: str = ""
    """What the input pipeline says of waiting."""

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for data."""
        return self.seconds["data"] / (sum(self.seconds.values()) or 1.0)

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """The steps at which something was measured, and its values."""
        rows = [row for row in self.rows if name in row]
        return [int(row["step"]) for row in rows], [row[name] for row in rows]

    def report(self) -> str:
        """Where the time went, and what to change."""
        total = sum(self.seconds.values())
        parts = ", ".join(f"{kind} {spent:.1f}" for kind, spent in self.seconds.items() if spent >= 0.05)
        lines = [f"{self.step} steps in {total:.1f} s ({self.stopped}): {parts or 'all below 0.05'} s"]
        lines.append(f"waited {100 * self.waiting:.0f} % of the time for data")
        if self.waiting > 0.05:
            lines[-1] += "; " + (self.advice or ADVICE)
        if self.programs > 4:
            lines.append(
                f"compiled {self.programs} programs, one for each size of batches: make batches of one size "
                f"(drop_last=True)"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.report()


ADVICE = "give data.Loader with threads or processes, which work ahead while a step computes"


def with_numbers(values: dict[str, Any]) -> dict[str, float]:
    """What of measured values is a number."""
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
