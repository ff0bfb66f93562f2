"""What LAPACK computes of matrices: against NumPy in every dtype, inside programs, and where it fails."""

from __future__ import annotations

import inspect
import math

import numeric
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import treadle as td
from treadle import config
from treadle.errors import ArgumentError, DTypeError, GradientError, LinAlgError, ShapeError
from treadle.ops.elementwise import exp, square
from treadle.ops.matrices import adjoint, chain, columns_times, rows_times
from treadle.ops.record import NAMESPACES

random = np.random.default_rng(0)
linalg = NAMESPACES["linalg"]
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = ((3, 3), (4, 2), (2, 4), (2, 1, 3, 3), (0, 2, 2), (0, 0), (2, 0, 3), (3, 0), (1, 1))


def matrices(shape, dtype="float64") -> np.ndarray:
    x = random.normal(size=shape)
    return (x + 1j * random.normal(size=shape) if "complex" in dtype else x).astype(dtype)


def definite(shape, dtype="float64") -> np.ndarray:
    x = matrices(shape, dtype)
    return (x @ np.swapaxes(x, -1, -2).conj() + 2 * np.eye(shape[-1])).astype(dtype)


def close(found, expected, name="") -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
    tolerance = 1e-3 if expected.dtype.name in ("float32", "complex64") else 1e-10
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_are_numpys(shape, dtype):
    x = matrices(shape, dtype)
    a = td.asarray(x)
    wide = np.result_type(x.dtype, np.complex64)
    for name in ("svdvals", "pinv"):
        close(getattr(td.linalg, name)(a).numpy(), getattr(np.linalg, name)(x), name)
    for mode in ("reduced", "complete"):
        for part, expected in zip(td.linalg.qr(a, mode=mode), np.linalg.qr(x, mode), strict=True):
            close(part.numpy(), expected, mode)
    for full in (True, False):
        for part, expected in zip(td.linalg.svd(a, full_matrices=full), np.linalg.svd(x, full), strict=True):
            close(part.numpy(), expected, "svd")
    close(td.linalg.matrix_rank(a).numpy(), np.asarray(np.linalg.matrix_rank(x), np.int64))
    if shape[-1] != shape[-2]:
        return
    for name in ("inv", "det"):
        close(getattr(td.linalg, name)(a).numpy(), np.asarray(getattr(np.linalg, name)(x), x.dtype), name)
    close(td.linalg.eigvals(a).numpy(), np.linalg.eigvals(x.astype(wide)))
    for name, given in (("slogdet", x), ("eig", x.astype(wide))):
        for part, expected in zip(getattr(td.linalg, name)(a), getattr(np.linalg, name)(given), strict=True):
            close(part.numpy(), np.asarray(expected), name)
    p = definite(shape, dtype)
    for upper in (False, True):
        factor = td.linalg.cholesky(td.asarray(p), upper=upper).numpy()
        close(factor, np.linalg.cholesky(p, upper=upper))
        other_side = (np.tril if upper else np.triu)(np.ones(p.shape[-2:]), -1 if upper else 1).astype(bool)
        assert not np.signbit(factor.real[..., other_side]).any()
        assert not np.signbit(factor.imag[..., other_side]).any()
    close(td.linalg.eigvalsh(td.asarray(p)).numpy(), np.linalg.eigvalsh(p))
    values, vectors = td.linalg.eigh(td.asarray(p))
    close((vectors * values[..., None, :]).numpy() @ np.swapaxes(vectors.numpy(), -1, -2).conj(), p)
    for n in (-2, 0, 1, 5):
        close(td.linalg.matrix_power(td.asarray(p), n).numpy(), np.linalg.matrix_power(p, n).astype(dtype))


@drawn(st.data())
def test_systems_are_numpys(data):
    lead = data.draw(st.sampled_from(((), (2,), (3, 1))))
    n, k = data.draw(st.integers(0, 4)), data.draw(st.none() | st.integers(0, 3))
    right = (n,) if k is None else (*data.draw(st.sampled_from(((), (2,), (1, 2)))), n, k)
    dtype, other = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    a, b = definite((*lead, n, n), dtype), matrices(right, other)
    expected = np.linalg.solve(a, b)
    close(td.linalg.solve(td.asarray(a), td.asarray(b)).numpy(), expected)


def test_results_have_names():
    x = td.asarray(definite((3, 3)))
    fields = {"qr": ("Q", "R"), "svd": ("U", "S", "Vh"), "slogdet": ("sign", "logabsdet"),
              "eigh": ("eigenvalues", "eigenvectors"), "eig": ("eigenvalues", "eigenvectors")}  # fmt: skip
    for name, expected in fields.items():
        found = getattr(td.linalg, name)(x)
        assert found._fields == expected and type(found).__module__ == "treadle.linalg"
        assert all(isinstance(part, td.Array) for part in found)


def test_of_other_matrices_the_hermitian_part_counts():
    x = definite((2, 3, 3)) + (skew := (s := 0.1 * matrices((2, 3, 3))) - np.swapaxes(s, -1, -2))
    assert np.abs(skew).max() > 0.01
    close(td.linalg.cholesky(td.asarray(x)).numpy(), np.linalg.cholesky(x - skew))
    close(td.linalg.eigvalsh(td.asarray(x)).numpy(), np.linalg.eigvalsh(x - skew))
    close(td.linalg.eigh(td.asarray(x)).eigenvalues.numpy(), np.linalg.eigvalsh(x - skew))


def test_ranks_with_a_tolerance_for_each_matrix():
    x = np.stack([np.diag([1.0, 1e-3]), np.diag([1.0, 0.0])])
    for rtol in (None, 1e-2, np.array([1e-4, 1e-2]), np.array([1e-2, 1e-4])):
        options = {} if rtol is None else {"rtol": rtol if isinstance(rtol, float) else td.asarray(rtol)}
        numpys = {} if rtol is None else {"rtol": rtol}
        close(td.linalg.matrix_rank(td.asarray(x), **options).numpy(), np.linalg.matrix_rank(x, **numpys))
        close(td.linalg.pinv(td.asarray(x), **options).numpy(), np.linalg.pinv(x, **numpys))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_numpys(dtype):
    x = matrices((2, 3, 4), dtype)
    x[0, 1, 2] = 0
    a = td.asarray(x)
    for ord in (2, 1, 0, 3, 0.5, -1, -2.5, math.inf, -math.inf):
        for axis in (None, -1, 1, (0, 2)):
            for keepdims in (False, True):
                found = td.linalg.vector_norm(a, axis=axis, ord=ord, keepdims=keepdims)
                with np.errstate(divide="ignore"):
                    expected = np.linalg.vector_norm(x, axis=axis, ord=ord, keepdims=keepdims)
                close(found.numpy(), np.asarray(expected, x.real.dtype), f"{ord} {axis}")
    for ord in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        for keepdims in (False, True):
            found = td.linalg.matrix_norm(a, ord=ord, keepdims=keepdims)
            close(found.numpy(), np.linalg.matrix_norm(x, ord=ord, keepdims=keepdims), str(ord))
    close(td.linalg.vector_norm(a, axis=()).numpy(), np.abs(x))
    assert td.linalg.vector_norm(td.zeros((0,))).item() == 0
    assert td.linalg.matrix_norm(td.zeros((2, 0, 3))).tolist() == [0, 0]


def test_the_gradient_of_a_norm_at_zero_is_zero():
    x = td.zeros((3,))
    for ord in (2, 1, 3, 1.5):
        (slope,) = td.gradients([td.linalg.vector_norm(x, ord=ord)], [x])
        assert slope.tolist() == [0, 0, 0]


# -- gradients


def function_of(name, index=None, **options):
    def function(*operands):
        found = linalg[name](*operands, **options)
        return found if index is None else found[index]

    return function


def left_of(x):
    u, s, _ = linalg["svd"](x, full_matrices=False)
    return chain(columns_times(u, square(s)), adjoint(u))


def right_of(x):
    _, s, vh = linalg["svd"](x, full_matrices=False)
    return chain(adjoint(vh), rows_times(exp(s), vh))


def both_of(x):
    u, s, vh = linalg["svd"](x, full_matrices=False)
    return chain(columns_times(u, square(s)), vh)


def exponential(x):
    values, vectors = linalg["eigh"](x)
    return chain(columns_times(vectors, exp(values)), adjoint(vectors))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gradients_of_square_matrices(dtype):
    x = matrices((2, 3, 3), dtype) + 2 * np.eye(3)
    for upper in (False, True):
        numeric.check_complex_gradients(function_of("cholesky", upper=upper), definite((2, 3, 3), dtype))
    for right in ((3, 2), (3,)):
        numeric.check_complex_gradients(linalg["solve"], x, matrices(right, dtype))
    for name in ("inv", "det", "eigvalsh"):
        numeric.check_complex_gradients(linalg[name], x)
    for i in (0, 1):
        numeric.check_complex_gradients(function_of("slogdet", i), x)
    numeric.check_complex_gradients(function_of("eigh", 0), x)
    numeric.check_complex_gradients(exponential, x)
    for n in (-2, 0, 3):
        numeric.check_complex_gradients(lambda x, n=n: linalg["matrix_power"](x, n), x)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 3, 4), (3, 3)], ids=str)
def test_gradients_of_all_matrices(shape, dtype):
    x = matrices(shape, dtype)
    functions = [linalg["pinv"], linalg["svdvals"], function_of("svd", 1), function_of("qr", 0)]
    functions += [function_of("qr", 1), left_of, right_of, both_of]
    functions += [
        function_of("matrix_norm", ord=ord) for ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    ]
    functions += [function_of("vector_norm", axis=-1, ord=ord) for ord in (1, 2, 0.5, 3, -1, -2.5, np.inf)]
    for function in functions:
        numeric.check_complex_gradients(function, x)


def test_the_determinant_of_a_singular_matrix_has_a_gradient():
    for dtype in ("float64", "complex128"):
        x = matrices((3, 3), dtype)
        x[2] = x[0] + x[1]
        numeric.check_complex_gradients(linalg["det"], x, order=1)
    zero = td.zeros((2, 2))
    (slope,) = td.gradients([td.linalg.det(zero)], [zero])
    assert slope.tolist() == [[0, 0], [0, 0]]


def test_gradients_that_are_refused():
    x = td.asarray(matrices((4, 3)))
    y = td.asarray(matrices((3, 3)))
    with pytest.raises(GradientError, match=r'use mode="reduced"'):
        td.gradients(td.sum(td.linalg.qr(x, mode="complete").Q), x)
    with pytest.raises(GradientError, match="use full_matrices=False"):
        td.gradients(td.sum(td.linalg.svd(x).U), x)
    with pytest.raises(GradientError, match="not symmetric"):
        td.gradients(td.sum(td.linalg.eigvals(y)), y)
    with pytest.raises(GradientError, match="not symmetric"):
        td.gradients(td.sum(td.linalg.eig(y).eigenvectors), y)
    with pytest.raises(GradientError):
        td.gradients(td.linalg.matrix_rank(y).astype(td.float64), y)


# -- inside programs


def ridge(x, y, rate):
    """Least squares with a penalty, between ops that have kernels; the transpose is a strided operand."""
    a = x * 2.0
    gram = a.mT @ a + rate * td.eye(x.shape[1], dtype=x.dtype)
    lower = td.linalg.cholesky(gram)
    sign, logabsdet = td.linalg.slogdet(gram.mT)
    return td.linalg.solve(lower.mT, td.linalg.solve(lower, a.mT @ y)) * 3.0 + logabsdet * sign


def expected_ridge(x, y, rate):
    a = x * 2.0
    gram = a.T @ a + rate * np.eye(x.shape[1])
    return np.linalg.solve(gram, a.T @ y) * 3.0 + np.linalg.slogdet(gram)[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_between_native_segments_in_every_style(dtype, monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    x, y = matrices((7, 3), dtype), matrices((7, 2), dtype)
    expected = expected_ridge(x, y, 0.5).astype(dtype)
    close(ridge(td.asarray(x), td.asarray(y), 0.5).numpy(), expected)
    close(td.compile(ridge)(x, y, 0.5).numpy(), expected)
    a, b = td.placeholder((7, 3), dtype), td.placeholder((7, 2), dtype)
    close(td.Session().run(ridge(a, b, 0.5), {a: x, b: y}).numpy(), expected)


def test_a_failure_names_the_line_and_changes_no_variable(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    w = td.Variable(np.eye(2, dtype=np.float32), name="w")
    singular = td.asarray(np.ones((2, 2), np.float32))
    y = td.linalg.inv(singular * 2.0)
    w.assign(w + y)
    with pytest.raises(LinAlgError, match=r"\[inv\] x, float32\[2, 2\], is singular") as failure:
        td.sum(y).item()
    assert "y = td.linalg.inv(singular * 2.0)" in str(failure.value)
    assert w.tolist() == [[1, 0], [0, 1]]
    assert isinstance(failure.value, np.linalg.LinAlgError)

    a = td.placeholder((2, 2))
    step = td.function([a], td.sum(w), updates=[(w, w + td.linalg.cholesky(a))])
    with pytest.raises(
        LinAlgError, match=r"\[cholesky\] x, float32\[2, 2\], is not positive definite"
    ) as failure:
        step(-np.eye(2, dtype=np.float32))
    assert "td.linalg.cholesky(a)" in str(failure.value)
    assert w.tolist() == [[1, 0], [0, 1]]
    step(np.eye(2, dtype=np.float32))
    assert w.tolist() == [[2, 0], [0, 2]]


def test_a_program_from_the_cache_fails_at_the_line_at_hand(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    right, wrong = td.asarray(np.eye(2)), td.asarray(np.ones((2, 2)))
    td.linalg.inv(right * 7.0).numpy()
    hits = td.cache_info()["hits"]
    later = td.linalg.inv(wrong * 7.0)
    with pytest.raises(LinAlgError, match=r"later = td\.linalg\.inv"):
        later.numpy()
    a, b = td.placeholder((2, 2), td.float64), td.placeholder((2, 2), td.float64)
    first = td.function([a], td.linalg.inv(a * 3.0))
    first(np.eye(2))
    second = td.function([b], td.linalg.inv(b * 3.0))
    with pytest.raises(LinAlgError, match=r"second = td.function\(\[b\]"):
        second(np.ones((2, 2)))
    assert td.cache_info()["hits"] == hits + 2
    w = td.Variable(np.arange(3.0))
    for i in (2, 5):
        taken = td.take(w, td.asarray([i])) * 2.0
        if i == 5:
            with pytest.raises(IndexError, match=r"taken = td\.take"):
                taken.numpy()
        else:
            assert taken.tolist() == [4.0]


def test_a_failure_says_which_matrix_and_why():
    x = np.stack([np.eye(2), np.ones((2, 2))])
    with pytest.raises(LinAlgError, match=r"\[solve\] matrix \(1,\) of x, float64\[2, 2, 2\], is singular"):
        td.linalg.solve(td.asarray(x), td.ones((2,), dtype=td.float64)).numpy()
    x[0, 0, 0] = math.nan
    for name in ("svdvals", "eigvals", "pinv"):
        with pytest.raises(LinAlgError, match=rf"\[{name}\] matrix \(0,\).*has NaN or infinity in it"):
            getattr(td.linalg, name)(td.asarray(x)).numpy()


# -- what is refused


SQUARE = ("cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "slogdet")
ANY = ("matrix_norm", "matrix_rank", "pinv", "qr", "svd", "svdvals")


def test_refusals():
    for name in SQUARE:
        with pytest.raises(
            ShapeError, match=rf"\[{name}\] x has shape \(2, 3\); its matrices must be square"
        ):
            getattr(td.linalg, name)(td.zeros((2, 3)))
    for name in SQUARE + ANY:
        with pytest.raises(ShapeError, match="at least two dimensions"):
            getattr(td.linalg, name)(td.zeros(3))
        for dtype in (td.int64, td.float16, td.bfloat16):
            with pytest.raises(DTypeError, match=rf"\[{name}\] x is {dtype}.*convert it with astype"):
                getattr(td.linalg, name)(td.zeros((2, 2), dtype=dtype))
    with pytest.raises(ShapeError, match=r"x1 of shape .* has 2 rows, x2 of shape .* 3"):
        td.linalg.solve(td.zeros((2, 2)), td.zeros((3, 1)))
    with pytest.raises(ShapeError, match="cannot be broadcast"):
        td.linalg.solve(td.zeros((2, 2, 2)), td.zeros((3, 2, 1)))
    x = td.zeros((2, 2))
    for wrong in (
        lambda: td.linalg.qr(x, mode="r"),
        lambda: td.linalg.svd(x, full_matrices=1),
        lambda: td.linalg.cholesky(x, upper="yes"),
        lambda: td.linalg.matrix_power(x, 0.5),
        lambda: td.linalg.matrix_norm(x, ord=3),
        lambda: td.linalg.vector_norm(x, ord="fro"),
        lambda: td.linalg.vector_norm(x, ord=math.nan),
    ):
        with pytest.raises(ArgumentError):
            wrong()
    with pytest.raises(ShapeError, match="rtol"):
        td.linalg.pinv(x, rtol=td.zeros(3))
    with pytest.raises(DTypeError, match="rtol"):
        td.linalg.pinv(x, rtol=td.zeros((), dtype=td.int64))
    with pytest.raises(ShapeError, match="no smallest"):
        td.linalg.matrix_norm(td.zeros((0, 2)), ord=-2)


def test_signatures_are_the_standards():
    for name in (*SQUARE, *ANY, "vector_norm", "matrix_power", "solve", "trace", "cross"):
        parameters = list(inspect.signature(getattr(td.linalg, name)).parameters.values())
        positional = 2 if name in ("solve", "cross", "matrix_power") else 1
        assert [p.kind for p in parameters[:positional]] == [inspect.Parameter.POSITIONAL_ONLY] * positional
        assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[positional:])
