"""A profile as text: the whole step, the kernels that take longest, and sums by kind and by module."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.profiling.profile import Profile, Row, total

MOST_GROUPS = 12
LABEL_WIDTH = 56


def table(profile: Profile, most: int) -> str:
    """All of it."""
    kernels = profile.grouped(lambda row: (row.label, row.tasks, row.each_nbytes))
    lines = _head(profile)
    shown = list(kernels.values())[:most]
    lines += ["", *_aligned(_KERNEL_COLUMNS, [_kernel(rows, profile) for rows in shown])]
    if len(kernels) > most:
        rest = [row for rows in list(kernels.values())[most:] for row in rows]
        lines.append(f"and {len(kernels) - most} more kernels: {total(rest, 'ms'):.3f} ms")
    for title, key in (
        ("kind", lambda row: row.kind),
        ("role", lambda row: row.role or "none"),
        ("module", lambda row: "/".join(row.scope.split("/")[:2]) or "none"),
    ):
        groups = profile.grouped(key)
        if len(groups) > 1:
            rows = [_group(str(name), rows, profile) for name, rows in list(groups.items())[:MOST_GROUPS]]
            lines += ["", *_aligned((*_NUMBERS, title), rows)]
            if len(groups) > MOST_GROUPS:
                lines.append(f"and {len(groups) - MOST_GROUPS} more")
    return "\n".join(lines)


def _head(profile: Profile) -> list[str]:
    of, step, host = profile.totals, profile.totals.step_ms, profile.host_ms
    flops, nbytes = (total(profile.rows, name) for name in ("flops", "nbytes"))
    around = max(0.0, of.programs_ms - of.native_ms - host)
    parts = {
        "kernels": profile.kernels_ms,
        "between kernels": of.between_ms,
        "on the host": host,
        "around programs": around,
        "Python": profile.python_ms,
    }
    lines = [
        f"{profile.name}: {step:.3f} ms (median of {of.rounds}, least {of.least_ms:.3f}), {of.threads} "
        f"thread{'s' * (of.threads > 1)}",
        "  " + ", ".join(f"{name} {ms:.3f} ms" for name, ms in parts.items() if ms or name == "kernels"),
        f"  {flops / 1e9:.3f} GFLOP: {flops / step / 1e6:.1f} GFLOP/s of {of.limit_gflops:.0f} "
        f"({_percent(flops / step / 1e6, of.limit_gflops)}); {nbytes / 1e6:.1f} MB: "
        f"{nbytes / step / 1e6:.1f} GB/s, memory behind the caches has {of.limit_gbytes:.1f}",
    ]
    stretches = profile.stretches()
    if stretches:
        alone, (longest, _, row) = sum(us for us, _, _ in stretches), stretches[0]
        lines.append(
            f"  not all threads busy: {alone / 1e3:.3f} ms ({_percent(alone / 1e3, step)}), the longest time "
            f"{longest / 1e3:.3f} ms ({_percent(longest / 1e3, step)}): {profile.rows[row].label}"
        )
    if of.compiling_ms:
        lines.append(f"  not counted: up to {of.compiling_ms:.1f} ms of compiling in a round")
    return lines


_NUMBERS = ("ms", "share", "calls", "threads", "GFLOP/s", "of FMA", "of core", "GB/s", "of mem")
_KERNEL_COLUMNS = (*_NUMBERS, "kernel", "module", "line")


def _numbers(rows: Sequence[Row], profile: Profile) -> list[str]:
    ms, busy = total(rows, "ms"), total(rows, "busy_ms")
    flops, nbytes = total(rows, "flops"), total(rows, "nbytes")
    shares = [sum(row.ms * getattr(row, name) for row in rows) for name in ("of_arithmetic", "of_memory")]
    core = sum(row.busy_ms * row.of_core for row in rows)
    return [
        f"{ms:.3f}",
        _percent(ms, profile.totals.step_ms),
        f"{total(rows, 'calls')}",
        f"{busy / ms:.2f}" if ms else "",
        f"{flops / ms / 1e6:.1f}" if ms and flops else "",
        _percent(shares[0], ms, 0) if flops else "",
        _percent(core, busy, 0) if flops else "",
        f"{nbytes / ms / 1e6:.1f}" if ms and nbytes else "",
        _percent(shares[1], ms, 0) if nbytes else "",
    ]


def _kernel(rows: Sequence[Row], profile: Profile) -> list[str]:
    first = max(rows, key=lambda row: row.ms)
    more = f" (+{len(rows) - 1})" if len(rows) > 1 else ""
    label = first.label if len(first.label) <= LABEL_WIDTH else first.label[: LABEL_WIDTH - 1] + "…"
    role = f" {first.role}" if first.role not in ("", "forward") else ""
    return [*_numbers(rows, profile), label, f"{first.scope}{role}{more}", _place(first.line)]


def _group(name: str, rows: Sequence[Row], profile: Profile) -> list[str]:
    return [*_numbers(rows, profile), name]


def _place(line: str) -> str:
    """A user's line without its text and folders."""
    place = line.split(": ")[0]
    return place.rsplit("/", 1)[-1]


def _percent(part: float, whole: float, digits: int = 1) -> str:
    return f"{100 * part / whole:.{digits}f} %" if whole else ""


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Numbers to the right, texts to the left."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows)]
    return [
        "  ".join(
            cell.rjust(width) if i < len(_NUMBERS) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in (columns, *rows)
    ]
