"""The same batches for any number of workers, from any place; faults named, counted, raised or skipped."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import treadle as td
from treadle import data
from treadle.errors import ArgumentError, DataError, DeviceError, ShapeError, StateError


def noisy(row, numbers):
    image, label = row
    return image + numbers.integers(100), label


def pipeline(drop_last=False):
    images = np.arange(23 * 2).reshape(23, 2)
    return data.arrays(images, np.arange(23)).shuffle(5).map(noisy, seed=3).batch(4, drop_last=drop_last)


def passes(loader, count=2):
    return [[(x.tolist(), y.tolist()) for x, y in loader] for _ in range(count)]


def test_the_same_for_any_number_of_workers():
    plain = passes(pipeline().loader(threads=0))
    assert [len(batches) for batches in plain] == [6, 6]
    for batches in plain:
        assert sorted(label for _, labels in batches for label in labels) == list(range(23))
    assert plain[0] != plain[1], "each pass has an order and noise of its own"
    assert passes(pipeline().loader(threads=1)) == plain
    assert passes(pipeline().loader(threads=4, ahead=1)) == plain
    with pipeline().loader(processes=2) as loader:
        assert passes(loader) == plain


@pytest.mark.parametrize("stop", [0, 1, 5, 6, 9])
def test_resumed_exactly(stop):
    whole = [batch for batches in passes(pipeline().loader()) for batch in batches]
    first = pipeline().loader(threads=2)
    begun, went_on = [], []
    while len(begun) < stop:
        for x, y in first:
            begun.append((x.tolist(), y.tolist()))
            if len(begun) == stop:
                break
    second = pipeline().loader(threads=0)
    second.load_state(json.loads(json.dumps(first.state())))
    while len(begun) + len(went_on) < len(whole):
        for x, y in second:
            went_on.append((x.tolist(), y.tolist()))
    assert begun + went_on == whole


def test_endless_and_over_the_ends_of_passes():
    loader = data.arrays(range(3)).repeat().batch(2).loader()
    assert [next(loader).tolist() for _ in range(4)] == [[0, 1], [2, 0], [1, 2], [0, 1]]
    again = data.arrays(range(3)).repeat().batch(2).loader()
    again.load_state(loader.state())
    assert next(again).tolist() == next(loader).tolist() == [2, 0]
    assert [len(batch) for batch in pipeline(drop_last=True).loader().dataset.loader()] == [2] * 5


def test_neighbouring_seeds_share_no_order():
    def orders(seed):
        loader = data.arrays(range(50)).shuffle(seed).batch(50).loader()
        return [tuple(batch.tolist()) for _ in range(3) for batch in loader]

    assert len({*orders(0), *orders(1)}) == 6


def test_structures_of_batches():
    rows = data.source([{"x": [1.5, 2], "name": "a"}, {"x": [2.5, 3], "name": "b"}]).batch(2)[0]
    assert rows["name"] == ("a", "b")
    assert rows["x"][0].dtype == np.float32 and rows["x"][1].tolist() == [2, 3]
    columns = data.arrays({"x": td.asarray([1.0, 2.0]), "y": [1, 2]})
    assert columns.batch(2)[-1]["x"].tolist() == [1.0, 2.0]
    assert columns.batch(2).map(lambda batch: batch["y"] * 2)[0].tolist() == [2, 4]


def fails_at_seven(x):
    if x == 7:
        raise OSError("no such photograph")
    return x


@pytest.mark.parametrize("workers", [{"threads": 0}, {"threads": 2}, {"processes": 1}])
def test_a_bad_item_is_skipped_or_raised_and_named(workers):
    batches = data.arrays(range(10)).map(fails_at_seven).batch(4)
    with batches.loader(bad="skip", **workers) as loader:
        assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6], [8, 9]]
    assert loader.skipped == 1
    assert "1 left out, first item 7: fails_at_seven: OSError: no such photograph" in loader.report()
    with batches.loader(**workers) as loader, pytest.raises(DataError, match=r"item 7 .*fails_at_seven"):
        list(loader)
    assert loader.state()["place"] == 1


def test_batches_of_nothing_but_bad_items_are_passed_over():
    def odd(x):
        if x < 4:
            raise ValueError("small")
        return x

    assert [batch.tolist() for batch in data.arrays(range(6)).map(odd).batch(2).loader(bad="skip")] == [
        [4, 5]
    ]


DIES = """
import os, signal, sys, time
from treadle import data

def dies(x):
    if x == 5:
        {death}
    return {value}

if __name__ == "__main__":
    with data.arrays(range(8)).map(dies).loader(processes=2) as loader:
        try:
            for _ in loader:
                pass
        except Exception as error:
            print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("death", "value", "says"),
    [
        ("os._exit(3)", "x", "a worker process died at batch"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "'long' * 100_000", "a worker process died at batch"),
        ("sys.exit()", "x", "item 5 cannot be used, dies failed: SystemExit"),
    ],
)
def test_a_worker_that_dies_is_an_error(tmp_path, death, value, says):
    program = tmp_path / "dies.py"
    program.write_text(DIES.format(death=death, value=value))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert f"DataError {says}" in done.stdout, done.stdout + done.stderr


ORPHANED = """
import os, signal
from treadle import data

def number(x):
    return os.getpid()

if __name__ == "__main__":
    loader = data.arrays(range(100)).map(number).loader(processes=1)
    print(next(loader), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


LEFT_OPEN = """
import numpy as np
from treadle import data

def row(x):
    return np.full(1000, x)

if __name__ == "__main__":
    loader = data.arrays(range(10)).map(row).batch(2).loader(processes=1, device="cpu")
    print([sum(1 for _ in loader) for _ in range(2)])
    kept = next(loader)
"""


def test_a_program_that_leaves_a_loader_open_ends_quietly(tmp_path):
    program = tmp_path / "left_open.py"
    program.write_text(LEFT_OPEN)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[5, 5]\n" and done.returncode == 0
    assert "leaked" not in done.stderr and "Exception" not in done.stderr, done.stderr


def test_workers_end_with_a_program_that_is_killed(tmp_path):
    program = tmp_path / "orphaned.py"
    program.write_text(ORPHANED)
    # Its output, which is waited for, ends when the worker, which has it open too, has ended.
    done = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == -9 and int(done.stdout) > 0


def test_what_cannot_go_to_a_worker_is_named():
    lock = threading.Lock()
    with (
        data.arrays([1]).map(lambda x: lock and x).loader(processes=1) as loader,
        pytest.raises(DataError, match="cannot be sent to a worker process"),
    ):
        next(loader)


def test_in_memory_reads_once():
    read = []

    def remember(x):
        read.append(x)
        return x, float(x)

    kept = data.in_memory(data.source(range(5)).map(remember))
    assert kept.batch(5)[0][1].tolist() == [0, 1, 2, 3, 4] and kept.batch(5)[0][1].dtype == np.float32
    assert sorted(read) == [0, 1, 2, 3, 4]
    with pytest.raises(ArgumentError, match="endless"):
        data.in_memory(data.source([1]).repeat())
    with pytest.raises(ArgumentError, match="all 1 items were left out, the first because of item 0"):
        data.in_memory(data.arrays([7]).map(fails_at_seven), bad="skip")


def test_waiting_is_measured():
    loader = pipeline().loader()
    passes(loader, 1)
    assert 0 < loader.waited_s < loader.total_s
    assert 0 < loader.waited_share < 1 and "waited" in loader.report()


def test_what_to_change_is_said():
    def slow(x):
        time.sleep(0.01)
        return x

    loader = data.arrays(range(8)).map(slow).batch(2).loader(threads=0)
    list(loader)
    assert {"reading", "slow", "batching"} == set(loader.spent) and loader.spent["slow"] > 0.08
    assert "slow is" in loader.report() and "of the work: do less in it" in loader.report()
    loader.spent = {"decoding": 3.0, "reading": 1.0}
    assert "decoding is 75 % of the work: store smaller images" in loader.report()


def test_shards_have_each_item_once():
    whole = data.arrays(range(7)).shuffle(1)
    passes = [
        [x for i in range(3) for x in list(loaders[i])] for loaders in [shards(whole)] for _ in range(2)
    ]
    assert [sorted(map(int, found)) for found in passes] == [list(range(7))] * 2 and passes[0] != passes[1]
    assert [len(whole.shard(i, 3)) for i in range(3)] == [3, 2, 2]


def shards(whole):
    return [whole.shard(index, 3).loader() for index in range(3)]


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: data.arrays([]), ArgumentError, "the data set is empty"),
        (lambda: data.source([]), ArgumentError, "the data set is empty"),
        (lambda: data.arrays([1, 2], [1]), ShapeError, "argument 0 has 2, argument 1 has 1"),
        (lambda: data.arrays(3), ShapeError, "argument 0 is a number"),
        (lambda: data.source(iter([1])), ArgumentError, "no length"),
        (lambda: data.arrays([1]).batch(0), ArgumentError, "size=0"),
        (lambda: data.arrays([1]).batch(2, drop_last=True), ArgumentError, "leaves nothing of 1 items"),
        (lambda: data.arrays([1]).shuffle(-1), ArgumentError, "seed=-1"),
        (lambda: data.arrays([1]).repeat(0), ArgumentError, "times=0"),
        (lambda: data.arrays([1]).loader(bad="ignore"), ArgumentError, "bad='ignore'"),
        (lambda: data.arrays([1]).shard(2, 2), ArgumentError, "index=2, count=2"),
        (lambda: data.arrays([1]).shard(1, 2), ArgumentError, "shard 1 of 2 of 1 items has none"),
        (lambda: data.arrays([1]).loader(device="tpu"), DeviceError, "tpu"),
        (lambda: data.arrays([1]).loader(threads=-1), ArgumentError, "threads=-1"),
        (lambda: data.arrays([1])[1], IndexError, "outside a data set of 1"),
        (lambda: data.source([[1], [1, 2]]).batch(2)[0], DataError, "the length of item 1 is 2, of item 0 1"),
        (lambda: data.arrays([1]).loader().load_state({"passes": 0}), StateError, "not the state"),
        (
            lambda: data.arrays([1]).loader().load_state(data.arrays([1, 2]).loader().state()),
            StateError,
            "this data set has 1",
        ),
    ],
)
def test_wrong_use(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()


def test_importing_treadle_leaves_grain_alone():
    code = "import sys, treadle, treadle.data; sys.exit('grain' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(DataError, match=r"pip install 'treadle\[data\]'"):
        data.arrays([1])
