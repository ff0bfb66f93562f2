"""Curves: what is drawn of a log, as a page and as a picture."""

from __future__ import annotations

import math
import re
import sys
from xml.etree import ElementTree

import pytest
from watched import Run

from treadle.errors import ArgumentError, DataError
from treadle.train.csv_log import CsvLog
from treadle.train.curves import Curves, draw_curves, panels_of
from treadle.train.curves_page import MOST, thinned, ticks

ROWS = [
    {"step": i, "loss": 1 / i, **({"training/loss": 2 / i, "validation/loss": 3 / i} if i % 2 == 0 else {})}
    for i in range(1, 101)
]


def drawn(text):
    """The SVG pictures of a page; each must be well-formed."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def tags(picture, name):
    return picture.findall(f"{{http://www.w3.org/2000/svg}}{name}")


def test_curves_of_one_measurement_share_a_panel():
    rows = [*ROWS, {"step": 101, "validation/accuracy": 0.5, "training/loss": math.nan, "loss": math.inf}]
    loss, accuracy = panels_of(rows)
    assert [(curve.kind, len(curve.points)) for curve in loss.curves] == [
        ("each step", 100), ("training", 50), ("validation", 50),
    ]  # fmt: skip
    assert accuracy.name == "accuracy" and accuracy.curves[0].points == [(101, 0.5)]


def test_the_page_needs_nothing_and_says_what_it_shows(tmp_path):
    page = draw_curves([*ROWS, {"step": 100, "a<b": 1.0}], tmp_path / "curves.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script|@import|url\(", page)
    loss, other = drawn(page)
    assert loss.get("aria-label") == (
        "loss over the steps, at the end: each step 0.01, training 0.02, validation 0.03"
    )
    lines = tags(loss, "polyline")
    assert [len(line.get("points").split()) for line in lines] == [100, 50, 50]
    assert len(tags(other, "circle")) == 1
    # The values span more than 50: the marks are powers of ten, and equal ratios are equal ways.
    marks = [text.text for text in tags(loss, "text") if text.get("text-anchor") == "end"][:-1]
    assert marks == ["0.01", "0.1", "1"]
    heights = [float(point.split(",")[1]) for point in lines[0].get("points").split()]
    assert heights[9] - heights[0] == pytest.approx(heights[99] - heights[9], abs=0.2)


def test_a_callback_draws_the_log_at_the_end(tmp_path):
    run = Run(CsvLog(), Curves(), folder=tmp_path).begin()
    run.steps_on(3)
    run.end_epoch(loss=0.5)
    run.end()
    assert len(drawn((tmp_path / "curves.html").read_text())) == 2


def test_a_run_that_failed_at_once_has_no_curves(tmp_path):
    Run(CsvLog(), Curves(), folder=tmp_path).begin().end()
    assert not (tmp_path / "curves.html").exists()


def test_marks_are_round():
    assert ticks(0, 100, 5) == [0, 20, 40, 60, 80, 100]
    assert ticks(-0.3, 0.3, 4) == [-0.2, 0, 0.2]
    assert ticks(1e-7, 4e-7, 3) == [1e-7, 2e-7, 3e-7, 4e-7]
    for points in ([(1, 5.0)], [(1, 5.0), (2, 5.0)], [(0, 0.0), (0, 0.0)]):
        assert len(drawn_of(points)) == 1


def drawn_of(points):
    from treadle.train.curves_page import page

    return drawn(page(panels_of([{"step": x, "x": y} for x, y in points]), "t"))


def test_many_points_are_drawn_by_means():
    points = thinned([(i, float(i % 2)) for i in range(4 * MOST)])
    assert len(points) == MOST and all(y == 0.5 for _, y in points)
    assert points[0][0] == 1.5


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    content = draw_curves(ROWS, tmp_path / "curves.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 5000


def test_what_cannot_be_drawn(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match=r"ends in '\.pdf'; curves are \.html, \.png"):
        Curves(tmp_path / "curves.pdf")
    with pytest.raises(ArgumentError, match="nothing was measured in 1 rows"):
        draw_curves([{"step": 1}], tmp_path / "curves.html")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(DataError, match=r"pip install 'treadle\[train\]'; a path that ends in \.html needs"):
        draw_curves(ROWS, tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []
