"""`treadle train digits`: the progress bar and the closing lines around `treadle.train.fit`."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--epochs", type=int, default=15, help="passes over the 1,437 training digits (15)")
    parser.add_argument(
        "--seed", type=int, default=0, help="decides first parameters and order of images (0)"
    )
    parser.add_argument(
        "--out", type=Path, help="where the network is saved (a file of the user's data folder)"
    )
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, or reference for NumPy (cpu)")


def run(options: Namespace) -> int:
    """Train, say how well, and save."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    import treadle as td
    from treadle.train import saved
    from treadle.train.fit import Progress, train_digits

    console = Console(highlight=False)
    out = options.out or saved.default_path()
    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  test {task.fields[test]}"),
        TimeElapsedColumn(),
    )
    began = time.perf_counter()
    with td.device(options.device), Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=None, epoch=1, loss="-", test="-")

        def show(progress: Progress) -> None:
            test = "-" if progress.correct is None else f"{progress.correct / progress.tested:.1%}"
            bar.update(
                task,
                total=progress.of,
                completed=progress.step,
                epoch=progress.epoch + 1,
                loss=f"{progress.loss:.4f}",
                test=test,
            )

        parameters, outcome = train_digits(options.epochs, options.seed, show)
    total = time.perf_counter() - began
    notes = {
        "accuracy": f"{outcome.correct}/{outcome.tested}",
        "seed": str(options.seed),
        "epochs": str(options.epochs),
    }
    saved.save(parameters, out, notes)
    console.print(
        f"{outcome.correct} of {outcome.tested} held-out digits right: test accuracy {outcome.accuracy:.2%}"
    )
    console.print(f"saved to {out}", soft_wrap=True)
    spent = {**outcome.seconds, "rest": max(0.0, total - sum(outcome.seconds.values()))}
    parts = ", ".join(f"{what} {seconds / total:.0%}" for what, seconds in spent.items())
    console.print(
        f"{outcome.steps} steps of {outcome.step_ms:.2f} ms in {total:.1f} s: {parts}",
        soft_wrap=True,
    )
    return 0
