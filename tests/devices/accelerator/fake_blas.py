"""cuBLASLt without a GPU: the functions of its bindings that are called, on the memory of a fake driver.

Matrices have columns first. What cuBLASLt would refuse, or read beyond an allocation, is an `AssertionError`.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pyopencl as cl
from fake_cuda import FakeDriver

DTYPES = {0: np.float32, 1: np.float64, 2: np.float16}
NUMBERS = {"CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16F": 2}


class FakeBlas:
    """See the module's docstring."""

    Epilogue = enum.IntEnum("Epilogue", {"DEFAULT": 1, "RELU": 2, "BIAS": 4, "RELU_BIAS": 6})
    MatmulDescAttribute = enum.IntEnum(
        "MatmulDescAttribute", {"TRANSA": 3, "TRANSB": 4, "EPILOGUE": 7, "BIAS_POINTER": 8}
    )
    MatmulPreferenceAttribute = enum.IntEnum("MatmulPreferenceAttribute", {"MAX_WORKSPACE_BYTES": 1})
    MatrixLayoutAttribute = enum.IntEnum(
        "MatrixLayoutAttribute", {"BATCH_COUNT": 5, "STRIDED_BATCH_OFFSET": 6}
    )
    matmul_algo_dtype = np.dtype([("data_", "<u8", (8,))])
    matmul_heuristic_result_dtype = np.dtype([("algo", matmul_algo_dtype), ("workspace_size", "<u8")])

    def __init__(self, driver: FakeDriver):
        self.driver = driver
        self.things: dict[int, dict[Any, int]] = {}
        self.products = 0

    def _new(self, **values: int) -> int:
        number = len(self.things) + 1
        self.things[number] = dict(values)
        return number

    def get_version(self) -> int:
        return 130000

    def create(self) -> int:
        return 77

    def matmul_desc_create(self, compute: int, scale: int) -> int:
        return self._new(compute=compute, scale=scale)

    def matrix_layout_create(self, type: int, rows: int, columns: int, leading: int) -> int:
        assert rows > 0 and columns > 0 and leading >= rows, (rows, columns, leading)
        return self._new(type=type, rows=rows, columns=columns, leading=leading)

    def get_matmul_desc_attribute_dtype(self, what: int) -> Any:
        return np.uint64 if what == self.MatmulDescAttribute.BIAS_POINTER else np.int32

    def get_matrix_layout_attribute_dtype(self, what: int) -> Any:
        return np.int64 if what == self.MatrixLayoutAttribute.STRIDED_BATCH_OFFSET else np.int32

    def get_matmul_preference_attribute_dtype(self, what: int) -> Any:
        return np.uint64

    def _set(self, number: int, what: int, address: int, nbytes: int) -> None:
        import ctypes

        held = (ctypes.c_char * nbytes).from_address(address)
        self.things[number][int(what)] = int.from_bytes(bytes(held), "little", signed=nbytes < 8)

    matmul_desc_set_attribute = matrix_layout_set_attribute = matmul_preference_set_attribute = _set

    def matmul_preference_create(self) -> int:
        return self._new()

    def _destroy(self, number: int) -> None:
        del self.things[number]
        self.things[-number] = {}

    matmul_preference_destroy = matrix_layout_destroy = matmul_desc_destroy = _destroy

    def matmul_algo_get_heuristic(self, handle, description, a, b, c, d, preference, most, found, count):
        import ctypes

        assert {description, a, b, c, d, preference} <= set(self.things)
        ctypes.c_int32.from_address(count).value = 3
        results = (ctypes.c_char * (most * self.matmul_heuristic_result_dtype.itemsize)).from_address(found)
        held = np.frombuffer(results, self.matmul_heuristic_result_dtype)
        held["algo"]["data_"][:3, 0] = [11, 12, 13]

    def _matrices(self, layout: int, address: int, batch: int) -> list[np.ndarray]:
        """Copies of a batch's matrices."""
        of = self.things[layout]
        dtype = np.dtype(DTYPES[of["type"]])
        attribute = self.MatrixLayoutAttribute
        assert of.get(attribute.BATCH_COUNT, 1) == batch
        stride = of.get(attribute.STRIDED_BATCH_OFFSET, 0)
        last = stride * (batch - 1) + of["leading"] * (of["columns"] - 1) + of["rows"]
        buffer, start = self.driver.at(address, last * dtype.itemsize)
        raw = np.empty(last, dtype)
        cl.enqueue_copy(self.driver.queue, raw, buffer, src_offset=start)
        item = dtype.itemsize
        return [
            np.ndarray(
                (of["rows"], of["columns"]), dtype, raw, stride * i * item, (item, of["leading"] * item)
            ).copy()
            for i in range(batch)
        ]

    def matmul(
        self, handle, description, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm,
        workspace, workspace_nbytes, stream,
    ):  # fmt: skip
        import ctypes

        of = dict(self.things[description])
        self.algorithm = ctypes.c_uint64.from_address(algorithm).value
        self.driver.at(workspace, workspace_nbytes)
        self.driver._now(lambda: self._multiply(of, a, a_layout, b, b_layout, d, d_layout))

    def _multiply(self, of, a, a_layout, b, b_layout, d, d_layout):
        self.products += 1
        attribute = self.MatmulDescAttribute
        layout = self.things[d_layout]
        batch = layout.get(self.MatrixLayoutAttribute.BATCH_COUNT, 1)
        firsts, seconds = self._matrices(a_layout, a, batch), self._matrices(b_layout, b, batch)
        dtype = np.dtype(DTYPES[layout["type"]])
        for i, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
            first = first.T if of[attribute.TRANSA] else first
            second = second.T if of[attribute.TRANSB] else second
            made = first.astype(np.float64) @ second.astype(np.float64)
            assert made.shape == (layout["rows"], layout["columns"])
            epilogue = of[attribute.EPILOGUE]
            if epilogue & 4:
                buffer, start = self.driver.at(of[attribute.BIAS_POINTER], len(made) * dtype.itemsize)
                bias = np.empty(len(made), dtype)
                cl.enqueue_copy(self.driver.queue, bias, buffer, src_offset=start)
                made = made + bias[:, None]
            made = np.maximum(made, 0) if epilogue & 2 else made
            stride = layout.get(self.MatrixLayoutAttribute.STRIDED_BATCH_OFFSET, 0)
            for column in range(made.shape[1]):
                place = d + (stride * i + layout["leading"] * column) * dtype.itemsize
                buffer, start = self.driver.at(place, len(made) * dtype.itemsize)
                cl.enqueue_copy(self.driver.queue, buffer, made[:, column].astype(dtype), dst_offset=start)
