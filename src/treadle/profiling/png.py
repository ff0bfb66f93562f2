"""The roofline of a profile as PNG, by Matplotlib."""

from __future__ import annotations

from pathlib import Path

from treadle.errors import DataError
from treadle.profiling.profile import Profile
from treadle.profiling.roofline import COLOURS, axes, points


def write_png(profile: Profile, path: Path) -> None:
    """Draw it.

    Raises:
        DataError: Matplotlib is not there.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # type: ignore[import-not-found]
        from matplotlib.figure import Figure  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        raise DataError(
            f"drawing {path.name} needs the package matplotlib, which is not installed: "
            "pip install 'treadle[train]'; Profile.html needs nothing"
        ) from None
    shown, of = points(profile), profile.totals
    left, right, low, high = axes(profile, shown)
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    plot = figure.add_subplot()
    for name, rate in of.roofs.items():
        ridge = of.limit_gflops / rate
        plot.plot([left, ridge, right], [left * rate, of.limit_gflops, of.limit_gflops], "k", linewidth=1)
        plot.annotate(
            f"{name}, {rate:.0f} GB/s", (ridge, of.limit_gflops), fontsize=8, va="bottom", ha="center"
        )
    for name, (colour, _) in COLOURS.items():
        of_family = [point for point in shown if point.family == name]
        plot.scatter(
            [point.intensity for point in of_family],
            [point.gflops for point in of_family],
            [20 + 4000 * point.share for point in of_family],
            color=colour,
            alpha=0.6,
            linewidths=0,
        )
        plot.scatter([], [], 40, color=colour, alpha=0.6, label=name)
    plot.set(
        title=f"{profile.name}: {of.step_ms:.3f} ms (areas are times)",
        xlabel="FLOP a byte",
        ylabel="GFLOP/s",
        xlim=(left, right),
        ylim=(low, high),
    )
    plot.set_xscale("log", base=2)
    plot.set_yscale("log", base=2)
    plot.grid(alpha=0.3)
    plot.legend(loc="lower right")
    figure.savefig(path, dpi=120)
