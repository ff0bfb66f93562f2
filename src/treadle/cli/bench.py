"""`treadle bench`: whole steps of networks, here and in other frameworks, in turns."""

from __future__ import annotations

import datetime
import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="names or beginnings of names (all; --list)"
    )
    parser.add_argument("--list", action="store_true", help="list the workloads and who takes part")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="against whom (all that are installed)")
    parser.add_argument("--rounds", type=int, default=7, help="how often everybody has a turn (7)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn, at least one step (0.3)")
    parser.add_argument("--threads", type=int, help="of each (cores)")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds until one is given up (300)")
    parser.add_argument(
        "--caches", metavar="FOLDER", help="keep what is compiled there, and do not measure cold first steps"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the numbers to a file; - prints them alone"
    )


def run(options: Namespace) -> int:
    """Measure, and show."""
    from rich.console import Console

    from treadle.bench.contenders import CONTENDERS, OURS, is_ours
    from treadle.bench.host import cores, machine, versions
    from treadle.bench.report import as_json, table
    from treadle.bench.rotation import Rules, measure
    from treadle.bench.workloads import WORKLOADS, chosen
    from treadle.errors import ArgumentError

    names = chosen("workload", options.workloads, WORKLOADS)
    who = [OURS, *(name for name in chosen("peer", options.peers or [], CONTENDERS) if name != OURS)]
    if options.peers == []:
        who = [name for name in who if is_ours(name)]
    if options.list:
        for name in names:
            print(f"{name:<24}{WORKLOADS[name].text}")
        print("against: " + ", ".join(name for name in CONTENDERS if name != OURS))
        return 0
    for name in ("rounds", "seconds", "threads", "patience"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ArgumentError(f"--{name} {value:g}: expected a positive number")
    rules = Rules(
        options.rounds, options.seconds, options.threads or cores(), options.patience,
        options.caches is None, None if options.caches is None else Path(options.caches),
    )  # fmt: skip
    lacking = {name: CONTENDERS[name].missing() for name in who}
    packages = sorted({package for name in who for package in CONTENDERS[name].packages})
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["treadle bench", *[w for w in sys.argv[2:] if "/" not in w]]),
        "machine": machine(),
        "versions": versions(["numpy", "llvmlite", *packages]),
        "threads": rules.threads,
        "rounds": rules.rounds,
        "peak_gflops": round(_peak_gflops(rules.threads), 1),
        "workloads": [],
    }
    console = Console(highlight=False, stderr=options.json == "-")
    if not console.is_terminal:
        console = Console(highlight=False, stderr=options.json == "-", width=120)
    said = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    console.print(
        f"{found['machine']['processor']}, {rules.threads} threads, "
        f"{found['peak_gflops']:.0f} GFLOP/s of multiply-adds; {said}"
    )
    for name in who:
        if lacking[name]:
            console.print(f"{name} is left out: pip install {' '.join(lacking[name])}")
    teller = Console(stderr=True)
    for name in names:
        workload = WORKLOADS[name]
        part = [CONTENDERS[n] for n in who if not lacking[n] and CONTENDERS[n].takes_part(workload)]
        with teller.status("") as status:
            outcome = measure(workload, part, rules, status.update)
        found["workloads"].append(as_json(workload, outcome, found["peak_gflops"]))
        console.print(table(found["workloads"][-1]))
        for reason in outcome.failed.values():
            console.print(f"left out: {reason}", markup=False)
        if options.json not in (None, "-"):  # what there is, in case that the rest is interrupted
            Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.json == "-":
        print(json.dumps(found, indent=1))
    return 1 if any(not entry["contenders"] for entry in found["workloads"]) else 0


def _peak_gflops(threads: int) -> float:
    """What so many threads of this machine can do."""
    import treadle as td
    from treadle.bench.machine import limits

    before = td.num_threads()
    td.set_num_threads(threads)
    try:
        return limits().peak_gflops(threads)
    finally:
        td.set_num_threads(before)
