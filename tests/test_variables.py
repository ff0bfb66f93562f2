"""Variables as cells: values, names, layouts, copies, pickles, and the memory they share with NumPy."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, PlaceholderError, StateError


def test_a_variable_starts_from_numbers_lists_arrays_and_random_arrays():
    assert td.Variable(2.0).dtype is td.float32
    assert td.Variable([[1, 2]]).dtype is td.int64
    assert td.Variable([1, 2], dtype=td.float64).dtype is td.float64
    assert td.Variable(np.zeros((0, 2), np.int8)).shape == (0, 2)
    assert td.Variable(td.random.normal((3,))).shape == (3,)
    assert td.Variable(1.0).name != td.Variable(1.0).name
    assert repr(td.Variable([1.0, 2.0], name="w")) == "Variable('w', Array([1., 2.], dtype=float32))"


def test_what_a_variable_starts_from_is_not_shared():
    host = np.zeros(1000, np.float32)
    w = td.Variable(host)
    host[:] = 5
    w += 1
    td.evaluate()
    assert host[0] == 5 and w.numpy()[0] == 1
    x = td.asarray(np.zeros(1000, np.float32))
    v = td.Variable(x)
    v += 1
    td.evaluate()
    assert x.numpy()[0] == 0 and v.numpy()[0] == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.float32), r"w is float32\[2\], the value is float32\[3\]: shape and dtype"),
        (np.zeros(2, np.float64), r"the value is float64\[2\]"),
        (np.zeros(2, np.int32), r"the value is int32\[2\]"),
    ],
)
def test_shape_and_dtype_of_a_variable_do_not_change(value, message):
    w = td.Variable([1.0, 2.0], name="w")
    with pytest.raises(StateError, match=message) as error:
        w.assign(value)
    assert "w.assign(value)" in str(error.value)
    with pytest.raises(StateError, match=message):
        td.update(w, value)
    assert w.tolist() == [1.0, 2.0]


def test_numbers_are_assigned_to_every_element():
    w, n = td.Variable([1.0, 2.0]), td.Variable(np.array([1, 2], np.int32))
    w.assign(3)
    n.assign(4)
    td.Session().run([td.update(w, w + 1), td.update(n, 7)])
    assert w.tolist() == [4.0, 4.0] and n.tolist() == [7, 7]


def test_an_integer_variable_counts():
    n = td.Variable(0)
    for _ in range(3):
        n += 1
    assert int(n) == 3 and n.dtype is td.int64


# -- layouts


def test_a_layout_trains_saves_and_reads_back():
    start = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    plain, packed = td.Variable(start), td.Variable(start, layout=(2, 0, 1), name="packed")
    assert packed.cell.current.layout == (2, 0, 1) and packed.shape == (2, 3, 4)
    scale = td.asarray(np.linspace(0, 1, 4, dtype=np.float32))
    for w in (plain, packed):
        for _ in range(3):
            loss = ((w * scale) ** 2.0).sum()
            w.assign(w - 0.1 * td.gradients(loss, w))
        w[0, 1, 2] = 99.0
    np.testing.assert_allclose(packed.numpy(), plain.numpy(), rtol=1e-6)
    again = td.Variable(packed.numpy(), layout=(0, 2, 1))
    np.testing.assert_array_equal(again.numpy(), packed.numpy())
    x = td.placeholder(())
    step = td.function([x], packed, updates=[(packed, packed * x)])
    np.testing.assert_allclose(step(2.0).numpy(), plain.numpy(), rtol=1e-6)
    np.testing.assert_allclose(packed.numpy(), plain.numpy() * 2, rtol=1e-6)
    assert td.Session().run(packed).shape == (2, 3, 4)
    np.testing.assert_allclose(td.compile(lambda: packed + 0)().numpy(), plain.numpy() * 2, rtol=1e-6)


@pytest.mark.parametrize("layout", [(0,), (0, 0), (0, 2), (1, 0, 2)])
def test_a_layout_is_an_order_of_the_dimensions(layout):
    with pytest.raises(ArgumentError, match="is not an order of the 2 dimensions of w"):
        td.Variable(np.zeros((2, 2), np.float32), name="w", layout=layout)


# -- memory shared with NumPy


def test_what_is_handed_out_is_read_only_and_stays():
    w = td.Variable(np.zeros(1000, np.float32))
    view = w.numpy()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    w += 1
    td.evaluate()
    del w
    gc.collect()
    pad = [td.asarray(np.full(1000, 7.0, np.float32)) for _ in range(20)]
    assert view.max() == 0 and len(pad) == 20


def test_memory_is_used_again_only_when_nobody_sees_it():
    kept = []
    for i in range(50):
        x = td.asarray(np.full(333, i, np.float32))
        kept.append(x.numpy() if i % 2 else memoryview(x.numpy()))
        del x
    for i, view in enumerate(kept):
        assert np.all(np.asarray(view) == i)


def test_asarray_copies_and_copy_false_borrows():
    host = np.zeros(3, np.float32)
    copied, borrowed = td.asarray(host), td.asarray(host, copy=False)
    host[0] = 5
    assert copied.tolist() == [0.0] * 3
    assert borrowed.numpy()[0] == 5 and not borrowed.numpy().flags.writeable
    kept = weakref.ref(host)
    del host
    gc.collect()
    assert kept() is not None and borrowed.numpy()[0] == 5
    with pytest.raises(ArgumentError, match="must be copied to be contiguous"):
        td.asarray(np.zeros((4, 4), np.float32)[:, ::2], copy=False)
    with pytest.raises(ArgumentError, match="must be copied"):
        td.asarray(np.zeros(4), dtype=td.float32, copy=False)
    empty = np.zeros((0, 3), np.float32)
    assert td.asarray(empty, copy=False).shape == (0, 3)


def test_dlpack_and_buffers_share_read_only_memory():
    x = td.asarray([1.0, 2.0])
    assert np.from_dlpack(x).tolist() == [1.0, 2.0]
    assert memoryview(x.numpy()).readonly
    assert td.asarray(memoryview(np.arange(3.0))).dtype is td.float64
    w = td.Variable(np.zeros(1000, np.float32))
    view = np.from_dlpack(w)
    w += 1
    td.evaluate()
    assert view[0] == 0 and w.numpy()[0] == 1


def test_0d_and_empty_arrays():
    assert td.asarray(3.0).shape == () and float(td.asarray(3.0)) == 3.0
    assert td.asarray(np.float64(2)).numpy().shape == ()
    empty = td.asarray(np.zeros((3, 0), np.float32))
    assert (empty + 1).numpy().shape == (3, 0) and empty.sum().item() == 0.0
    assert (empty + 1).tolist() == [[], [], []]
    with pytest.raises(ValueError, match="item"):
        empty.item()


# -- copies


def test_arrays_and_variables_are_pickled_with_their_values():
    x = td.asarray([1.0, 2.0]) * 2
    again = pickle.loads(pickle.dumps(x))
    assert again.tolist() == [2.0, 4.0] and again.dtype is td.float32
    half = pickle.loads(pickle.dumps(td.asarray([1.5], dtype=td.bfloat16)))
    assert half.dtype is td.bfloat16 and half.tolist() == [1.5]
    w = td.Variable([[1.0, 2.0]], name="w", trainable=False, layout=(1, 0))
    w.assign(w + 1)
    other = pickle.loads(pickle.dumps(w))
    assert (other.name, other.trainable, other.cell.layout) == ("w", False, (1, 0))
    other += 1
    assert other.tolist() == [[3.0, 4.0]] and w.tolist() == [[2.0, 3.0]]
    with pytest.raises(PlaceholderError):
        pickle.dumps(td.placeholder(()))


def test_a_deep_copy_of_a_variable_is_another_variable():
    model = {"w": td.Variable([1.0], name="w"), "x": td.asarray([2.0])}
    model["same"] = model["w"]
    twin = copy.deepcopy(model)
    assert twin["same"] is twin["w"] and twin["w"].name == "w"
    twin["w"] += 1
    assert twin["w"].tolist() == [2.0] and model["w"].tolist() == [1.0]
    assert copy.copy(model["x"]).tolist() == [2.0]
    p = td.placeholder(())
    assert copy.deepcopy(p).node is p.node


def test_a_variable_that_is_gone_releases_its_memory():
    w = td.Variable(np.zeros(10, np.float32))
    cell = weakref.ref(w.cell)
    buffer = weakref.ref(w.cell.current.buffer)
    w += 1
    w.numpy()
    (w * 2).numpy()
    del w
    gc.collect()
    assert cell() is None and buffer() is None
