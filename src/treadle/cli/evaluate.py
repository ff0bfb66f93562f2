"""`treadle evaluate`: what a trained network is worth on its data, and which classes it takes for which."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.cli.runs import add_run, read

if TYPE_CHECKING:
    import numpy as np

CLASSES = 25
"""Of more classes a table does not fit: what is most often confused is listed."""
PAIRS = 10


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    add_run(parser)
    parser.add_argument(
        "--training", action="store_true", help="on the training data, not on what is held out"
    )


def run(options: Namespace) -> int:
    """Measure, and print."""
    from rich.console import Console

    import treadle as td
    from treadle.train.progress import value_text

    with td.device(options.device):
        made, checkpoint = read(options.run, options.checkpoint, options.set)
        names = dict.fromkeys([*made.metrics(), *(["confusion"] if made.of_classes else [])])
        measured = made.evaluate(list(names), training=options.training)
    confusion = measured.pop("confusion", None)
    console = Console(highlight=False)
    where = "the training data" if options.training else "what is held out"
    console.print(f"{checkpoint.path}, on {where}", soft_wrap=True)
    for name, value in measured.items():
        console.print(f"  {name:<12}{value_text(name, value) if isinstance(value, int | float) else value}")
    if confusion is not None:
        right, total = int(confusion.trace()), int(confusion.sum())
        console.print(f"  {right} of {total} examples right")
        classes = [made.data.name(label) for label in range(len(confusion))]
        console.print(
            confusion_table(confusion, classes) if len(classes) <= CLASSES else worst(confusion, classes)
        )
    return 0


def confusion_table(confusion: np.ndarray, classes: Sequence[str]) -> Any:
    """A row for each right class: how often it was taken for each, and the share that was found."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="right class (rows) taken for", title_justify="left"
    )
    table.add_column("", no_wrap=True)
    for name in classes:
        table.add_column(name[:4], justify="right")
    table.add_column("found", justify="right")
    for name, row, i in zip(classes, confusion, range(len(classes))):
        cells = [f"[bold]{count}[/]" if i == j else str(count or "·") for j, count in enumerate(row)]
        table.add_row(name, *cells, f"{row[i] / row.sum():.1%}" if row.sum() else "-")
    return table


def worst(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """The pairs of classes that are most often confused."""
    pairs = [
        (int(count), classes[i], classes[j])
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    lines = [
        f"  {right} taken for {wrong} {n} times" for n, right, wrong in sorted(pairs, reverse=True)[:PAIRS]
    ]
    return "\n".join(lines)
