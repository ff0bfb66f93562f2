"""Machine code in this process: a kernel's text is compiled or found on the disk, linked once, and called by
its address.

Code is generated for a named instruction set and never for the model of processor it happens to run on, so
that one text has one meaning everywhere it runs. Knows nothing of programs, buffers or threads.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from treadle.devices.cpu import codegen, disk
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import Isa, host_isas

ENTRY = "kernel"
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
    def entry(self) -> Callable[[int, int, int, int], None]:
        """The entry point as a ctypes function ``(arguments, first, last, scratch)``."""
        return ENTRY_TYPE(self.address)


def load(kernel: NativeKernel, isa: Isa | None = None) -> LoadedKernel:
    """Compile a kernel, or find it already compiled. `isa` is the host's widest unless another is
    asked for.
    """
    library = load_module(kernel.text, (ENTRY,), isa)
    return LoadedKernel(kernel, library[ENTRY], library)


def load_module(
    text: str, symbols: tuple[str, ...], isa: Isa | None = None, code: bytes | None = None
) -> Library:
    """The code of any module text, with the addresses of the functions named in `symbols`.

    `code` is its object code, if the caller has just compiled it.
    """
    isa = isa or host_isas()[0]
    key = (text, isa.name, symbols)
    with _lock:
        library = _libraries.get(key)
        if library is None:
            library = _libraries[key] = _link(_kept_object_code(text, isa, code), symbols)
            _recent.append(library)
    return library


def is_loaded(text: str, isa: Isa) -> bool:
    """Whether a kernel of this text is in the process."""
    return (text, isa.name, (ENTRY,)) in _libraries


def is_kept(text: str, isa: Isa) -> bool:
    """Whether the object code of this text is on the disk."""
    kept = disk.from_environment()
    return kept is not None and kept.has(_file_name(text, isa))


def object_code(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> bytes:
    """Relocatable object code; for an instruction set of another architecture this compiles without
    running.
    """
    return codegen.object_code(*_compiled_for(kernel, isa, triple))


def assembly(kernel: NativeKernel | str, isa: Isa | None = None, triple: str | None = None) -> str:
    """What the processor is given, as text for a person."""
    return codegen.assembly(*_compiled_for(kernel, isa, triple))


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


def _compiled_for(kernel: NativeKernel | str, isa: Isa | None, triple: str | None) -> tuple[str, str, str]:
    """Text, features and triple."""
    isa = isa or host_isas()[0]
    if triple is None:
        here = llvm.get_process_triple()
        triple = here if isa in host_isas() else CROSS_TRIPLES.get(isa.name, here)
    return kernel if isinstance(kernel, str) else kernel.text, isa.features, triple


def _kept_object_code(text: str, isa: Isa, code: bytes | None) -> bytes:
    """Object code for this machine: what the caller has, else the disk, else the compiler."""
    kept = disk.from_environment()
    if kept is None:
        return code or object_code(text, isa)
    name = _file_name(text, isa)
    if code is None:
        code = kept.get(name)
        if code is not None:
            return code
        code = object_code(text, isa)
    kept.put(name, code)
    return code


def _file_name(text: str, isa: Isa) -> str:
    """All that decides the object code."""
    version = ".".join(map(str, llvm.llvm_version_info))
    return disk.name(version, llvm.get_process_triple(), isa.features, str(codegen.LEVEL), text)


@cache
def _linker() -> llvm.LLJIT:
    """The one linker of the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        reloc="pic", codemodel="small"
    )
    return llvm.create_lljit_compiler(machine, use_jit_link=False)


def _link(code: bytes, symbols: tuple[str, ...]) -> Library:
    """Place object code in this process; what it calls (``memcpy``, ``expf``) is found in the
    process itself.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    return Library(builder.link(_linker(), f"treadle{next(_serial)}"))
