"""`treadle bench machine`: what this machine can do at most, which profiles compare kernels with."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.bench.machine import Limits


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--threads", type=int, help="how many are `all threads` (as many as programs use)")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the numbers to a file; - prints them alone"
    )


def run(options: Namespace) -> int:
    """Measure, keep, and show."""
    import treadle as td
    from treadle.bench.machine import measure

    before = td.num_threads()
    if options.threads is not None:
        td.set_num_threads(options.threads)
    try:
        found = measure()
    finally:
        td.set_num_threads(before)
    if options.json == "-":
        json.dump(found.to_dict(), sys.stdout, indent=2)
        print()
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    _show(found)
    return 0


def _show(found: Limits) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    said = found.machine
    console.print(f"{said['processor'] or said['architecture']}; {said['cores']} cores, {said['system']}")
    counts = sorted({1, found.threads})
    heads = ["1 thread" if n == 1 else f"{n} threads" for n in counts]
    table = Table("float32, GFLOP/s", *heads)
    for name, by_count in found.gflops.items():
        table.add_row(f"multiply-adds, {name}", *[f"{by_count[n]:.0f}" for n in counts])
        tile = found.tile_gflops[name]
        table.add_row(f"register tile, {name}", *[f"{tile[n]:.0f}" for n in counts])
    console.print(table)
    table = Table("memory, GB/s", "bytes", *heads)
    for level, kinds in found.gbytes.items():
        for kind, by_count in kinds.items():
            size = found.levels[level] >> 10
            label = f"{level} {kind}" if level != "beyond" else f"behind the caches, {kind}"
            table.add_row(label, f"{size:,} KiB", *[f"{by_count[n]:.1f}" for n in counts])
    console.print(table)
    if found.disturbed:
        console.print("Others had the cores: the arithmetic of all threads is that of so many single ones.")
    table = Table("to start", "us")
    table.add_row("a kernel on one thread", f"{found.kernel_us:.3f}")
    if found.threads > 1:
        table.add_row("a kernel on all threads", f"{found.fork_join_us:.3f}")
    table.add_row("a program, from Python", f"{found.program_us:.3f}")
    console.print(table)
