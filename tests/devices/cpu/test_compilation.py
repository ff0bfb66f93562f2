"""Compiling with several processes: the same code as with one, whatever becomes of the others."""

from __future__ import annotations

import io
import os
import pathlib
import sys
import weakref

import pytest

import treadle as td
from treadle.devices.cpu import codegen, compilation, jit, objects, servers
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import host_isas
from treadle.graph.node import make

ISA = host_isas()[0]


def text(number: int) -> str:
    """A kernel that stores a number."""
    lines = [
        "define void @kernel(ptr %a, i64 %first, i64 %last, ptr %scratch) {",
        f"  store i64 {number}, ptr %scratch, align 8",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)


def kernels(*numbers: int) -> list[NativeKernel]:
    return [NativeKernel(text(number), f"store {number}", 1) for number in numbers]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(servers, "most", lambda: 2)
    monkeypatch.setattr(objects, "_libraries", weakref.WeakValueDictionary())


@pytest.fixture
def at_once(monkeypatch):
    """Every kernel is worth a server."""
    monkeypatch.setattr(compilation, "MODULE_S", 1.0)


def codes(texts: list[str]) -> dict[str, bytes]:
    return {jit.file_name(t, ISA): jit.object_code(t, ISA) for t in texts}


def test_several_processes_give_the_same_code(at_once):
    with compilation.Compilers(ISA) as compilers:
        loaded = compilers.load(kernels(*range(30)))
        assert len(compilers._servers) == 2
    assert [kernel.facts.label for kernel in loaded] == [f"store {number}" for number in range(30)]
    assert compilers.codes == codes([text(number) for number in range(30)])


def test_servers_compile_while_kernels_are_written(monkeypatch, at_once):
    """With nothing done here, they do it all, from the moment at which a kernel is known."""
    here = []
    expected = codes([text(number) for number in range(5)])
    monkeypatch.setattr(jit, "object_code", lambda *a: here.append(a))
    with compilation.Compilers(ISA) as compilers:
        compilers.add(kernels(0))
        while not compilers.codes:
            assert any(feeder.is_alive() for feeder in compilers._feeders)
        compilers._compile_here = lambda: None
        compilers.load(kernels(*range(5)))
    assert compilers.codes == expected and here == []


def test_a_server_that_was_there_before_is_used(monkeypatch):
    started = servers.start()
    assert started is not None
    with compilation.Compilers(ISA, [started]) as compilers:
        compilers._compile_here = lambda: None
        assert len(compilers.load(kernels(1, 2, 3))) == 3
        assert len(compilers.codes) == 3
    assert started.poll() is not None


def test_what_is_not_needed_any_more_is_dropped(at_once):
    with pytest.raises(KeyboardInterrupt), compilation.Compilers(ISA) as compilers:
        compilers.add(kernels(*range(300)))
        raise KeyboardInterrupt
    assert compilers._servers and all(server.returncode is not None for server in compilers._servers)
    assert not any(feeder.is_alive() for feeder in compilers._feeders)


def test_wrong_text_is_an_error_here(at_once):
    wrong = NativeKernel("define nonsense", "nonsense", 1)
    with pytest.raises(RuntimeError, match="LLVM IR parsing error"):
        compilation.load_many([*kernels(1), wrong, *kernels(2)], ISA)


@pytest.mark.parametrize("program", ["", "/nowhere/python", "false"])
def test_without_servers_everything_is_compiled_here(monkeypatch, at_once, program):
    monkeypatch.setattr(sys, "executable", program)
    assert len(compilation.load_many(kernels(*range(5)), ISA)) == 5


def test_many_kernels_are_loaded_in_order(monkeypatch):
    made = []
    object_code = jit.object_code
    monkeypatch.setattr(jit, "object_code", lambda *a: made.append(a) or object_code(*a))
    asked = kernels(*[number % 7 for number in range(10)])
    loaded = compilation.load_many(asked)
    assert [entry.facts.label for entry in loaded] == [kernel.label for kernel in asked]
    assert len({entry.address for entry in loaded}) == 7 and len(made) == 7
    # Loaded already, then on the disk: nothing is compiled.
    compilation.load_many(asked)
    objects._libraries.clear()
    compilation.load_many(asked)
    assert len(made) == 7
    # On the disk, but damaged: compiled here.
    objects._libraries.clear()
    for file in (pathlib.Path(os.environ["TREADLE_CACHE_DIR"]) / "kernels").iterdir():
        file.write_bytes(b"nothing")
    assert len(compilation.load_many(asked)) == 10 and len(made) == 14


def test_little_work_stays_here(monkeypatch):
    monkeypatch.setattr(servers, "start", None)
    assert compilation.load_many(kernels(200))[0].address
    assert compilation.load_many([]) == []


def test_a_server_is_started_early_for_many_products(monkeypatch):
    began = []
    monkeypatch.setattr(servers, "start", lambda: began.append(1))
    x = td.ones((4, 4)).node
    few = [make(td.ops.contraction.MATMUL, (x, x), ())] * (servers.LARGE - 1)
    assert servers.early(few) == [] and began == []
    assert servers.early([*few, few[0]]) == [] and began == [1]
    monkeypatch.setattr(servers, "most", lambda: 0)
    servers.early([*few, few[0]])
    assert began == [1]


def test_the_server_answers_until_there_are_no_more_requests():
    triple = jit.llvm.get_process_triple()
    requests, replies = io.BytesIO(), io.BytesIO()
    for body in (text(1), "define nonsense", text(2)):
        codegen.request(requests, body, ISA.features, triple)
    requests.seek(0)
    codegen.serve(requests, replies)
    replies.seek(0)
    answers = [codegen.reply(replies) for _ in range(4)]
    assert answers == [
        codegen.object_code(text(1), ISA.features, triple),
        None,
        codegen.object_code(text(2), ISA.features, triple),
        None,
    ]
