"""Compiling with several processes: the same code as with one, whatever becomes of the others."""

from __future__ import annotations

import io
import sys

import pytest

from treadle.devices.cpu import codegen, compilation, jit, objects, threads
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import host_isas

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


def test_several_processes_give_the_same_code():
    texts = [text(number) for number in range(30)]
    codes = compilation.compile_texts(texts, ISA, processes=3)
    assert codes == {t: jit.object_code(t, ISA) for t in texts}


def test_servers_do_their_part(monkeypatch):
    """With nothing done here until they have finished, they do it all."""
    compile_here = compilation._compile_here
    calls = []
    monkeypatch.setattr(
        compilation, "_compile_here", lambda *a: compile_here(*a) if calls else calls.append(a)
    )
    texts = [text(number) for number in range(5)]
    before = []
    monkeypatch.setattr(jit, "object_code", lambda *a: before.append(a) or b"")
    codes = compilation.compile_texts(texts, ISA, processes=2)
    assert sorted(codes) == sorted(texts) and before == []
    assert all(
        code[:4] == codegen.object_code(text(0), ISA.features, jit.llvm.get_process_triple())[:4]
        for code in codes.values()
    )


def test_wrong_text_is_an_error_here():
    with pytest.raises(RuntimeError, match="LLVM IR parsing error"):
        compilation.compile_texts([text(1), "define nonsense", text(2)], ISA, processes=2)


@pytest.mark.parametrize("program", ["", "/nowhere/python", "false"])
def test_without_servers_everything_is_compiled_here(monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    texts = [text(number) for number in range(5)]
    assert sorted(compilation.compile_texts(texts, ISA, processes=3)) == sorted(texts)


def test_many_kernels_are_loaded_in_order(monkeypatch, tmp_path):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation, "MODULE_S", 1.0)
    monkeypatch.setattr(compilation, "num_threads", lambda: 2)
    asked = []
    compile_texts = compilation.compile_texts
    monkeypatch.setattr(
        compilation, "compile_texts", lambda t, isa, n: asked.append((len(t), n)) or compile_texts(t, isa, n)
    )
    kernels = [NativeKernel(text(100 + number % 7), f"store {number}", 1) for number in range(10)]
    loaded = compilation.load_many(kernels)
    assert [entry.facts.label for entry in loaded] == [kernel.label for kernel in kernels]
    assert len({entry.address for entry in loaded}) == 7
    assert asked == [(7, 2)]
    # Loaded already, then on the disk: nothing is compiled.
    compilation.load_many(kernels)
    objects._libraries.clear()
    compilation.load_many(kernels)
    assert asked == [(7, 2)]


def test_little_work_stays_here(monkeypatch, tmp_path):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation, "compile_texts", None)
    assert threads.num_threads() >= 1
    assert compilation.load_many([NativeKernel(text(200), "store", 1)])[0].address
    assert compilation.load_many([]) == []


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
