"""Placing object code without LLVM: what it refers to is found, and what is not known is left alone."""

from __future__ import annotations

import ctypes
import gc
import sys

import pytest

from treadle.devices.cpu import elf, jit, objects, target
from treadle.devices.cpu.target import host_isas

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or target.architecture() != "x86_64", reason="for x86-64 Linux"
)

TABLE = ", ".join(f"i32 {i * i}" for i in range(64))
TEXT = f"""
@squares = private constant [64 x i32] [{TABLE}], align 64
@calls = internal global i64 0, align 8
@zero = internal global [3 x i8] zeroinitializer

declare double @pow(double, double)
declare ptr @memcpy(ptr, ptr, i64)

define i32 @square(i64 %i) {{
  %at = getelementptr i32, ptr @squares, i64 %i
  %value = load i32, ptr %at
  ret i32 %value
}}
define i64 @count() {{
  %before = load i64, ptr @calls
  %after = add i64 %before, 1
  store i64 %after, ptr @calls
  ret i64 %after
}}
define double @cube(double %x) {{
  %y = call double @pow(double %x, double 3.0)
  ret double %y
}}
define i32 @through(i64 %i) {{
  %y = call i32 @square(i64 %i)
  ret i32 %y
}}
"""


def code(text: str = TEXT) -> bytes:
    return jit.object_code(text)


def test_constants_counters_and_functions_of_the_process_are_found():
    placed = elf.place(code())
    assert placed is not None
    square = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(placed["square"])
    through = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(placed["through"])
    assert [square(i) for i in range(64)] == [through(i) for i in range(64)] == [i * i for i in range(64)]
    count = ctypes.CFUNCTYPE(ctypes.c_int64)(placed["count"])
    assert [count(), count(), count()] == [1, 2, 3]
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(placed["cube"])(3.0) == 27.0


def test_each_placement_has_memory_of_its_own_and_gives_it_back():
    first, second = elf.place(code()), elf.place(code())
    assert first is not None and second is not None
    assert first["square"] != second["square"]
    with open("/proc/self/maps") as maps:
        before = len(maps.readlines())
    many = [elf.place(code()) for _ in range(20)]
    with open("/proc/self/maps") as maps:
        assert len(maps.readlines()) > before
    del many
    gc.collect()
    with open("/proc/self/maps") as maps:
        assert len(maps.readlines()) <= before + 2


def test_a_function_that_is_not_there_is_named():
    text = "declare void @nowhere_at_all()\ndefine void @f() {\n call void @nowhere_at_all()\n ret void\n}"
    with pytest.raises(RuntimeError, match="nowhere_at_all"):
        elf.place(code(text))


def test_what_is_not_known_is_left_to_llvms_linker():
    text = "@environ = external global ptr\ndefine ptr @f() {\n %x = load ptr, ptr @environ\n ret ptr %x\n}"
    assert elf.place(code(text)) is None
    library = objects.load("a name of its own", ("f",), lambda: code(text))
    assert ctypes.CFUNCTYPE(ctypes.c_void_p)(library["f"])()


@pytest.mark.parametrize("made", [b"", b"\x7fELF", b"no object at all" * 8])
def test_what_is_no_object_of_this_machine_is_not_placed(made):
    assert elf.place(made) is None
    assert elf.place(jit.object_code(TEXT, target.ISAS["neon"], "aarch64-unknown-linux-gnu")) is None


def test_the_system_and_llvm_agree_on_the_instructions_of_this_machine():
    found = target.linux_features()
    for isa, needed in target.NEEDED.items():
        assert found.issuperset(needed) == target.llvm_features().issuperset(needed), isa
    assert host_isas()
    assert target.linux_features("no such file") == set()
