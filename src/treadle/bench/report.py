"""Outcomes as plain numbers for a file, and as a table. Measures nothing."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from treadle.bench.contenders import OURS, is_ours
from treadle.bench.rotation import Measured, Outcome
from treadle.bench.workloads import Workload

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "ms a step", "quartiles", "over ours", "first step", "from caches", "peak MiB", "GFLOP/s", "of peak",
)  # fmt: skip


def as_json(workload: Workload, outcome: Outcome, peak_gflops: float) -> dict[str, Any]:
    """A workload's outcome; ratios are a peer's median time over ours, shares those of the peak."""
    flops = next((m.flops for m in outcome.measured.values() if m.flops), None)
    contenders = {name: _numbers(measured, flops, peak_gflops) for name, measured in outcome.measured.items()}
    peers = {name: found["median_ms"] for name, found in contenders.items() if not is_ours(name)}
    fastest = min(peers, key=peers.__getitem__, default=None)
    ours = contenders.get(OURS)
    return {
        "name": workload.name,
        "text": workload.text,
        "flops": flops,
        "contenders": contenders,
        "failed": outcome.failed,
        "fastest_peer": fastest,
        "ratio": round(peers[fastest] / ours["median_ms"], 3) if fastest and ours else None,
        "wanted_ratio": workload.ratio,
        "wanted_share": workload.share,
        "wanted_first_s": workload.first_s,
    }


def _numbers(measured: Measured, flops: int | None, peak_gflops: float) -> dict[str, Any]:
    median = measured.median_s
    several = len(measured.rounds_s) > 1
    low, _, high = statistics.quantiles(measured.rounds_s, n=4) if several else [median] * 3
    return {
        "median_ms": round(1e3 * median, 4),
        "quartiles_ms": [round(1e3 * low, 4), round(1e3 * high, 4)],
        "rounds": len(measured.rounds_s),
        "steps": measured.steps,
        "first_cold_s": measured.first_cold_s and round(measured.first_cold_s, 4),
        "first_cached_s": measured.first_cached_s and round(measured.first_cached_s, 4),
        "peak_mib": round(measured.peak_nbytes / (1 << 20), 1),
        "gflop_per_s": flops and round(flops / median / 1e9, 1),
        "peak_share": flops and round(flops / median / 1e9 / peak_gflops, 4),
        "numbers": measured.numbers,
    }


def table(found: dict[str, Any]) -> Table:
    """What `as_json` made of a workload."""
    from rich.table import Table

    ratio, wanted = found["ratio"], found["wanted_ratio"]
    title = found["text"]
    if ratio is not None:
        title += f": {ratio:.2f}x of {found['fastest_peer']}" + (f" (wanted: {wanted})" if wanted else "")
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    ours = found["contenders"].get(OURS)
    for name, numbers in sorted(found["contenders"].items(), key=lambda item: item[1]["median_ms"]):
        low, high = numbers["quartiles_ms"]
        shown.add_row(
            name,
            _short(numbers["median_ms"]),
            f"{_short(low)}-{_short(high)}",
            f"{numbers['median_ms'] / ours['median_ms']:.2f}" if ours else "",
            _seconds(numbers["first_cold_s"]),
            _seconds(numbers["first_cached_s"]),
            f"{numbers['peak_mib']:,.0f}",
            f"{numbers['gflop_per_s']:.0f}" if numbers["gflop_per_s"] else "",
            f"{100 * numbers['peak_share']:.0f} %" if numbers["peak_share"] else "",
        )
    return shown


def _short(ms: float) -> str:
    return f"{ms:.3g}" if ms < 100 else f"{ms:.0f}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.0f} ms"
