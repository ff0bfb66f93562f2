"""From LLVM IR text to object code, in this process or, when this file is run as a program, in one that
serves another.

LLVM compiles one module at a time in a process, so several are needed to compile many kernels quickly
(`treadle.devices.cpu.compilation`). The server must start fast: this file may import nothing but llvmlite and
the standard library.

LLVM's IR passes are skipped: the generators write SSA form that the code generator takes as it is, and the
passes cost up to ten times what code generation does. Of the code generator's own, the one that rewrites
loops' addresses is left out: it takes a third of the time or more, and kernels, whose loops move a few
pointers by constants, are as quick without it (docs/results.md).
"""

from __future__ import annotations

import queue
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

import llvmlite.binding as llvm

LEVEL = 1
"""Of code generation. Level 0 spills every register and is 3 to 10 times slower; 2 and 3 gave the
same speed.
"""
UNUSED = ("-disable-lsr",)
"""What is said to LLVM of passes that are left out."""
REQUEST = struct.Struct("<QQQ")
"""Lengths of features, triple and text, which follow."""
REPLY = struct.Struct("<?Q")
"""Whether it worked, and the length of what follows: object code or an error message."""


def object_code(text: str, features: str, triple: str) -> bytes:
    """Relocatable object code of a module."""
    machine = _machine(features, triple)
    module = _parsed(text, machine, triple)
    with _without_unused():
        return machine.emit_object(module)


def assembly(text: str, features: str, triple: str) -> str:
    """The same as a person reads it."""
    machine = _machine(features, triple)
    module = _parsed(text, machine, triple)
    with _without_unused():
        return machine.emit_assembly(module)


_options = threading.Lock()


@contextmanager
def _without_unused() -> Iterator[None]:
    """A block in which those passes are left out. LLVM's options are the process's, in which others may
    compile too.
    """
    with _options:
        for option in UNUSED:
            llvm.set_option("", f"{option}=1")
        try:
            yield
        finally:
            for option in UNUSED:
                llvm.set_option("", f"{option}=0")


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
    return target.create_target_machine(features=features, opt=LEVEL, reloc="pic", codemodel="small")


def _parsed(text: str, machine: llvm.TargetMachine, triple: str) -> llvm.ModuleRef:
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module


# -- the protocol


def request(stream: IO[bytes], text: str, features: str, triple: str) -> None:
    """Ask a server for object code."""
    parts = [part.encode() for part in (features, triple, text)]
    stream.write(REQUEST.pack(*map(len, parts)) + b"".join(parts))
    stream.flush()


def reply(stream: IO[bytes]) -> bytes | None:
    """What the server answers; None if it cannot compile this, or is gone."""
    head = stream.read(REPLY.size)
    if len(head) < REPLY.size:
        return None
    worked, length = REPLY.unpack(head)
    payload = stream.read(length)
    return payload if worked and len(payload) == length else None


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until there are no more. They are read all the time, so that whoever asks for much
    before it takes an answer does not wait for ever.
    """
    waiting: queue.SimpleQueue[tuple[str, ...] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    while (asked := waiting.get()) is not None:
        features, triple, text = asked
        try:
            payload, worked = object_code(text, features, triple), True
        except Exception as error:
            payload, worked = str(error).encode(), False
        replies.write(REPLY.pack(worked, len(payload)) + payload)
        replies.flush()


def _read(requests: IO[bytes], waiting: queue.SimpleQueue[tuple[str, ...] | None]) -> None:
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        waiting.put(tuple([requests.read(length).decode() for length in REQUEST.unpack(head)]))
    waiting.put(None)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
