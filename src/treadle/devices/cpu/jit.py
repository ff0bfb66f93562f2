"""From LLVM IR text to machine code in this process, and to object code and assembly for reading or for other
machines.

Code is generated for a named instruction set and never for the model of processor it happens to run on, so
that one text has one meaning everywhere it runs. LLVM's IR passes are skipped: the generators write SSA form
that the code generator takes as it is, and the passes cost up to ten times what code generation does. Knows
nothing of programs, buffers or threads.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from treadle.devices.cpu import disk
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import Isa, host_isas

ENTRY = "kernel"
CODEGEN_LEVEL = 1
"""Level 0 spills every register and is 3 to 10 times slower; levels 2 and 3 cost more time and gave the same
code speed.
"""
CROSS_TRIPLES = {"neon": "aarch64-unknown-linux-gnu"}
ENTRY_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
"""The ABI of every kernel's entry point, for calling one from Python (tests do; programs use the runner)."""


class Library:
    """Machine code of one module in this process: ``library[symbol]`` is an address, valid while the library
    is referenced.
    """

    def __init__(self, tracker: llvm.ResourceTracker):
        self._tracker = tracker

    def leave(self) -> None:
        """Never unload the code, not even when nobody refers to it any more."""
        self._tracker.detach()

    def __getitem__(self, symbol: str) -> int:
        return self._tracker[symbol]


@dataclass(frozen=True, eq=False)
class LoadedKernel:
    """A kernel that can be called at `address`, as long as this object is alive."""

    kernel: NativeKernel
    address: int
    library: Library

    @property
    def scratch_nbytes(self) -> int:
        return self.kernel.scratch_nbytes

    @property
    def entry(self) -> ctypes._CFuncPtr:
        """The entry point as a ctypes function ``(arguments, first, last, scratch)``."""
        return ENTRY_TYPE(self.address)


def load(kernel: NativeKernel, isa: Isa | None = None) -> LoadedKernel:
    """Compile a kernel, or find it already compiled. `isa` is the host's widest unless another is
    asked for.
    """
    library = load_module(kernel.text, (ENTRY,), isa)
    return LoadedKernel(kernel, library[ENTRY], library)


def load_module(text: str, symbols: tuple[str, ...], isa: Isa | None = None) -> Library:
    """The code of any module text, with the addresses of the functions named in `symbols`."""
    isa = isa or host_isas()[0]
    key = (text, isa.name, symbols)
    with _lock:
        library = _libraries.get(key)
        if library is None:
            library = _libraries[key] = _link(_kept_object_code(text, isa), symbols)
            _recent.append(library)
    return library


def _kept_object_code(text: str, isa: Isa) -> bytes:
    """Object code for this machine, from the disk if it is there."""
    kept = disk.from_environment()
    if kept is None:
        return object_code(text, isa)
    version = ".".join(map(str, llvm.llvm_version_info))
    name = disk.name(version, llvm.get_process_triple(), isa.features, str(CODEGEN_LEVEL), text)
    code = kept.get(name)
    if code is None:
        code = object_code(text, isa)
        kept.put(name, code)
    return code


def object_code(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> bytes:
    """Relocatable object code; for an instruction set of another architecture this compiles without
    running.
    """
    machine, module = _module(kernel, isa, triple)
    return machine.emit_object(module)


def assembly(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> str:
    """What the processor is given, as text for a person."""
    machine, module = _module(kernel, isa, triple)
    return machine.emit_assembly(module)


_lock = threading.Lock()
_libraries: weakref.WeakValueDictionary[tuple, Library] = weakref.WeakValueDictionary()
_recent: deque[Library] = deque(maxlen=1024)  # keeps code between one program's end and the next one's start
_serial = itertools.count()


@atexit.register
def _leave_all() -> None:
    """A daemon thread may be in the middle of a kernel while the interpreter is taken down."""
    for library in list(_libraries.values()):
        library.leave()
    if _linker.cache_info().currsize:
        _linker().detach()


def _module(
    kernel: NativeKernel | str, isa: Isa | None, triple: str | None
) -> tuple[llvm.TargetMachine, llvm.ModuleRef]:
    """Parse and verify a text as a module for the given machine."""
    isa = isa or host_isas()[0]
    if triple is None:
        triple = (
            llvm.get_process_triple()
            if isa in host_isas()
            else CROSS_TRIPLES.get(isa.name, llvm.get_process_triple())
        )
    text = kernel if isinstance(kernel, str) else kernel.text
    machine = _machine(isa.features, triple)
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return machine, module


@cache
def _machine(features: str, triple: str) -> llvm.TargetMachine:
    """The code generator for a triple; position-independent because objects are kept and loaded anywhere."""
    if triple == llvm.get_process_triple():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(features=features, opt=CODEGEN_LEVEL, reloc="pic", codemodel="small")


@cache
def _linker() -> llvm.LLJIT:
    """The one linker of the process."""
    return llvm.create_lljit_compiler(_machine("", llvm.get_process_triple()), use_jit_link=False)


def _link(code: bytes, symbols: tuple[str, ...]) -> Library:
    """Place object code in this process; what it calls (``memcpy``, ``expf``) is found in the
    process itself.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    return Library(builder.link(_linker(), f"treadle{next(_serial)}"))
