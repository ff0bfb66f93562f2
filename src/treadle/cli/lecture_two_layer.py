"""`treadle lecture two-layer`: the five programs' losses and times as a table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--steps", type=int, default=50, help="steps of gradient descent for each program (50)"
    )


def run(options: Namespace) -> int:
    """Run the five programs and compare them; 1 if their losses differ."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from treadle.lecture import two_layer

    console = Console(highlight=False)
    with console.status("running") as status:
        runs = two_layer.run_all(options.steps, lambda name: status.update(f"running: {name}"))
    differences = two_layer.differences(runs)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("program", no_wrap=True)
    for heading in ("first loss", "last loss", "ms/step", "first ms", "difference"):
        table.add_column(heading, justify="right")
    for run, difference in zip(runs, differences, strict=True):
        table.add_row(
            run.name,
            f"{run.losses[0]:.5g}",
            f"{run.losses[-1]:.5g}",
            f"{run.step_ms:.2f}",
            f"{run.first_ms:.0f}",
            f"{difference:.1e}",
        )
    sizes = f"N, D, H = {two_layer.N}, {two_layer.D}, {two_layer.H}"
    console.print(f"Two-layer ReLU network, squared loss, {sizes}, {options.steps} steps", table)
    agree = max(differences) <= two_layer.TOLERANCE
    console.print(
        f"{'The same losses' if agree else 'DIFFERENT LOSSES'}: {max(differences):.1e} relative to NumPy's, "
        f"{two_layer.TOLERANCE:.0e} is allowed.\n"
        "ms/step is the median of the steps after the first, which compiles."
    )
    return 0 if agree else 1
