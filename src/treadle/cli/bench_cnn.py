"""`treadle bench cnn`: the lecture's charts of convolution networks, for the machine at hand."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="which (all ten of the lecture)")
    parser.add_argument("--devices", nargs="*", metavar="NAME", help="where (the CPU and every accelerator)")
    parser.add_argument("--batch", type=int, default=16, help="images at once (16)")
    parser.add_argument("--image", type=int, default=224, help="height and width in pixels (224)")
    parser.add_argument("--runs", type=int, default=5, help="how often each pass is measured, at most (5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each pass, at most (60)")
    parser.add_argument("--out", type=Path, default=Path("bench-cnn.png"), help="the picture (bench-cnn.png)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the numbers to a file")


def run(options: Namespace) -> int:
    """Measure, and show."""
    from rich.console import Console
    from rich.table import Table

    from treadle.bench import cnn
    from treadle.bench.host import machine
    from treadle.devices import registry
    from treadle.errors import ArgumentError, TreadleError

    unknown = [name for name in options.networks if name not in cnn.NETWORKS]
    if unknown:
        raise ArgumentError(f"there is no network {unknown[0]!r}; there are {', '.join(cnn.NETWORKS)}")
    for name in ("batch", "image", "runs", "seconds"):
        if getattr(options, name) <= 0:
            raise ArgumentError(f"--{name} {getattr(options, name):g}: expected a positive number")
    console, places = Console(highlight=False), cnn.ways(options.devices)
    found: dict[str, Any] = {"machine": machine(), "batch": options.batch, "image": options.image}
    found["devices"] = {way.device: registry.find(way.device).describes for way in places}
    console.print(
        f"{found['machine']['processor']}, {found['machine']['cores']} cores; batch of {options.batch}"
    )
    for device, text in found["devices"].items():
        if text:
            console.print(f"{device}: {text}", markup=False)
    if not any(way.device.startswith("cuda") for way in places):
        console.print("no NVIDIA GPU here: its columns are left out")
    table = Table("ms", "2016 total", *[f"{way.title}: forward, backward, total" for way in places])
    rows: dict[str, dict[str, cnn.Times]] = {}
    for name in options.networks or cnn.NETWORKS:
        network = cnn.NETWORKS[name]
        cells, rows[name] = [], {}
        for way in places:
            try:
                times = cnn.measure(
                    network, way, batch=options.batch, image=options.image, runs=options.runs,
                    seconds=options.seconds,
                )  # fmt: skip
            except TreadleError as error:
                console.print(f"{network.title} on {way.title}: {error.message}", markup=False)
                cells.append("-")
                continue
            rows[name][way.title] = times
            cells.append(f"{times.forward:.1f}  {times.backward:.1f}  {times.total:.1f}")
        table.add_row(network.title, f"{network.published_ms:.2f}", *cells)
    console.print(table)
    console.print(cnn.PUBLISHED)
    found["ms"] = {
        name: {title: times._asdict() for title, times in by_way.items()} for name, by_way in rows.items()
    }
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    try:
        cnn.draw(rows, str(options.out))
    except ImportError:
        console.print("no picture without Matplotlib: type `pip install 'treadle[train]'`", markup=False)
    else:
        console.print(f"drawn: {options.out}")
    return 0 if any(rows.values()) else 1
