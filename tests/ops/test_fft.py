"""Fourier transforms against NumPy, their gradients, and what is refused."""

from __future__ import annotations

import numeric
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import treadle as td
from treadle import config
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.node import make
from treadle.ops.fourier import FFT, IRFFT
from treadle.ops.record import NAMESPACES

random = np.random.default_rng(0)
NORMS = ("backward", "ortho", "forward")
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
ALL = ("fftn", "ifftn", "rfftn", "irfftn")
TAKES_REAL = {"rfft", "ihfft", "rfftn"}
GIVES_REAL = {"irfft", "hfft", "irfftn"}


def operand(name: str, shape, precision: int = 64) -> np.ndarray:
    x = random.normal(size=shape)
    if name in TAKES_REAL:
        return x.astype(f"float{precision}")
    return (x + 1j * random.normal(size=shape)).astype(f"complex{2 * precision}")


def close(found, expected, precision: int = 64) -> None:
    assert found.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, atol=scale * (1e-12 if precision == 64 else 1e-5))


@drawn(st.data())
def test_one_dimension_is_numpys(data):
    name = data.draw(st.sampled_from(ONE))
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    size = data.draw(st.integers(2, 9))
    shape = (*shape[: axis % (len(shape) + 1)], size, *shape[axis % (len(shape) + 1) :])
    n = data.draw(st.none() | st.integers(1, 12))
    norm = data.draw(st.sampled_from(NORMS))
    precision = data.draw(st.sampled_from((32, 64)))
    x = operand(name, shape, precision)
    found = getattr(td.fft, name)(td.asarray(x), n=n, axis=axis, norm=norm)
    assert found.dtype.name == (f"float{precision}" if name in GIVES_REAL else f"complex{2 * precision}")
    close(found.numpy(), getattr(np.fft, name)(x, n=n, axis=axis, norm=norm), precision)


@drawn(st.data())
def test_several_dimensions_are_numpys(data):
    name = data.draw(st.sampled_from(ALL))
    shape = tuple(data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=3)))
    count = data.draw(st.integers(1, len(shape)))
    axes = data.draw(st.none() | st.permutations(range(len(shape))).map(lambda p: tuple(p[:count])))
    sizes = st.none() | st.lists(st.integers(1, 8) | st.just(-1), min_size=count, max_size=count)
    s = None if axes is None else data.draw(sizes)
    norm = data.draw(st.sampled_from(NORMS))
    x = operand(name, shape)
    asked = s
    if s is not None and name == "irfftn" and s[-1] == -1:
        # NumPy takes -1 for the size of the half spectrum; the standard says as many as are there.
        asked = [*s[:-1], 2 * (shape[axes[-1]] - 1)]
    found = getattr(td.fft, name)(td.asarray(x), s=s, axes=axes, norm=norm)
    close(found.numpy(), getattr(np.fft, name)(x, s=asked, axes=axes, norm=norm))


def test_no_axes_and_no_elements():
    x = operand("fftn", (2, 3))
    np.testing.assert_array_equal(td.fft.fftn(td.asarray(x), axes=()).numpy(), x)
    assert td.fft.fft(td.zeros((0, 4), dtype=td.complex64)).shape == (0, 4)
    assert td.fft.irfft(td.zeros((0, 3), dtype=td.complex64)).numpy().shape == (0, 4)


@pytest.mark.parametrize("name", ONE + ALL)
def test_the_inverse_undoes_it(name):
    inverse = name.replace("i", "", 1) if name.startswith("i") else "i" + name
    x = operand(name, (4, 6))
    if name in GIVES_REAL:
        # The ends of a half spectrum are real, and so is a spectrum that belongs to real values.
        x = getattr(np.fft, inverse)(random.normal(size=(4, 10)))
    back = getattr(td.fft, inverse)(getattr(td.fft, name)(td.asarray(x)))
    close(back.numpy(), x)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_frequencies(n):
    for d in (1.0, 0.25):
        np.testing.assert_allclose(td.fft.fftfreq(n, d=d).numpy(), np.fft.fftfreq(n, d).astype(np.float32))
        np.testing.assert_allclose(td.fft.rfftfreq(n, d=d, dtype=td.float64).numpy(), np.fft.rfftfreq(n, d))
    assert td.fft.fftfreq(n).dtype is td.float32
    assert td.fft.fftfreq(n, device="reference").device == "reference"


@pytest.mark.parametrize("axes", [None, 0, -1, (0, 1), (1,)])
def test_shifts(axes):
    for shape in ((4, 5), (3, 0)):
        x = np.arange(np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(td.fft.fftshift(td.asarray(x), axes=axes), np.fft.fftshift(x, axes))
        np.testing.assert_array_equal(td.fft.ifftshift(td.asarray(x), axes=axes), np.fft.ifftshift(x, axes))


# -- gradients


def nodes_of(name, **options):
    return lambda x: NAMESPACES["fft"][name](x, **options)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ONE)
def test_gradients_of_one_dimension(name, norm):
    for size in (4, 5):
        for n in (None, 3, 8):
            function = nodes_of(name, n=n, axis=0, norm=norm)
            numeric.check_complex_gradients(function, operand(name, (size, 2)), order=2)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_several_dimensions(name):
    for options in ({}, {"axes": (1, 0), "norm": "ortho"}, {"axes": (0, 2), "s": (2, 5), "norm": "forward"}):
        numeric.check_complex_gradients(nodes_of(name, **options), operand(name, (3, 4, 2)), order=2)


def test_gradients_by_complex_arrays_are_by_both_parts():
    """d/dRe + i d/dIm of a real loss: of sum |fft(x)|^2 it is 2 n x, by Parseval."""
    x = operand("fft", (5,))
    a = td.asarray(x)
    y = td.fft.fft(a)
    loss = td.sum(y * td.conj(y))
    np.testing.assert_allclose(td.gradients(loss, a).numpy(), 2 * 5 * x)


def test_gradients_of_shifts_are_shifts():
    x, g = random.normal(size=5), random.normal(size=5)
    a = td.asarray(x)
    (found,) = td.gradients([td.fft.fftshift(a)], [a], [td.asarray(g)])
    np.testing.assert_allclose(found.numpy(), np.fft.ifftshift(g))


# -- inside programs


def filtered(x, w):
    """A circular convolution by way of the frequencies, between ops that have kernels."""
    spectrum = td.fft.rfft(td.tanh(x) * 2.0, axis=0) * td.fft.rfft(w)[:, None]
    return td.fft.irfft(spectrum, n=x.shape[0], axis=0).mT + 1.0


def expected_filtered(x, w):
    spectrum = np.fft.rfft(np.tanh(x) * 2.0, axis=0) * np.fft.rfft(w)[:, None]
    return np.fft.irfft(spectrum, n=x.shape[0], axis=0).T + 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_between_native_segments_in_every_style(dtype, monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    x, w = random.normal(size=(9, 4)).astype(dtype), random.normal(size=9).astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    expected = expected_filtered(x, w)
    np.testing.assert_allclose(filtered(td.asarray(x), td.asarray(w)).numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(td.compile(filtered)(x, w).numpy(), expected, atol=tolerance)
    a, b = td.placeholder((9, 4), dtype), td.placeholder((9,), dtype)
    run = td.function([a, b], [filtered(a, b), *td.gradients(td.sum(filtered(a, b) ** 2), [a, b])])
    y, by_x, by_w = run(x, w)
    np.testing.assert_allclose(y.numpy(), expected, atol=tolerance)
    step = 1e-6
    d, e = random.normal(size=x.shape), random.normal(size=w.shape)
    losses = [np.sum(expected_filtered(x + s * step * d, w + s * step * e) ** 2) for s in (1, -1)]
    slope = np.sum(by_x.numpy() * d) + np.sum(by_w.numpy() * e)
    np.testing.assert_allclose(slope, (losses[0] - losses[1]) / (2 * step), rtol=1e-3)


def test_a_stack_of_unknown_height():
    x = td.placeholder((None, 8))
    run = td.function([x], td.fft.irfft(td.fft.rfft(x) * 2))
    values = random.normal(size=(3, 8)).astype(np.float32)
    np.testing.assert_allclose(run(values).numpy(), 2 * values, atol=1e-6)


# -- what is refused


def test_dtypes():
    for name in TAKES_REAL:
        with pytest.raises(DTypeError, match="use fft for complex values"):
            getattr(td.fft, name)(td.zeros((4, 4), dtype=td.complex64))
    for name in ONE + ALL:
        with pytest.raises(DTypeError, match=rf"\[{name}\] x is int64\[4, 4\].*convert it with astype"):
            getattr(td.fft, name)(td.zeros((4, 4), dtype=td.int64))
    with pytest.raises(DTypeError, match="expected a real floating dtype"):
        td.fft.fftfreq(4, dtype=td.int32)


def test_arguments():
    x = td.zeros((4, 0, 3), dtype=td.float32)
    for name in ONE:
        with pytest.raises(ArgumentError, match=rf'\[{name}\] norm=.both.; there are "backward"'):
            getattr(td.fft, name)(x, norm="both")
        with pytest.raises(ArgumentError, match=rf"\[{name}\] n=0; a transform takes at least one value"):
            getattr(td.fft, name)(x, n=0)
        with pytest.raises(ArgumentError, match=rf"\[{name}\] axis=3 is out of range"):
            getattr(td.fft, name)(x, axis=3)
        with pytest.raises(ArgumentError, match=rf"\[{name}\] n=2.5 is not an integer"):
            getattr(td.fft, name)(x, n=2.5)
    with pytest.raises(ShapeError, match="nothing to transform along dimension 1"):
        td.fft.fft(x, axis=1)
    with pytest.raises(ShapeError, match="nothing to transform along dimension 1"):
        td.fft.rfft(x, axis=1)
    with pytest.raises(ArgumentError, match="1 frequencies along dimension 0 do not say"):
        td.fft.irfft(td.zeros((1,)))
    for name in ALL:
        with pytest.raises(ArgumentError, match="without axes"):
            getattr(td.fft, name)(x, s=(2,))
        with pytest.raises(ArgumentError, match="differ in number"):
            getattr(td.fft, name)(x, s=(2,), axes=(0, 2))
        with pytest.raises(ArgumentError, match="names a dimension twice"):
            getattr(td.fft, name)(x, axes=(0, -3))
    for name in ("rfftn", "irfftn"):
        with pytest.raises(ArgumentError, match="the last one is halved"):
            getattr(td.fft, name)(x, axes=())
    for d in (0, True):
        with pytest.raises(ArgumentError, match="d="):
            td.fft.fftfreq(4, d=d)


def test_unknown_sizes():
    x = td.placeholder((None,))
    for function in (lambda: td.fft.irfft(x), lambda: td.fft.fft(x, n=4)):
        with pytest.raises(ArgumentError, match="is not known"):
            function()


def test_records_check_what_a_file_may_say():
    x, half = numeric.given(operand("fft", (4, 3))), numeric.given(operand("irfft", (3,)))
    for op, node, attributes in (
        (FFT, x, ((2,), False, "ortho")), (FFT, x, ((0, 0), False, "ortho")), (FFT, x, ((0,), 2, "ortho")),
        (FFT, x, ((0,), False, "other")), (IRFFT, half, (0, 0, "ortho")), (IRFFT, half, (4, 1, "ortho")),
    ):  # fmt: skip
        with pytest.raises(ArgumentError):
            make(op, (node,), attributes)
    with pytest.raises(ShapeError, match="7 values have 4 frequencies"):
        make(IRFFT, (half,), (7, 0, "ortho"))
