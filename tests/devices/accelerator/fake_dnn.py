"""cuDNN without a GPU: what is called of its frontend, computed by the references on the memory of a fake
driver.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyopencl as cl
from fake_cuda import FakeDriver

from treadle.ops import window

DTYPES = {"FLOAT": np.float32, "DOUBLE": np.float64, "HALF": np.float16}


class FakeDnn:
    """See the module's docstring. `graphs` are those that were made."""

    data_type = enum.Enum("data_type", ["FLOAT", "DOUBLE", "HALF", "BFLOAT16"])
    heur_mode = enum.Enum("heur_mode", ["A", "FALLBACK"])
    numerical_note = enum.Enum("numerical_note", ["NONDETERMINISTIC", "TENSOR_CORE", "WINOGRAD"])

    def __init__(self, driver: FakeDriver):
        self.driver = driver
        self.graphs: list[FakeGraph] = []

    def create_handle(self) -> str:
        return "handle"

    def set_stream(self, handle: str, stream: int) -> None:
        assert (handle, stream) == ("handle", 5)

    def pygraph(self, **options: Any) -> FakeGraph:
        self.graphs.append(FakeGraph(self))
        return self.graphs[-1]


class FakeTensor(SimpleNamespace):
    """A tensor; what is set of it can be set in a row."""

    __hash__ = object.__hash__

    def set_dim(self, dim: list[int]) -> FakeTensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> FakeTensor:
        self.stride = stride
        return self

    def set_output(self, yes: bool) -> FakeTensor:
        self.output = yes
        return self

    def set_data_type(self, type: Any) -> FakeTensor:
        self.data_type = type
        return self


class FakeGraph:
    """A graph, and the NumPy function that it stands for."""

    def __init__(self, dnn: FakeDnn):
        self.dnn = dnn
        self.runs = 0
        self.notes: list[Any] = []

    def tensor(self, name: str, dim: list[int], stride: list[int], data_type: Any) -> FakeTensor:
        assert len(dim) == len(stride) >= 4 and min(stride) > 0, (dim, stride)
        return FakeTensor(of=(), dim=dim, stride=stride, data_type=data_type)

    def _conv(
        self, reference: Any, first: FakeTensor, second: FakeTensor, groups: Any, geometry: Any
    ) -> FakeTensor:
        padding = tuple(zip(geometry["pre_padding"], geometry["post_padding"], strict=True))
        shared = {
            "stride": tuple(geometry["stride"]), "padding": padding, "dilation": tuple(geometry["dilation"]),
        }  # fmt: skip

        def work(result: FakeTensor, a: Any, b: Any) -> Any:
            size = {} if reference is window._conv_reference else {"size": tuple(result.dim[2:])}
            return reference(a, b, **size, **shared, groups=groups(result))

        made = FakeTensor(of=(first, second), dim=None, stride=None)
        made.work = lambda a, b: work(made, a, b)
        return made

    def conv_fprop(self, image: FakeTensor, weight: FakeTensor, **geometry: Any) -> FakeTensor:
        groups = image.dim[1] // weight.dim[1]
        return self._conv(window._conv_reference, image, weight, lambda r: groups, geometry)

    def conv_dgrad(self, loss: FakeTensor, filter: FakeTensor, **geometry: Any) -> FakeTensor:
        return self._conv(
            window._input_gradient_reference, loss, filter, lambda r: r.dim[1] // filter.dim[1], geometry
        )

    def conv_wgrad(self, image: FakeTensor, loss: FakeTensor, **geometry: Any) -> FakeTensor:
        return self._conv(
            window._weight_gradient_reference, image, loss, lambda r: image.dim[1] // r.dim[1], geometry
        )

    def bias(self, name: str, input: FakeTensor, bias: FakeTensor) -> FakeTensor:
        return FakeTensor(of=(input, bias), work=lambda x, b: x + b, dim=None, stride=None)

    def relu(self, name: str, input: FakeTensor) -> FakeTensor:
        return FakeTensor(of=(input,), work=lambda x: np.maximum(x, 0), dim=None, stride=None)

    def validate(self) -> None:
        pass

    build_operation_graph = check_support = build_plans = validate

    def create_execution_plans(self, modes: list[Any]) -> None:
        assert modes

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self.notes = notes

    def get_workspace_size(self) -> int:
        return 1024

    def execute(self, places: dict[FakeTensor, int], workspace: int, handle: str) -> None:
        driver = self.dnn.driver
        driver.at(workspace, 1024)
        driver._now(lambda: self._run(places))

    def _run(self, places: dict[FakeTensor, int]) -> None:
        self.runs += 1
        (output,) = [tensor for tensor in places if tensor.of]
        self.output = output
        value = self._value(output, places)
        driver, dtype = self.dnn.driver, np.dtype(DTYPES[output.data_type.name])
        memory, view = self._memory(output, places[output])
        assert list(value.shape) == output.dim, (value.shape, output.dim)
        view[...] = value.astype(dtype)
        buffer, start = driver.at(places[output], memory.nbytes)
        cl.enqueue_copy(driver.queue, buffer, memory, dst_offset=start)

    def _memory(self, tensor: FakeTensor, address: int) -> tuple[np.ndarray, np.ndarray]:
        dtype = np.dtype(DTYPES[tensor.data_type.name])
        last = sum(s * (n - 1) for n, s in zip(tensor.dim, tensor.stride, strict=True)) + 1
        buffer, start = self.dnn.driver.at(address, last * dtype.itemsize)
        raw = np.empty(last, dtype)
        cl.enqueue_copy(self.dnn.driver.queue, raw, buffer, src_offset=start)
        return raw, np.ndarray(tensor.dim, dtype, raw, 0, [s * dtype.itemsize for s in tensor.stride])

    def _value(self, tensor: FakeTensor, places: dict[FakeTensor, int]) -> np.ndarray:
        if tensor.of:
            return tensor.work(*[self._value(child, places) for child in tensor.of])
        return self._memory(tensor, places[tensor])[1].copy()
