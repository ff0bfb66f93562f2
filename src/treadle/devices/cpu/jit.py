"""Kernels compiled when they are needed: text in, an address to call out.

Code is generated for a named instruction set and never for the model of processor it happens to run on, so
that one text has one meaning everywhere it runs. Knows nothing of programs, buffers or threads.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from treadle.devices.cpu import codegen, disk, objects
from treadle.devices.cpu.native import ENTRY, LoadedKernel, NativeKernel
from treadle.devices.cpu.objects import Library
from treadle.devices.cpu.target import Isa, host_isas

CROSS_TRIPLES = {"neon": "aarch64-unknown-linux-gnu"}


def load(kernel: NativeKernel, isa: Isa | None = None) -> LoadedKernel:
    """Compile a kernel, or find it already compiled. `isa` is the host's widest unless another is
    asked for.
    """
    return LoadedKernel(kernel.facts, load_module(kernel.text, (ENTRY,), isa))


def load_module(
    text: str, symbols: tuple[str, ...], isa: Isa | None = None, code: bytes | None = None
) -> Library:
    """The code of any module text, with the addresses of the functions named in `symbols`.

    `code` is its object code, if the caller has just compiled it.
    """
    isa = isa or host_isas()[0]
    return objects.load(file_name(text, isa), symbols, lambda: code or object_code(text, isa))


def is_loaded(text: str, isa: Isa) -> bool:
    """Whether a kernel of this text is in the process."""
    return objects.is_loaded(file_name(text, isa), (ENTRY,))


def is_kept(text: str, isa: Isa) -> bool:
    """Whether the object code of this text is on the disk."""
    return objects.is_kept(file_name(text, isa))


def object_code(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> bytes:
    """Relocatable object code; for an instruction set of another architecture this compiles without
    running.
    """
    with objects.compiling:
        return codegen.object_code(*_compiled_for(kernel, isa, triple))


def assembly(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> str:
    """What the processor is given, as text for a person."""
    return codegen.assembly(*_compiled_for(kernel, isa, triple))


def file_name(text: str, isa: Isa) -> str:
    """The name of a module's object code: all that decides it."""
    return disk.name(*_version(), isa.features, str(codegen.LEVEL), *codegen.UNUSED, text)


@cache
def _version() -> tuple[str, str]:
    """LLVM's version, and what it calls this machine."""
    return ".".join(map(str, llvm.llvm_version_info)), llvm.get_process_triple()


def _compiled_for(kernel: NativeKernel | str, isa: Isa | None, triple: str | None) -> tuple[str, str, str]:
    """Text, features and triple."""
    isa = isa or host_isas()[0]
    if triple is None:
        here = _version()[1]
        triple = here if isa in host_isas() else CROSS_TRIPLES.get(isa.name, here)
    return kernel if isinstance(kernel, str) else kernel.text, isa.features, triple
