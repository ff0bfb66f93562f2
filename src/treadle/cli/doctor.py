"""`treadle doctor`: versions, devices and caches as they are, a small check, and what is not there yet."""

from __future__ import annotations

import os
import platform
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

REQUIRED = ("numpy", "llvmlite", "ml_dtypes", "safetensors", "rich")
EXTRAS = {
    "data": ("input pipelines and images", ("grain", "simplejpeg", "opencv-python-headless")),
    "train": ("curves as PNG", ("matplotlib",)),
    "opencl": ("OpenCL devices", ("pyopencl",)),
    "cuda": (
        "NVIDIA GPUs",
        (
            *("cuda-bindings", "nvidia-cuda-nvrtc", "nvmath-python", "nvidia-cublas"),
            *("nvidia-cudnn-frontend", "nvidia-cudnn-cu13"),
        ),
    ),
}
"""What `pip install 'treadle[EXTRA]'` brings: for what, and which packages."""
NOT_YET = ("models of other systems",)


def arguments(parser: ArgumentParser) -> None:
    """The command has no options."""


def run(options: Namespace) -> int:
    """Print what is found; 1 if something that must work does not."""
    import treadle as td

    rows = [
        ("Treadle", td.__version__),
        ("Python", f"{platform.python_version()}, {sys.platform}, {platform.machine()}"),
        *_versions(),
        *_extras(),
        ("instruction sets", _isas()),
        ("threads", f"{td.num_threads()} of {os.cpu_count()} cores"),
        ("kernel cache", _cache()),
        ("devices", ", ".join(td.devices())),
        *_accelerators(),
        ("settings", _settings()),
    ]
    problem = _check()
    rows.append(("check", problem or "a compiled program gives what NumPy gives"))
    rows.append(("not there yet", ", ".join(NOT_YET)))
    for name, text in rows:
        print(f"{name:<18}{text}")
    return 1 if problem else 0


def _versions() -> Iterator[tuple[str, str]]:
    for package in REQUIRED:
        yield package, _version(package) or f"not installed: type `pip install {package}`"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extras() -> Iterator[tuple[str, str]]:
    for extra, (what_for, packages) in EXTRAS.items():
        found = {package: _version(package) for package in packages}
        if all(found.values()):
            text = ", ".join(f"{package} {number}" for package, number in found.items())
        else:
            missing = ", ".join(package for package, number in found.items() if number is None)
            text = f"without {missing}: type `pip install 'treadle[{extra}]'` for {what_for}"
        yield f"extra {extra!r}", text


def _isas() -> str:
    """The instruction sets that code is generated for here, the one in use first."""
    from treadle.devices.cpu.device import chosen_isa
    from treadle.devices.cpu.target import host_isas

    chosen = chosen_isa().name
    others = [isa.name for isa in host_isas() if isa.name != chosen]
    return f"{chosen}" + (f" (also here: {', '.join(others)})" if others else "")


def _accelerators() -> Iterator[tuple[str, str]]:
    """Of each kind of device besides the host's what there is, and whether it computes; or why none is."""
    from treadle.devices import registry
    from treadle.errors import TreadleError

    there = set(registry.names())
    for family in registry.FAMILIES:
        try:
            found = registry.find(family)
        except TreadleError as error:
            yield family, error.message
            continue
        wrong = _check(found.name)
        free = found.memory()[0] / 2**30
        yield family, f"{found.describes}, {free:.1f} GiB free; {wrong or 'it computes what NumPy does'}"
        for name in sorted(there):
            if name.startswith(f"{family}:"):
                yield name, registry.find(name).describes


def _cache() -> str:
    from treadle.devices.cpu import disk

    cache = disk.from_environment()
    if cache is None:
        return "off: every process compiles its kernels anew"
    files = list(os.scandir(cache.directory)) if cache.directory.is_dir() else []
    nbytes = sum(entry.stat().st_size for entry in files)
    above = next(path for path in (cache.directory, *cache.directory.parents) if path.exists())
    state = "" if os.access(above, os.W_OK) else ", READ-ONLY: new kernels are not kept"
    held = f"{len(files)} kernels, {nbytes / 1e6:.1f} of at most {cache.limit_nbytes / 1e6:.0f} MB"
    return f"{cache.directory}: {held}{state}"


def _settings() -> str:
    """The environment variables that change how Treadle runs."""
    found = {name: value for name, value in sorted(os.environ.items()) if name.startswith("TREADLE_")}
    return (
        ", ".join(f"{name}={value}" for name, value in found.items())
        or "none (no TREADLE_... variable is set)"
    )


def _check(device: str = "cpu") -> str | None:
    """Compile a product with an epilogue and a sum, and compare with NumPy; what is wrong, if anything is."""
    import numpy as np

    import treadle as td

    numbers = np.random.RandomState(0)
    x, w = (numbers.normal(size=(65, 65)).astype(np.float32) for _ in range(2))
    wanted = np.maximum(x @ w, 0).sum()
    try:
        with td.device(device):
            found = float(td.sum(td.relu(td.asarray(x) @ td.asarray(w))))
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {error}"
    if not np.isclose(found, wanted, rtol=1e-4):
        return f"FAILED: a compiled program gives {found}, NumPy {wanted}"
    return None
