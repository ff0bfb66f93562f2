"""Loading kernels: compiled once, for the instruction set asked for, also for machines that are not here."""

from __future__ import annotations

import gc
import struct

import numpy as np
import pytest
from guard import GuardedBuffer, ranges, run_kernel, run_lowered

from treadle.devices.cpu import ir, jit, objects
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.target import ISAS, Isa, host_isas

AARCH64 = 183  # the ELF standard's e_machine


def doubling(isa: Isa, tasks: int, label: str = "double") -> NativeKernel:
    """Operand 1 becomes twice operand 0, a vector of float32 for each task."""
    module = ir.Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    table, first, last, _ = f.arguments
    source, target = f.load("ptr", table, 8), f.load("ptr", f.at(table, 8), 8)

    def task(t):
        x = f.load(ir.vector("float", isa.lanes()), f.at(source, f.mul(t, isa.vector_nbytes)))
        f.store(f.op("fadd", x, x), f.at(target, f.mul(t, isa.vector_nbytes)))

    f.loop(first, last, task)
    f.ret()
    return NativeKernel(module.text(), label, tasks)


def writing(offset: int, nbytes: int = 4) -> NativeKernel:
    """Writes zeros at one byte offset of its only operand."""
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.store(f.constant(f"i{8 * nbytes}", 0), f.at(f.load("ptr", f.arguments[0], 8), offset))
    f.ret()
    return NativeKernel(module.text(), "write", 1)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_kernels_run_at_every_width_of_this_machine(isa):
    x = np.arange(13 * isa.lanes(), dtype=np.float32)
    y = np.zeros_like(x)
    run_kernel(doubling(isa, 13), [x, y], isa)
    np.testing.assert_array_equal(y, 2 * x)
    run_kernel(doubling(isa, 13), [x, y])  # narrow code is right on the widest machine
    np.testing.assert_array_equal(y, 2 * x)


def test_equal_text_is_compiled_once():
    isa = host_isas()[0]
    first, second = jit.load(doubling(isa, 3)), jit.load(doubling(isa, 4, "again"))
    assert first.address == second.address
    assert second.facts.label == "again" and second.facts.tasks == 4


def test_instruction_sets_have_code_of_their_own():
    kernel = doubling(ISAS["sse"], 3)
    assert len({jit.load(kernel, isa).address for isa in host_isas()}) == len(host_isas())


def test_code_nobody_refers_to_is_unloaded(monkeypatch):
    monkeypatch.setattr(objects, "_recent", [])
    kernel = writing(12340)
    loaded = jit.load(kernel)
    objects._recent.clear()
    gc.collect()
    assert jit.is_loaded(kernel.text, host_isas()[0])
    del loaded
    gc.collect()
    assert not jit.is_loaded(kernel.text, host_isas()[0])


REGISTERS = {"avx512": "zmm", "avx2": "ymm", "sse": "xmm"}


@pytest.mark.parametrize(
    "isa", [isa for isa in host_isas() if isa.name in REGISTERS], ids=lambda isa: isa.name
)
def test_assembly_uses_the_registers_of_the_instruction_set(isa):
    text = jit.assembly(doubling(isa, 3), isa)
    used = [name for name in REGISTERS.values() if name in text]
    assert used[0] == REGISTERS[isa.name]


def test_code_for_another_machine():
    kernel = doubling(ISAS["neon"], 3)
    code = jit.object_code(kernel, ISAS["neon"], triple="aarch64-unknown-linux-gnu")
    assert code[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", code, 18) == (AARCH64,)
    assert "fadd\tv0.4s" in jit.assembly(kernel, ISAS["neon"], triple="aarch64-unknown-linux-gnu")


def test_wrong_text_is_refused():
    with pytest.raises(RuntimeError, match="use of undefined value '%nowhere'"):
        jit.load(NativeKernel("define i32 @kernel() {\n  ret i32 %nowhere\n}", "wrong", 1))
    with pytest.raises(RuntimeError, match="nowhere_at_all"):
        call = "define void @kernel() {\n  call void @nowhere_at_all()\n  ret void\n}"
        text = "declare void @nowhere_at_all()\n" + call
        jit.load(NativeKernel(text, "unlinked", 1))


def test_functions_of_the_process_can_be_called():
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    x = f.load("ptr", f.arguments[0], 8)
    f.store(f.call("double", "cbrt", f.load("double", x)), x)
    f.ret()
    x = np.array([27.0])
    run_kernel(NativeKernel(module.text(), "cbrt", 1), [x])
    np.testing.assert_allclose(x, [3.0])


# -- the harness that other tests rely on


def test_the_harness_finds_writes_beside_a_buffer():
    """Those that the guard page does not stop, in the part of a page that the buffer does not fill."""
    with pytest.raises(AssertionError, match="bytes before the buffer"):
        run_kernel(writing(-4), [np.zeros(9, np.float32)])
    with pytest.raises(AssertionError, match="bytes after the buffer"):
        # At the "end" edge this is within the array, at the "begin" edge too: a shorter array shows it.
        buffer = GuardedBuffer(36, "begin")
        buffer._bytes[36] = 0
        buffer.check_padding("operand")
    run_kernel(writing(32), [np.zeros(9, np.float32)])


def test_the_harness_finds_results_that_depend_on_the_division_of_tasks():
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.store(f.arguments[1], f.load("ptr", f.arguments[0], 8))
    f.ret()
    with pytest.raises(AssertionError, match="depends on how tasks were divided"):
        for seed in range(20):
            run_kernel(NativeKernel(module.text(), "first", 100), [np.zeros(1, np.int64)], seed=seed)


def test_the_harness_finds_scratch_that_is_read_before_it_is_written():
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.store(f.load("double", f.arguments[3], 8), f.load("ptr", f.arguments[0], 8))
    f.ret()
    x = np.zeros(1)
    run_kernel(NativeKernel(module.text(), "unwritten", 1, scratch_nbytes=64), [x])
    assert np.isnan(x[0])


def test_the_harness_runs_steps_through_temporaries():
    isa = host_isas()[0]
    kernel = doubling(isa, 5)
    x = np.arange(5 * isa.lanes(), dtype=np.float32)
    y = np.zeros_like(x)
    steps = (Step(kernel, (("in", 0), ("temp", 0))), Step(kernel, (("temp", 0), ("out", 0))))
    run_lowered(Lowered(steps, (x.nbytes,)), [x], [y])
    np.testing.assert_array_equal(y, 4 * x)
    with pytest.raises(AssertionError, match="input 0 was written"):
        run_lowered(Lowered((Step(writing(4), (("in", 0),)),)), [x], [])


def test_ranges_cover_all_tasks_once():
    for tasks in (1, 2, 9):
        for seed in range(20):
            found = sorted(
                t for first, last in ranges(tasks, np.random.default_rng(seed)) for t in range(first, last)
            )
            assert found == list(range(tasks))
