"""The standard's names, signatures, inspection, exchange and rules of types, against array-api-strict."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

import treadle as td
from treadle import dtypes
from treadle.errors import ArgumentError, AxisError, DeviceError, DTypeError, PlaceholderError, ShapeError
from treadle.inspection import API_VERSIONS

STANDARD = [dtype for dtype in dtypes.ALL if dtype not in (dtypes.float16, dtypes.bfloat16)]
X = td.asarray([[1.0, 2.0], [3.0, 4.0]])


def test_names_and_signatures_are_the_standards():
    strict = pytest.importorskip("array_api_strict")
    own = {"Device", "ArrayAPIStrictFlags"}
    names = [name for name in strict.__all__ if "strict_flags" not in name and name not in own]
    assert [name for name in names if name not in dir(td)] == []
    for name in names:
        theirs = getattr(strict, name)
        if not inspect.isfunction(theirs) or name == "__array_namespace_info__":
            continue
        ours = inspect.signature(getattr(td, name)).parameters
        for p in inspect.signature(theirs).parameters.values():
            if p.kind is p.POSITIONAL_ONLY:
                place = list(inspect.signature(theirs).parameters).index(p.name)
                assert list(ours.values())[place].kind is p.kind, (name, p)
                continue
            assert ours[p.name].kind is p.kind, (name, p)
            if p.name not in ("device", "copy"):  # strict's default is a mark of its own
                assert ours[p.name].default == p.default, (name, p)


def test_every_method_and_attribute_is_there():
    strict = pytest.importorskip("array_api_strict")
    theirs = [n for n in dir(type(strict.asarray(1))) if not n.startswith("_") or n.startswith("__")]
    assert [name for name in theirs if not hasattr(X, name) and name != "__annotations__"] == []


def test_constants_and_versions():
    assert (td.e, td.pi, td.inf, td.newaxis) == (np.e, np.pi, np.inf, None) and td.nan != td.nan
    assert td.__array_api_version__ == API_VERSIONS[-1] == "2025.12"
    assert all(X.__array_namespace__(api_version=v) is td for v in (None, *API_VERSIONS))
    with pytest.raises(ArgumentError, match=r"api_version='2019.12'; there are 2021.12"):
        X.__array_namespace__(api_version="2019.12")


def test_inspection():
    info = td.__array_namespace_info__()
    assert info.capabilities()["max dimensions"] == 64
    assert info.default_device() in info.devices()
    for device in info.devices():
        assert info.default_dtypes(device=device)["indexing"] is td.int64
        assert list(info.dtypes(device=device)) == [dtype.name for dtype in STANDARD]
        assert td.empty(1, device=device).device == device
    assert list(info.dtypes(kind="complex floating")) == ["complex64", "complex128"]
    assert list(info.dtypes(kind=("bool", "unsigned integer")))[:2] == ["bool", "uint8"]
    with pytest.raises(DeviceError, match="there is no device 'tpu'"):
        td.ones(3, device="tpu")


def test_limits():
    for dtype in (td.float16, td.float32, td.float64):
        ours, theirs = td.finfo(dtype), np.finfo(dtype.numpy)
        for name in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.dtype is dtype and isinstance(ours.max, float)
    assert td.finfo(td.ones(1, dtype=td.complex64)).dtype is td.float32
    assert td.finfo(td.bfloat16).eps == 2**-7
    for dtype in STANDARD[1:9]:
        ours, theirs = td.iinfo(dtype), np.iinfo(dtype.numpy)
        assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    with pytest.raises(DTypeError, match=r"\[finfo\] type is int8"):
        td.finfo(td.int8)
    with pytest.raises(DTypeError, match=r"\[iinfo\] type is float32"):
        td.iinfo(X)


def test_promotion_is_the_standards():
    strict = pytest.importorskip("array_api_strict")
    for a, b in itertools.product(STANDARD, repeat=2):
        try:
            expected = strict.result_type(getattr(strict, a.name), getattr(strict, b.name))
        except TypeError:
            continue  # between kinds the standard says nothing
        assert str(expected).endswith("." + td.result_type(a, b).name)
        assert td.can_cast(a, b) == (td.result_type(a, b) is b)
    for number, kinds in ((True, "b"), (3, "iufc"), (0.5, "fc"), (1j, "c")):
        for dtype in STANDARD:
            if dtype.numpy.kind in kinds:
                assert (
                    td.result_type(dtype, number) is td.result_type(number, td.ones(1, dtype=dtype)) is dtype
                )
    assert td.result_type(td.float64, 1j) is td.complex128
    assert not td.can_cast(td.uint64, td.int8)
    with pytest.raises(ArgumentError, match="nothing to promote"):
        td.result_type()


def test_kinds():
    for kind in (
        "bool",
        "signed integer",
        "unsigned integer",
        "integral",
        "real floating",
        "complex floating",
    ):
        for dtype in STANDARD:
            assert td.isdtype(dtype, kind) == np.isdtype(dtype.numpy, kind)
    assert td.isdtype(td.int8, ("bool", td.int8)) and not td.isdtype(td.bool, "numeric")
    with pytest.raises(ArgumentError, match="kind='whole'"):
        td.isdtype(td.int8, "whole")
    assert {td.float32: 1}[td.float32] == 1 and td.float32 == td.float32 and td.float32 != td.float64
    assert [dtype for dtype in dtypes.ALL if dtype == None] == []  # noqa: E711 - as NumPy's float64 does


def test_copies_and_devices():
    x = td.asarray([1.0, 2.0])
    same = td.asarray(x, copy=False)
    other = td.asarray(x, copy=True)
    same[0] = 7.0
    assert (x[0].item(), other[0].item()) == (7.0, 1.0)
    assert x.astype(td.float32, copy=False) is x and td.astype(x, td.float32) is not x
    assert td.astype(x, td.float64, device="reference").device == "reference"
    assert x.to_device("reference").device == (x.to_device("reference") + 1).device == "reference"
    assert td.zeros_like(td.ones(2, device="reference")).device == "reference"
    for call in (
        lambda: td.asarray(x, dtype=td.int8, copy=False),
        lambda: td.asarray([1, 2], copy=False),
        lambda: td.asarray(x, device="reference", copy=False),
        lambda: x.to_device("cpu", stream=3),
    ):
        with pytest.raises(ValueError):
            call()
    assert td.asarray([1, 2**63], dtype=td.uint64).tolist() == [1, 2**63]
    with pytest.raises(DTypeError, match="300"):
        td.asarray([300], dtype=td.uint8)


def test_exchange_by_dlpack():
    for dtype in STANDARD:
        x = td.ones((2, 3), dtype=dtype)
        for copy, version in itertools.product((None, True, False), (None, (0, 8), (1, 0), (2, 0))):
            x.__dlpack__(copy=copy, max_version=version, dl_device=(1, 0))
        assert x.__dlpack_device__() == (1, 0)
        np.testing.assert_array_equal(np.from_dlpack(x), x.numpy())
        assert not np.from_dlpack(x).flags.writeable
        for copy in (None, True, False):
            assert td.all(td.from_dlpack(x, copy=copy) == x) and td.from_dlpack(x, copy=copy).device == "cpu"
    given = np.arange(6.0)[::-2]
    assert td.from_dlpack(given, device="reference").tolist() == [5.0, 3.0, 1.0]
    line = np.arange(4)
    borrowed, copied = td.from_dlpack(line, copy=False), td.from_dlpack(line)
    line[0] = 9
    assert (borrowed[0].item(), copied[0].item()) == (9, 0)
    for keywords in ({"stream": 1}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            X.__dlpack__(**keywords)
    with pytest.raises(BufferError, match="bfloat16"):
        td.ones(3, dtype=td.bfloat16).__dlpack__()
    with pytest.raises(DTypeError, match=r"\[from_dlpack\] x is a list"):
        td.from_dlpack([1])


def test_values_as_python_numbers():
    assert bool(td.asarray(float("nan"))) and not bool(td.asarray(-0.0)) and bool(td.asarray(1j))
    assert int(td.asarray(True)) == 1 and complex(td.asarray(2.5)) == 2.5 and [7, 8][td.asarray(1)] == 8
    for call, error in (
        (lambda: float(td.asarray(1j)), TypeError),
        (lambda: int(td.asarray(td.nan)), ValueError),
        (lambda: [7][td.asarray([0])], TypeError),
        (lambda: [7][td.asarray(0.0)], TypeError),
        (lambda: bool(td.ones(2)), ValueError),
    ):
        with pytest.raises(error):
            call()


def test_shapes_that_depend_on_values_need_values():
    x = td.placeholder((3,))
    for call in (
        lambda: td.nonzero(x),
        lambda: td.unique_values(x),
        lambda: td.unique_all(x),
        lambda: td.unique_counts(x),
        lambda: td.unique_inverse(x),
        lambda: td.ones(3)[x > 0],
        lambda: td.repeat(td.ones(3), td.astype(x, td.int64)),
    ):
        with pytest.raises(PlaceholderError, match="depends on the placeholder"):
            call()
    y = td.zeros(3)
    y[x > 0] = 5.0  # the shape is known: the mask only chooses
    assert td.Session().run(y, {x: np.array([-1.0, 0.0, 2.0], np.float32)}).tolist() == [0.0, 0.0, 5.0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: td.expand_dims(X, axis=5), IndexError),
        (lambda: td.sum(X, axis=2), AxisError),
        (lambda: td.squeeze(X, 0), ShapeError),
        (lambda: td.broadcast_shapes((2,), (3,)), ShapeError),
        (lambda: td.matmul(X, 2.0), ShapeError),
        (lambda: X[td.ones(3, dtype=td.bool)], IndexError),
        (lambda: X[5], IndexError),
        (lambda: td.top_k(X, 3), ArgumentError),
        (lambda: td.top_k(X, 1, mode="middle"), ArgumentError),
        (lambda: td.diff(X, n=-1), ArgumentError),
        (lambda: td.repeat(X, td.asarray([1, 2, 3]), axis=0), ShapeError),
        (lambda: td.repeat(X, td.asarray([1, -2]), axis=0), ArgumentError),
        (lambda: td.linspace(0, 1j, 3, dtype=td.float32), DTypeError),
        (lambda: X.T.mT[0].T, ShapeError),
        (lambda: X + "a", TypeError),
        (lambda: td.asarray([1, 2]).__iadd__(1.5), TypeError),
    ],
)
def test_what_must_raise(call, error):
    with pytest.raises(error):
        call()
