"""Schedules that measurements choose: the same bits by all of them, kept on the disk, and wrong tables."""

from __future__ import annotations

import numpy as np
import pytest
from guard import run_lowered

import treadle as td
from treadle import config
from treadle.devices.cpu import disk, tuning
from treadle.devices.cpu.contraction import Contraction, lower
from treadle.devices.cpu.convolution import Convolution, forward, input_gradient
from treadle.devices.cpu.target import Isa, host_isas
from treadle.errors import ArgumentError

every_isa = pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)


@pytest.fixture(autouse=True)
def own_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "tunings", config.tunings)


def by_every_schedule(make, arrays, size: int, isa: Isa) -> int:
    """Run what `make` gives with each schedule of its first problem; the bits must be equal."""
    with tuning.asking({}) as problems:
        make()
    (problem, schedules), *_ = problems.items()
    results = set()
    for schedule in schedules:
        with tuning.asking({problem: schedule}):
            lowered = make()
        out = np.zeros(size, np.float32)
        run_lowered(lowered, arrays, [out], isa)
        results.add(out.tobytes())
    assert len(results) == 1
    return len(schedules)


@every_isa
@pytest.mark.parametrize(
    "m, n, k, turned", [(64, 300, 40, False), (200, 130, 70, True), (33, 1500, 20, False)]
)
def test_products_have_the_same_bits_by_every_schedule(
    m: int, n: int, k: int, turned: bool, isa: Isa
) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(size).astype(np.float32) for size in (m * k, k * n))
    spec = Contraction((), m, n, k, (1, m) if turned else (k, 1), (n, 1), (n, 1))
    assert by_every_schedule(lambda: lower(spec, isa), [a, b], m * n, isa) > 1


@every_isa
@pytest.mark.parametrize("function", [forward, input_gradient])
def test_convolutions_have_the_same_bits_by_every_schedule(function, isa: Isa) -> None:
    spec = Convolution(
        2, 1, 20, 37, (9, 11), (3, 3), (9, 11), (1, 1), ((1, 1), (1, 1)), (1, 1), (20 * 99, 1, 220, 20),
        (180, 9, 3, 1), (37 * 99, 1, 407, 37), exact=True,
    )  # fmt: skip
    generator = np.random.default_rng(0)
    sizes = {"x": 2 * 20 * 99, "w": 37 * 180, "y": 2 * 37 * 99}
    arrays = {name: generator.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    given, made = (("x", "w"), "y") if function is forward else (("y", "w"), "x")
    found = [arrays[name] for name in given]
    assert by_every_schedule(lambda: function(spec, isa), found, sizes[made], isa) > 1


def test_what_is_measured_is_kept_and_used(capsys):
    @td.compile
    def product(a, b):
        return td.tanh(a @ b)

    a, b = td.ones((64, 256)), td.ones((256, 512))
    before = product(a, b).numpy()
    rows = td.tune(product, a, b)
    assert [row.label for row in rows] == ["matmul 64x256x512 +tanh"] or len(rows) == 1
    assert rows[0].tried > 1 and 0 < rows[0].after_ms <= rows[0].before_ms
    assert "1 problems measured" in str(rows)
    isa = host_isas()[0]
    known = dict(tuning.table(isa))
    assert len(known) == 1
    np.testing.assert_array_equal(product(a, b).numpy(), before)
    tuning._tables.clear()  # as another process begins
    assert tuning.table(isa) == known and tuning.digest(isa)
    tuning.forget(isa)
    tuning._tables.clear()
    assert tuning.table(isa) == {} and tuning.digest(isa) == ""


def test_what_is_no_function_is_refused():
    with pytest.raises(ArgumentError, match="step is a int; give a function"):
        td.tune(3)  # type: ignore[arg-type]


def test_a_schedule_that_is_none_any_more_is_not_used():
    isa = host_isas()[0]
    tuning.choose({disk.name(repr("problem"), isa.name): "'gone'"}, isa)
    assert tuning.pick("problem", ["first", "second"], isa) == "first"
    tuning.choose({disk.name(repr("problem"), isa.name): "'second'"}, isa)
    assert tuning.pick("problem", ["first", "second"], isa) == "second"
    assert tuning.pick("another", ["first", "second"], isa) == "first"


def test_without_a_place_on_the_disk_the_process_remembers(monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE", "0")
    isa = host_isas()[0]
    tuning.choose({disk.name(repr("p"), isa.name): "2"}, isa)
    assert tuning.pick("p", [1, 2], isa) == 2
    tuning.forget(isa)
    assert tuning.pick("p", [1, 2], isa) == 1


def test_what_is_tuned_is_not_taken_from_images_made_before():
    before = config.options_key()
    tuning.choose({"x": "y"}, host_isas()[0])
    assert config.options_key() != before
