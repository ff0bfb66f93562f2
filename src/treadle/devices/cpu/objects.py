"""Machine code in this process: object code by name, found on the disk or made now, placed once.

A name stands for all that decides the code. Knows nothing of what the code does, nor of how it is made: LLVM
is not loaded for code that is on the disk, if this machine's objects can be placed without it (`elf`).
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from treadle.devices.cpu import disk, elf, identity
from treadle.devices.cpu.target import host_isas


class Library:
    """Machine code of one module in this process: ``library[symbol]`` is an address, valid while the library
    is referenced.
    """

    __slots__ = ("__weakref__", "_placed")

    def __init__(self, placed: Any):
        self._placed = placed

    def leave(self) -> None:
        """Never unload the code, not even when nobody refers to it any more."""
        self._placed.leave()

    def __getitem__(self, symbol: str) -> int:
        return self._placed[symbol]


class _Linked:
    """What LLVM's linker placed, as `elf.Placed` is."""

    def __init__(self, tracker: Any):
        self._tracker = tracker

    def __getitem__(self, symbol: str) -> int:
        return self._tracker[symbol]

    def leave(self) -> None:
        self._tracker.detach()


_lock = threading.Lock()
compiling = threading.Lock()
"""Held while LLVM compiles in this process. Whoever holds `_lock` may take it, not the other way round."""
_libraries: weakref.WeakValueDictionary[tuple, Library] = weakref.WeakValueDictionary()
_recent: deque[Library] = deque(maxlen=1024)  # keeps code between one program's end and the next one's start
_serial = itertools.count()
if hasattr(os, "register_at_fork"):
    # No fork while a thread compiles: the child would wait for ever for what that thread holds, of LLVM's
    # too. What is registered last is taken first.
    for _held in (compiling, _lock):
        os.register_at_fork(before=_held.acquire, after_in_child=_held.release, after_in_parent=_held.release)


def load(name: str, symbols: tuple[str, ...], make: Callable[[], bytes]) -> Library:
    """The code of that name, with the addresses of the functions named in `symbols`; `make` gives its object
    code where neither the process nor the disk has it.
    """
    with _lock:
        library = _libraries.get((name, symbols))
        if library is None:
            library = _libraries[name, symbols] = _place(_kept(name, make), symbols)
            _recent.append(library)
    return library


def load_kept(name: str, symbols: tuple[str, ...]) -> Library | None:
    """The same, or None where `make` would be needed."""
    try:
        return load(name, symbols, _missing)
    except LookupError:
        return None


def load_written(write: Callable[[], str], symbols: tuple[str, ...]) -> Library:
    """The module whose text `write` gives: a function of this build and the machine's instructions alone, so
    that a new process need not write it to know its name.
    """
    isa = host_isas()[0]

    def make() -> bytes:
        from treadle.devices.cpu import jit

        return jit.object_code(write(), isa)

    return load(
        disk.name(identity.build(), isa.features, write.__module__, write.__qualname__), symbols, make
    )


def is_loaded(name: str, symbols: tuple[str, ...]) -> bool:
    """Whether code of that name is in the process."""
    return (name, symbols) in _libraries


def is_kept(name: str) -> bool:
    """Whether the object code of that name is on the disk."""
    kept = disk.from_environment()
    return kept is not None and kept.has(name)


def _missing() -> bytes:
    raise LookupError


def _kept(name: str, make: Callable[[], bytes]) -> bytes:
    kept = disk.from_environment()
    if kept is None:
        return make()
    code = kept.get(name)
    if code is None or elf.is_foreign(code):
        code = make()
        kept.put(name, code)
    return code


def _place(code: bytes, symbols: tuple[str, ...]) -> Library:
    """Place object code; what it calls (``memcpy``, ``expf``) is found in the process itself."""
    placed = elf.place(code)
    return Library(_Linked(_link(code, symbols)) if placed is None else placed)


@cache
def _linker() -> Any:
    """LLVM's linker, one in the process."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        reloc="pic", codemodel="small"
    )
    return llvm.create_lljit_compiler(machine, use_jit_link=False)


def _link(code: bytes, symbols: tuple[str, ...]) -> Any:
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    return builder.link(_linker(), f"treadle{next(_serial)}")


@atexit.register
def _leave_all() -> None:
    """A daemon thread may be in the middle of a kernel while the interpreter is taken down."""
    for library in list(_libraries.values()):
        library.leave()
    if _linker.cache_info().currsize:
        _linker().detach()
