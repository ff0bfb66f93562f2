"""Caches that other machines have filled, and disks that take nothing: programs are made anew, and foreign
code is not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from treadle.devices.cpu import disk, jit, objects
from treadle.devices.cpu.disk import DiskCache
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import ISAS, host_isas

STEP = """
    import hashlib, sys
    import numpy as np
    import treadle as td
    from treadle.devices.cpu import disk, target

    narrow = set(sys.argv[1:])
    flags = target.linux_features() or target.llvm_features()
    target.linux_features = lambda: {flag for flag in flags if not any(flag.startswith(n) for n in narrow)}
    found, put = [], []
    get, keep = disk.DiskCache.get, disk.DiskCache.put

    def counted(self, name):
        code = get(self, name)
        if code is not None:
            found.append(name)
        return code

    def noted(self, name, code):
        put.append(keep(self, name, code))
        return put[-1]

    disk.DiskCache.get, disk.DiskCache.put = counted, noted
    w = td.Variable(np.ones((70, 70), np.float32))
    step = td.compile(lambda x: (td.tanh(x @ w) @ w).sum())
    value = step(np.ones((70, 70), np.float32)).item()
    print(target.host_isas()[0].name, len(found), sum(put), len(put), round(value, 2))
"""


def run(*narrow: str, folder, before: str = "") -> list[str]:
    """What a process on a machine without some instructions finds, keeps, and computes."""
    environment = {**os.environ, "TREADLE_CACHE_DIR": str(folder), "TREADLE_ISA": "", "TREADLE_CHECK": ""}
    program = before + textwrap.dedent(STEP)
    done = subprocess.run(
        [sys.executable, "-c", program, *narrow], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(len(host_isas()) < 2, reason="this machine has but one instruction set")
def test_another_machines_cache_is_another_cache(tmp_path):
    widest, narrower = host_isas()[:2]
    name, found, kept, tried, value = run(folder=tmp_path)
    assert (name, found) == (widest.name, "0") and kept == tried != "0"
    # One that lacks the widest instructions takes nothing from it, and leaves it what it needs.
    name, found, kept, tried, other = run(widest.name, folder=tmp_path)
    assert (name, found) == (narrower.name, "0") and kept == tried != "0"
    name, found, kept, tried, again = run(folder=tmp_path)
    assert found != "0" and tried == "0" and again == value
    assert float(other) == pytest.approx(float(value), rel=1e-4)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_keeps_nothing_and_loses_nothing(tmp_path):
    full = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
"""
    _, found, kept, tried, value = run(folder=tmp_path, before=full)
    assert (found, kept) == ("0", "0") and tried != "0"
    assert os.listdir(tmp_path / "kernels") == []
    assert run(folder=tmp_path)[4] == value


def test_a_file_under_anothers_name_is_not_here(tmp_path):
    cache = DiskCache(tmp_path)
    cache.put("one", b"code")
    (tmp_path / "one").rename(tmp_path / "other")
    assert cache.get("other") is None
    assert not (tmp_path / "other").exists()


def test_code_of_another_architecture_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    text = "define void @kernel(ptr %a, i64 %b, i64 %c, ptr %d) {\n  ret void\n}\n; foreign\n"
    triple = "aarch64-unknown-linux-gnu" if host_isas()[0].name != "neon" else "x86_64-unknown-linux-gnu"
    isa = ISAS["neon" if triple.startswith("aarch64") else "sse"]
    kept = disk.from_environment()
    assert kept is not None
    assert kept.put(jit.file_name(text, host_isas()[0]), jit.object_code(text, isa, triple))
    objects._libraries.clear()
    assert jit.load(NativeKernel(text, "foreign", 1)).address
    code = kept.get(jit.file_name(text, host_isas()[0]))
    assert code == jit.object_code(text)
