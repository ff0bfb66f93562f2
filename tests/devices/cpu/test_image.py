"""Programs kept on the disk: another process gets the same program without compiling, or compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle.devices.cpu import disk, image, objects
from treadle.devices.cpu.build import Build
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.program import CpuExecutable
from treadle.errors import IndexingError
from treadle.evaluate import detached, structure_of
from treadle.graph.node import Node
from treadle.ops.record import INPUT, OPS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own, and a process that holds no code."""
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    objects._libraries.clear()
    return tmp_path / "kernels"


@pytest.fixture
def built(monkeypatch):
    """The graphs that went through the compiler."""
    found = []
    make = Build.__init__

    def counted(self, outputs, *rest):
        found.append(outputs)
        make(self, outputs, *rest)

    monkeypatch.setattr(Build, "__init__", counted)
    return found


def graph(*arrays: td.Array) -> list[Node]:
    """The graph of arrays as a device gets it."""
    nodes = [array.node for array in arrays]
    structure = structure_of(nodes, lambda n: n.buffer is not None, lambda n: n.buffer is not None)
    return detached(structure, nodes)


def program(outputs: list[Node]) -> CpuExecutable:
    return CpuExecutable(outputs, [None] * len(outputs), chosen_isa())


def example(scale: float = 1.0, dtype=td.float32) -> list[Node]:
    x = td.asarray(np.arange(12.0), dtype=dtype).reshape((3, 4))
    y = td.asarray(np.ones((4, 5)), dtype=dtype)
    return graph(td.exp(x * x) @ y, td.sort(x, axis=0), x)


def leaves_of(made: CpuExecutable):
    arrays = [np.arange(24.0, dtype=t.dtype.numpy)[: np.prod(t.shape, dtype=int)] for t in made.image.leaves]
    return [
        td.asarray(a.reshape(t.shape)).node.buffer for a, t in zip(arrays, made.image.leaves, strict=True)
    ]


def test_the_second_process_does_not_compile(built):
    first = program(example())
    assert len(built) == 1
    objects._libraries.clear()
    second = program(example())
    assert len(built) == 1
    assert second.image.kernels == first.image.kernels and second.memory() == first.memory()
    assert any(isinstance(segment, HostStep) for segment in second.segments)
    leaves = leaves_of(first)
    for a, b, node in zip(
        first.run(leaves, [None] * 3), second.run(leaves, [None] * 3), first.outputs, strict=True
    ):
        np.testing.assert_array_equal(a.view(node.type), b.view(node.type))
    assert "== kernel" in second.explain() and len(built) == 2


def test_what_decides_the_program_decides_the_name(monkeypatch):
    isa = chosen_isa()

    def name(outputs, donors=(None, None, None), lasting=()):
        return image.name_of(program(outputs).order, outputs, donors, lasting, isa)

    names = [name(example()), name(example(), (0, None, None)), name(example(dtype=td.float64))]
    names.append(name(example(), lasting=(0,)))
    monkeypatch.setattr(image.identity, "build", lambda: "another version")
    names.append(name(example()))
    assert len(set(names)) == 5 and None not in names
    assert names[4] == name(example())


def test_ops_that_are_not_treadles_own_are_not_kept(built):
    from treadle.graph.node import Op, make
    from treadle.ops.record import register

    op = register(Op("test_image_tripled", lambda x: x, lambda x: 3 * x, elementwise=False))
    try:
        for _ in range(2):
            leaf = td.ones((3,)).node
            td.evaluate(td.Array(leaf))
            program(graph(td.Array(make(op, (leaf,)))))
        assert len(built) == 2
    finally:
        del OPS["test_image_tripled"]


@pytest.mark.parametrize("what", ["program", "kernel", "damage"])
def test_what_is_gone_or_damaged_is_compiled_again(built, folder, what):
    first = program(example())
    name = image.name_of(first.order, first.outputs, [None] * 3, (), first.isa)
    victim = folder / (first.image.kernels[0][0] if what == "kernel" else name)
    victim.write_bytes(b"?" * 100) if what == "damage" else victim.unlink()
    objects._libraries.clear()
    objects._recent.clear()
    del first
    second = program(example())
    assert len(built) == 2
    assert second.run(leaves_of(second), [None] * 3)


def test_without_a_cache_everything_is_compiled(built, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE", "0")
    assert disk.from_environment() is None
    program(example())
    program(example())
    assert len(built) == 2


FAULTY = """
import sys
import numpy as np
import treadle as td
from treadle.errors import TreadleError
@td.compile
def look_up(table, index):
    return td.take(td.exp(table), index, axis=0) + 1

table = np.ones((1000, 100), np.float32)
print(float(look_up(table, np.array([3, 999])).sum()) > 0, "llvmlite" in sys.modules)
try:
    look_up(table, np.array([3, 1000]))
except TreadleError as error:
    print(type(error).__name__, error.line.number)
"""


def test_a_process_that_finds_its_program_loads_no_llvm_and_still_names_the_line(tmp_path):
    source = Path(td.__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(source), "TREADLE_CHECK": ""}
    seen = [
        subprocess.run(
            [sys.executable, "-c", FAULTY], env=environment, capture_output=True, text=True, check=True
        ).stdout.split("\n")
        for _ in range(2)
    ]
    assert [lines[0] for lines in seen] == ["True True", "True False"]
    assert seen[0][1] == seen[1][1] == f"{IndexingError.__name__} 8"


def test_attributes_come_back_as_they_were():
    for value in (1, True, 0.5, -0.0, 1j, "a", None, td.float32, (1, (td.bfloat16, "x"), ())):
        back = image._value_read(image._value_written(value))
        assert repr(back) == repr(value) and type(back) is type(value)
    assert INPUT.name in OPS
