"""Every kernel that a test here gives a device is compiled for GPUs as well."""

from __future__ import annotations

import nvrtc_check
import pytest

from treadle.devices.cuda.device import CudaDevice
from treadle.devices.opencl.device import OpenClDevice


@pytest.fixture(scope="session", autouse=True)
def compiled_for_gpus():
    """At the end, all at once."""
    if not nvrtc_check.available():
        yield
        return
    seen = {}
    patch = pytest.MonkeyPatch()
    for device in (OpenClDevice, CudaDevice):
        patch.setattr(device, "compile", _noting(device.compile, seen))
    yield
    patch.undo()
    nvrtc_check.check(seen)


def _noting(compile, seen):
    def noted(self, kernels):
        seen.update(dict.fromkeys(kernels))
        return compile(self, kernels)

    return noted
