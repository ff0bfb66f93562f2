"""What is asked of cuDNN: layouts, geometry, epilogues, gradients, against a fake that computes by the
references; and, where cuDNN is installed, that it takes the graphs.
"""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.devices import registry
from treadle.devices.cuda import blas, dnn
from treadle.errors import DeviceError

pytest.importorskip("pyopencl")
from treadle.devices.opencl import device as opencl

if not opencl.found():
    pytest.skip("no OpenCL driver is installed, which the fake runs kernels by", allow_module_level=True)

from fake_blas import NUMBERS, FakeBlas
from fake_cuda import FakeDriver, keep_source
from fake_dnn import FakeDnn

from treadle.devices.cuda.device import CudaDevice
from treadle.program_cache import programs

GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": ((0, 1), (2, 1)), "dilation": 2},
    {"groups": 2, "padding": "same"},
]


@pytest.fixture
def fake(monkeypatch):
    """The cuDNN behind "cuda"."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    monkeypatch.setattr(blas.Blas, "number", lambda self, name: NUMBERS.get(name, 9))
    driver = FakeDriver()
    cudnn = FakeDnn(driver)
    place = CudaDevice("cuda", 0, driver, keep_source, FakeBlas(driver), cudnn)
    monkeypatch.setitem(registry._made, "cuda", place)
    before = dict(programs.programs)
    programs.programs.clear()
    yield cudnn
    programs.programs.clear()
    programs.programs.update(before)


def operands(groups=1, spatial=(7, 6), kernel=(3, 2)):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 4, *spatial)).astype(np.float32)
    return x, draw.normal(size=(6, 4 // groups, *kernel)).astype(np.float32)


def test_convolutions_and_their_gradients(fake):
    found, expected = [], []
    cases = [(operands(g.get("groups", 1)), g) for g in GEOMETRIES]
    cases.append((operands(spatial=(9,), kernel=(3,)), {"stride": 2}))
    cases.append((operands(spatial=(4, 5, 6), kernel=(2, 2, 3)), {"padding": 1}))
    for (x, w), geometry in cases:
        for where, results in (("cpu", expected), ("cuda", found)):
            a, b = td.asarray(x).to(where), td.asarray(w).to(where)
            a.requires_grad = b.requires_grad = True
            y = td.conv(a, b, **geometry)
            results += [y, *td.gradients(td.sum(y * y), [a, b])]
    with td.precision("exact"):
        td.evaluate(*expected)
        td.evaluate(*found)
    for value, wanted in zip(found, expected, strict=True):
        assert value.device == "cuda"
        np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)
    assert sum(graph.runs for graph in fake.graphs) == len(found)
    note = fake.numerical_note
    assert fake.graphs[0].notes == [note.NONDETERMINISTIC, note.TENSOR_CORE, note.WINOGRAD]


def test_a_convolution_net_has_its_channels_last_inside(fake):
    x, w = operands(kernel=(3, 3))
    bias = np.linspace(-1, 1, 6).astype(np.float32)
    results = {}
    for where in ("cpu", "cuda"):
        a, b, c = (td.asarray(v).to(where) for v in (x, w, bias))
        y = td.relu(td.conv(a, b, padding=1) + td.reshape(c, (6, 1, 1)))
        z = td.tanh(td.conv(y, td.reshape(b[:, :1], (1, 6, 3, 3))) * 0.5)
        results[where] = z
        if where == "cuda":
            text = td.explain(z)
            assert "cuDNN: conv [[2, 4, 7, 6], [6, 4, 3, 3]] -> [2, 6, 7, 6], float32, RELU_BIAS" in text, (
                text
            )
            assert "float32, DEFAULT" in text and "after conv" in text
    np.testing.assert_allclose(results["cuda"].numpy(), results["cpu"].numpy(), rtol=1e-5, atol=1e-5)
    assert all(graph.output.stride[1] == 1 for graph in fake.graphs if graph.runs)  # channels last


def test_cudnn_takes_the_graphs():
    cudnn = pytest.importorskip("cudnn")
    try:
        cudnn.backend_version()
        cudnn.pygraph()
    except Exception:
        pytest.skip("without nvidia-cudnn-cu13")
    from treadle.devices.accelerator.build import Build
    from treadle.devices.csource.kernel import Facts
    from treadle.devices.cuda.library import VendorGenerator

    for dtype in (td.float32, td.bfloat16, td.float16):
        for geometry in GEOMETRIES:
            x, w = operands(geometry.get("groups", 1))
            a, b = td.asarray(x).astype(dtype), td.asarray(w).astype(dtype)
            a.requires_grad = b.requires_grad = True
            y = td.relu(td.conv(a, b, **geometry) + td.ones((6, 1, 1), dtype=dtype))
            outputs = [v.node for v in (y, *td.gradients(td.sum(y), [a, b]))]
            from treadle.evaluate import detached, structure_of

            structure = structure_of(outputs, lambda n: n.buffer is not None, lambda n: n.buffer is not None)
            build = Build(detached(structure, outputs), [None] * 3, VendorGenerator(Facts(True)))
            kernels = [k for k in build.kernels if isinstance(k, dnn.Convolution)]
            assert len(kernels) == 3
            for kernel in kernels:
                dnn.graph(cudnn, kernel)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(DeviceError, match=r"nvidia-cudnn-frontend and nvidia-cudnn-cu13: type `pip install"):
        dnn.library()
