"""`td.tune`: measures the schedules that the kernels of a computation could have, and keeps the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.compiler.executable import Executable
from treadle.profiling.measure import expect_function, profiled


class Tunings(list[Any]):
    """What was measured: a row for each problem that has several schedules, with `label`, `before_ms`,
    `after_ms` and `tried`. Printed, those that got quicker.
    """

    def __str__(self) -> str:
        quicker = [row for row in self if row.after_ms < row.before_ms]
        lines = [
            f"{row.before_ms:8.3f} -> {row.after_ms:.3f} ms, {row.before_ms / row.after_ms:.2f}x: {row.label}"
            for row in sorted(quicker, key=lambda row: row.after_ms - row.before_ms)
        ]
        before, after = sum(row.before_ms for row in self), sum(row.after_ms for row in self)
        lines.append(
            f"{len(self)} problems measured, {len(quicker)} quicker now: {before:.3f} -> {after:.3f} ms"
        )
        return "\n".join(lines)


def tune(function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Tunings:
    """Measure the schedules of the products and convolutions in a computation, and use the best from now on.

    All schedules of a problem give the same bits. What is found is kept beside the compiled kernels, for this
    machine and this version of Treadle, and used by every program that is compiled from then on, in this
    process and in others; without it a model of the machine chooses.

    Args:
        function: a compiled function, or any other; it is called once, so a training step makes a step.
        arguments, keywords: what it is called with.

    Returns:
        What was measured.

    Raises:
        ArgumentError: function is none.

    >>> import treadle as td
    >>> @td.compile
    ... def product(a, b):
    ...     return a @ b
    >>> rows = td.tune(product, td.ones((64, 256)), td.ones((256, 512)))
    >>> len(rows), rows[0].label
    (1, 'matmul 64x256x512')
    """
    expect_function("tune", function)
    programs = profiled(function, arguments, keywords, 1, 0)[1]
    return Tunings(row for program in programs if isinstance(program, Executable) for row in program.tune())
