"""`treadle bench input`: what the input pipeline costs on this machine, stage by stage and together."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

STAGES = {
    "disk": "reading the file; where the system agrees, not from its cache",
    "decode": "JPEG to pixels",
    "augment": "a random part resized, flipped, its colours changed",
    "batch": "images as one array",
    "copy": "to the device; the CPU takes the memory as it is",
    "compute": "a training step of a small convolutional network",
}


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", nargs="?", help="images, a folder for each class (without: generated ones)")
    parser.add_argument("--images", type=int, default=256, help="how many to generate (256)")
    parser.add_argument("--size", type=int, default=224, help="height and width of the model's images (224)")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch (32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that prepare data (cores)")
    parser.add_argument(
        "--processes", type=int, default=0, help="that prepare data, each with the threads (0)"
    )
    parser.add_argument("--busy", type=float, default=0.6, help="share of a core a model needs (0.6)")
    parser.add_argument("--step-ms", type=float, help="its step (what one core needs for the step's data)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each run of the pipeline (4)")
    parser.add_argument("--device", default="cpu", help="where batches go (cpu)")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the numbers to a file; - prints them alone"
    )


def run(options: Namespace) -> int:
    """Measure, and show."""
    from treadle.bench.input import generate, measure

    names = ("size", "batch", "threads", "processes", "seconds", "busy", "step_ms", "device")
    chosen = {name: getattr(options, name) for name in names}
    if options.folder is not None:
        found = measure(Path(options.folder), **chosen)
    else:
        with tempfile.TemporaryDirectory(prefix="treadle-bench-input-") as made:
            generate(Path(made), max(options.images, options.batch))
            found = measure(Path(made), **chosen)
    if options.json == "-":
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _show(found)
    return 0


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{found['images']} images of {found['bytes'] / 1000:.0f} kB, batches of {found['batch']} x "
        f"{found['size']} x {found['size']} x 3; {found['cores']} cores, {found['threads']} threads and "
        f"{found['processes']} processes for data, on {found['device']}"
    )
    table = Table("stage, one core each", "ms an image", "images/s", "what")
    for stage, ms in found["stages_ms"].items():
        table.add_row(stage, f"{ms:.3f}", f"{1000 / ms:,.0f}" if ms > 1e-4 else "", STAGES[stage])
    console.print(table)
    table = Table("pipeline", "images/s", "waiting for data", "step, and alone", "what to change")
    for name, of in found["runs"].items():
        rate = f"{of['images_per_s']:,.0f}"
        if "alone_ms" not in of:  # without a model all the time is waiting
            table.add_row(name, rate)
            continue
        if "busy" in of:
            name = f"a model that needs {100 * of['busy']:.0f} % of a core"
        steps = f"{of['step_ms']:.1f} ms, {of['alone_ms']:.1f} ms"
        table.add_row(name, rate, f"{100 * of['waited_share']:.1f} %", steps, of["advice"])
    console.print(table)
