"""What people get wrong, and what they are told: the operation, what was given, their own line, what to do.

Every case runs with a variable that has an assignment pending and one that has not: both must be as they
were. Wrong feeds are in test_doors.py, wrong gradients in test_gradients.py.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import treadle as td
from treadle import errors

A23, A32, A4 = (np.zeros(shape, np.float32) for shape in ((2, 3), (3, 2), (4,)))


def a23():
    return td.asarray(A23)


CASES = {
    # shapes
    "broadcast": (
        lambda: a23() + td.asarray(A4),
        errors.ShapeError,
        r"\[add\] x1 of shape \(2, 3\), x2 of shape \(4,\) cannot be broadcast together: .*3 in one",
    ),
    "matmul": (lambda: a23() @ a23(), errors.ShapeError, r"\[matmul\].*\(2, 3\).*\(2, 3\)"),
    "reshape": (lambda: a23().reshape((4, 2)), errors.ShapeError, r"\[reshape\].*\(2, 3\).*6 elements.*8"),
    "concat": (lambda: td.concat([a23(), td.asarray(A32)]), errors.ShapeError, r"\[concat\]"),
    "stack": (lambda: td.stack([a23(), td.asarray(A32)]), errors.ShapeError, r"\[stack\]"),
    "squeeze": (lambda: td.squeeze(a23(), axis=0), errors.ShapeError, r"\[squeeze\]"),
    "transpose": (lambda: td.asarray(A4).T, errors.ShapeError, r"\[T\] the array has shape \(4,\)"),
    "item": (lambda: a23().item(), errors.ShapeError, r"\[item\] the array has shape \(2, 3\)"),
    "truth": (
        lambda: bool(a23()),
        errors.ShapeError,
        "truth of an array of shape .* is ambiguous: use td.any",
    ),
    "length": (lambda: len(td.asarray(1.0)), errors.ShapeError, "a 0-d array has no length"),
    "iteration": (lambda: list(td.asarray(1.0)), errors.ShapeError, "0-d array cannot be iterated"),
    "broadcast_to": (lambda: td.broadcast_to(a23(), (3,)), errors.ShapeError, r"\[broadcast_to\]"),
    "where": (lambda: td.where(a23() > 0, a23(), td.asarray(A4)), errors.ShapeError, r"\[where\]"),
    "permute": (lambda: td.permute_dims(a23(), (0, 0)), ValueError, r"\[permute_dims\]"),
    "sizes without a common name": (
        lambda: td.placeholder((None, 3)).T @ td.placeholder((None, 3)),
        errors.ShapeError,
        r"\[matmul\].*have one name: placeholder\(\('batch', \.\.\.\)\)",
    ),
    "labels without a common name": (
        lambda: td.nn.cross_entropy(td.placeholder((None, 3)), td.placeholder((None,), dtype=td.int64)),
        errors.ShapeError,
        r"expected \[\.\.\., classes\] and \[\.\.\.\]; .*have one name",
    ),
    "checkpoint of nothing": (lambda: td.checkpoint(td.exp), errors.ArgumentError, r"td.checkpoint\(f, x\)"),
    # dtypes
    "float op of integers": (
        lambda: td.exp(td.asarray([1])),
        errors.DTypeError,
        r"\[exp\] x is int64\[1\].*astype",
    ),
    "promotion": (
        lambda: td.asarray([1], dtype=td.uint64) + td.asarray([1], dtype=td.int64),
        errors.DTypeError,
        "uint64.*int64",
    ),
    "bitwise of floats": (lambda: a23() & 1, errors.DTypeError, r"\[bitwise_and\]"),
    "logic of floats": (lambda: td.logical_not(a23()), errors.DTypeError, r"\[logical_not\]"),
    "number that does not fit": (
        lambda: td.asarray([1], dtype=td.int8) + 1000,
        errors.DTypeError,
        "1000 does not fit int8, whose values are -128 to 127",
    ),
    "no dtype": (lambda: td.asarray("text"), errors.DTypeError, "str|dtype"),
    "ragged": (lambda: td.asarray([[1.0], [1.0, 2.0]]), errors.DTypeError, r"\[asarray\]"),
    "object": (lambda: td.asarray([object()]), errors.DTypeError, "has no numeric dtype"),
    "unknown dtype": (lambda: td.zeros((2,), dtype="float31"), errors.DTypeError, "'float31' is not a dtype"),
    "operand": (lambda: td.add(a23(), "1"), errors.DTypeError, "str"),
    "index of floats": (lambda: int_index(td.asarray(1.5)), errors.DTypeError, "cannot be an index"),
    # arguments
    "axis": (lambda: td.sum(a23(), axis=2), errors.ArgumentError, r"\[sum\] axis=2 is out of range .* 2 dim"),
    "axis twice": (lambda: td.sum(a23(), axis=(0, -2)), errors.ArgumentError, "names a dimension twice"),
    "axis of a float": (lambda: td.sum(a23(), axis=1.0), errors.ArgumentError, "axis=1.0 is not an integer"),
    # indices
    "integer index": (lambda: a23()[2], errors.IndexingError, r"2 is out of range|index 2|out of"),
    "too many indices": (lambda: a23()[0, 0, 0], errors.IndexingError, "index|indices"),
    "mask": (lambda: a23()[np.array([True])], errors.IndexingError, r"a mask of shape \(1,\) does not fit"),
    "float index": (lambda: a23()[np.array([1.5])], errors.IndexingError, "indices are integers or booleans"),
    "taken index": (
        lambda: td.take(a23(), td.asarray([5]), axis=1).numpy(),
        errors.IndexingError,
        "out of range",
    ),
    # in place
    "in place dtype": (
        lambda: move(td.asarray([1])),
        errors.DTypeError,
        "in-place operation keeps shape and dtype",
    ),
    # names of other systems
    "torch": (lambda: td.cat, errors.NameUnknown, "concat"),
    "torch method": (lambda: a23().view(6), errors.NameUnknown, "reshape"),
    "tensorflow": (lambda: td.reduce_sum, errors.NameUnknown, "sum"),
    "misspelled": (lambda: td.reshap, errors.NameUnknown, "reshape"),
}


def int_index(x):
    return [1, 2, 3][x]


def move(x):
    x += 0.5


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_named_with_the_users_line_and_changes_nothing(case):
    mistake, kind, message = CASES[case]
    settled, waiting = td.Variable([1.0, 2.0]), td.Variable([3.0])
    if case != "taken index":
        waiting.assign(waiting + 1)
    with pytest.raises(kind, match=message) as error:
        mistake()
    assert "test_wrong_use.py:" in str(error.value) or isinstance(error.value, TypeError), str(error.value)
    assert settled.tolist() == [1.0, 2.0]
    assert waiting.tolist() == ([4.0] if case != "taken index" else [3.0])


def test_an_error_is_also_the_kind_that_python_programs_catch():
    assert issubclass(errors.ShapeError, ValueError) and issubclass(errors.DTypeError, TypeError)
    assert issubclass(errors.IndexingError, IndexError) and issubclass(errors.OutOfMemory, MemoryError)
    assert issubclass(errors.NameUnknown, AttributeError)
    assert not hasattr(td.asarray(1.0), "view") and not hasattr(td, "cat")


def test_a_limit_on_the_process_is_foreseen():
    """In a process of its own: the program that does not fit is refused, and the variable is as it was."""
    program = """
import resource
import numpy as np
import treadle as td
w = td.Variable(np.ones(1 << 20, np.float32), "w")
step = td.compile(lambda x: td.sort(x @ x) + w[0])
small = step(td.ones((64, 64))).numpy()
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (200 << 20), resource.RLIM_INFINITY))
x = td.ones((4096, 4096))
try:
    step(x).numpy()
except td.errors.OutOfMemory as error:
    print("foreseen:", str(error)[:60])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(float(w.numpy().sum()), np.array_equal(step(td.ones((64, 64))).numpy(), small))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("foreseen: this program needs"), found.stdout
    assert lines[1] == f"{float(1 << 20)} True"


def test_too_little_memory_is_known_before_the_run(monkeypatch):
    program = pytest.importorskip("treadle.devices.cpu.program")
    monkeypatch.setattr(program, "available_nbytes", lambda: 1 << 20)
    w = td.Variable(np.ones((512, 512), np.float32), name="w")
    with td.debug(False):
        w.assign(w @ w)
        with pytest.raises(errors.OutOfMemory) as error:
            td.evaluate()
    message = str(error.value)
    assert "needs" in message and "the largest values are" in message
    assert "w.assign(w @ w)" in message and "float32[512, 512]" in message
    assert w.numpy()[0, 0] == 1.0


def test_a_failure_while_running_names_the_line_that_made_the_operation():
    table = td.Variable(np.zeros((4, 2), np.float32))
    index = td.asarray([0, 9])
    rows = td.take(table, index, axis=0)
    for debug in (True, False):
        with td.debug(debug), pytest.raises(errors.IndexingError) as error:
            (rows * 2).sum().numpy()
        assert "rows = td.take(table, index, axis=0)" in str(error.value)


def test_demanding_in_the_middle_of_a_failed_loop_goes_on():
    w = td.Variable([1.0, 2.0])
    good = 0
    for i in range(4):
        index = td.asarray([0, i])
        w.assign(w + td.take(w, index, axis=0))
        try:
            w.numpy()
            good += 1
        except errors.IndexingError:
            pass
    assert good == 2
    assert w.tolist() == [4.0, 6.0]
