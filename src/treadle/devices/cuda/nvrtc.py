"""CUDA C++ to machine code by NVRTC, which needs neither a GPU nor a driver."""

from __future__ import annotations

from typing import Any

from treadle.devices.cuda.driver import INSTALL
from treadle.errors import DeviceError

OPTIONS = ("--std=c++17", "-default-device", "--disable-warnings", "--fmad=true")


class CompileError(Exception):
    """The compiler's words on a source."""


def library() -> Any:
    """The bindings of NVRTC.

    Raises:
        DeviceError: they or the library itself are not installed.
    """
    try:
        from cuda.bindings import nvrtc  # pyright: ignore
    except ImportError:
        raise DeviceError(f"the device 'cuda' needs cuda-bindings: type `{INSTALL}`") from None
    try:
        nvrtc.nvrtcVersion()
    except Exception:
        raise DeviceError(f"the device 'cuda' needs nvidia-cuda-nvrtc: type `{INSTALL}`") from None
    return nvrtc


def version() -> tuple[int, int]:
    """The version of the compiler."""
    _, major, minor = library().nvrtcVersion()
    return major, minor


def cubin(text: str, capability: tuple[int, int], label: str = "kernel") -> bytes:
    """Machine code of a source for a compute capability, such as (9, 0).

    Raises:
        CompileError: it does not compile.
    """
    nvrtc = library()
    _, program = nvrtc.nvrtcCreateProgram(text.encode(), f"{label}.cu".encode(), 0, [], [])
    try:
        options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *OPTIONS]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if int(status):
            _, nbytes = nvrtc.nvrtcGetProgramLogSize(program)
            words = b" " * nbytes
            nvrtc.nvrtcGetProgramLog(program, words)
            raise CompileError(words.decode(errors="replace").strip("\0 \n"))
        _, nbytes = nvrtc.nvrtcGetCUBINSize(program)
        code = b" " * nbytes
        nvrtc.nvrtcGetCUBIN(program, code)
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)
