"""Products of matrices by cuBLASLt, with a bias and a ReLU as its epilogues; any other epilogue is a kernel
after it.

cuBLASLt counts columns first: a row-major matrix is its transpose. So the product d = a b is made as dᵀ = bᵀ
aᵀ, whose three matrices lie as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import config
from treadle.compiler.indexmap import row_major
from treadle.compiler.program import LibraryCall, View
from treadle.devices.cpu import disk
from treadle.devices.csource.kernel import Facts, Kernel, Launch, Lowered, Place, Unsupported, product
from treadle.devices.csource.types import ITEMSIZE
from treadle.devices.cuda.driver import INSTALL
from treadle.devices.cuda.epilogue import alone
from treadle.devices.tuned import Tuned
from treadle.errors import DeviceError

if TYPE_CHECKING:
    from treadle.devices.cuda.device import CudaDevice

WORKSPACE_NBYTES = 32 << 20
"""What cuBLASLt may use besides, on GPUs since Hopper; one for a device, since its work is done in order."""
TYPES = {"float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF", "float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}
CANDIDATES = 8
ROUNDS = 10
"""How often each of them is run to be measured."""


@dataclass(frozen=True)
class Matrix:
    """How one of the matrices lies, as cuBLASLt sees it: columns first, `leading` elements from one to the
    next.
    """

    rows: int
    columns: int
    leading: int
    transposed: bool
    stride: int
    """Elements from one matrix of a batch to the next."""
    offset: int = 0


@dataclass(frozen=True)
class Product(Kernel):
    """A batch of products. Operands: b, a, the bias where there is one, the result."""

    batch: int
    first: Matrix
    second: Matrix
    result: Matrix
    dtype: str
    compute: str
    epilogue: str


def lower(call: LibraryCall, facts: Facts) -> Lowered:
    """A matmul call as a product, and a kernel for what follows it.

    Raises:
        Unsupported: the dtype or the strides are not cuBLASLt's.
    """
    node = call.node
    dtype = node.inputs[0].dtype.name
    shape: tuple[int, ...] = node.shape  # type: ignore[assignment]
    if dtype not in TYPES or node.dtype.name != dtype or 0 in shape or not call.inputs[0].shape[-1]:
        raise Unsupported(f"a product of {dtype} to {node.dtype.name}")
    batch, (m, n), k = shape[:-2], shape[-2:], int(call.inputs[0].shape[-1])
    a, b = call.inputs
    made = call.strides or tuple(row_major(shape))
    first = _matrix(n, k, b.strides[-1], b.strides[-2], _collapsed(batch, b.strides[:-2]), b)
    second = _matrix(k, m, a.strides[-1], a.strides[-2], _collapsed(batch, a.strides[:-2]), a)
    result = _matrix(n, m, made[-1], made[-2], _collapsed(batch, made[:-2]), None)
    if result.transposed:
        raise Unsupported("a transposed result")
    epilogue, bias = bias_and_relu(call, len(shape) - 1)
    operands: list[Place] = [("in", 1), ("in", 0)]
    if bias is not None:
        operands.append(("extra", bias))
    flops, item = 2 * product(shape) * k, ITEMSIZE[dtype]
    kernel = Product(
        text=f"cuBLASLt: {product(batch)} products of {m} x {k} by {k} x {n}, {dtype}, {epilogue}",
        label=f"matmul {list(shape)} by {k} {epilogue.lower()}".removesuffix(" default"),
        operands=(dtype,) * (len(operands) + 1),
        flops=flops,
        nbytes=item * product(batch) * (m * k + k * n + m * n),
        batch=product(batch),
        first=first,
        second=second,
        result=result,
        dtype=dtype,
        compute=_compute(dtype),
        epilogue=epilogue,
    )
    if not call.epilogue or epilogue != "DEFAULT":
        return Lowered((Launch(kernel, (*operands, ("out", 0))),))
    rest = alone(call, dtype, ("temp", 0), facts)
    return Lowered((Launch(kernel, (*operands, ("temp", 0))), *rest), (item * product(shape),))


def _compute(dtype: str) -> str:
    """How sums are made: those of float32 in TF32, unless exactly what is written is asked for."""
    if dtype == "float64":
        return "COMPUTE_64F"
    if dtype == "float32" and config.options.precision != "exact":
        return "COMPUTE_32F_FAST_TF32"
    return "COMPUTE_32F"


def _matrix(rows: int, columns: int, along: int, across: int, stride: int, view: View | None) -> Matrix:
    """A matrix whose elements are `along` apart down a column, and `across` along a row."""
    offset = 0 if view is None else view.offset
    if along == 1 or rows == 1:
        if columns > 1 and across < rows:
            raise Unsupported("columns that overlap")
        return Matrix(rows, columns, max(across, rows) if columns > 1 else rows, False, stride, offset)
    if across == 1 or columns == 1:
        if along < columns:
            raise Unsupported("rows that overlap")
        return Matrix(columns, rows, max(along, columns), True, stride, offset)
    raise Unsupported("a matrix without neighbours")


def _collapsed(batch: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """The one stride of a batch of several dimensions."""
    kept = [(size, stride) for size, stride in zip(batch, strides, strict=True) if size != 1]
    if not kept:
        return 0
    for (_, outer), (size, inner) in pairwise(kept):
        if outer != size * inner:
            raise Unsupported("a batch without one stride")
    return kept[-1][1]


def bias_and_relu(call: LibraryCall, channel: int) -> tuple[str, int | None]:
    """The epilogue, by cuBLASLt's names, that a body is, and which extra operand is its bias: one value for
    each place of dimension `channel`. DEFAULT: it is none of them.
    """
    body = list(call.epilogue)
    if len(call.stores) != 1 or not body or call.stores[0] != len(body) - 1:
        return "DEFAULT", None
    values: list[str] = []
    bias = None
    for instruction in body:
        given = [values[a] for a in instruction.arguments]
        found = None
        if instruction.op == "accumulator":
            found = "sum"
        elif instruction.op == "load" and bias is None and _is_row(call, instruction.attribute, channel):
            bias, found = instruction.attribute.operand, "bias"
        elif instruction.op == "constant" and instruction.attribute == 0:
            found = "zero"
        elif instruction.op == "add" and sorted(given) == ["bias", "sum"]:
            found = "biased"
        elif instruction.op == "maximum" and given[1:] == ["zero"] and given[0] in ("sum", "biased"):
            found = "relu of " + given[0]
        if found is None or instruction.dtype != call.node.dtype.name:
            return "DEFAULT", None
        values.append(found)
    names = {"biased": "BIAS", "relu of sum": "RELU", "relu of biased": "RELU_BIAS"}
    name = names.get(values[-1], "DEFAULT")
    return name, bias if name.endswith("BIAS") else None


def _is_row(call: LibraryCall, access: Any, channel: int) -> bool:
    """Whether a load reads one value for each channel, contiguous, of the result's dtype."""
    strides, channels = access.index.strides, call.node.shape[channel]
    return (
        not access.guards
        and not any(strides[:channel] + strides[channel + 1 :])
        and (strides[channel] == 1 or channels == 1)
        and access.index.offset == 0
        and call.extra[access.operand].dtype == call.node.dtype.name
    )


# -- running


def library() -> Any:
    """The bindings of cuBLASLt.

    Raises:
        DeviceError: they are not installed.
    """
    try:
        from nvmath.bindings import cublasLt  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DeviceError(
            f"products on a GPU need nvmath-python: type `{INSTALL}`, or do without by "
            f'td.device("cuda", kernels="generated")'
        ) from None
    return cublasLt


class Blas:
    """cuBLASLt on a device. `lt` has the functions of its bindings, `types` the numbers of dtypes and
    computations.
    """

    def __init__(self, device: CudaDevice, lt: Any = None):
        self.lt = library() if lt is None else lt
        self.device = device
        self.handle = self.lt.create()
        self.workspace = device.reserve(WORKSPACE_NBYTES)

    def number(self, name: str) -> int:
        """The number of a dtype or of a way to compute."""
        import nvmath  # pyright: ignore[reportMissingImports]
        from nvmath.bindings import cublas  # pyright: ignore[reportMissingImports]

        return int(nvmath.CudaDataType[name] if name.startswith("CUDA") else cublas.ComputeType[name])

    def prepared(self, kernel: Product) -> Prepared:
        """A product that can be launched: its descriptors, and the algorithm that heuristics put first."""
        return Prepared(self, kernel)


class Prepared:
    """A product's descriptors and algorithm."""

    def __init__(self, blas: Blas, kernel: Product):
        lt = self.lt = blas.lt
        self.blas, self.kernel = blas, kernel
        type = blas.number(TYPES[kernel.dtype])
        wide = "CUDA_R_64F" if kernel.dtype == "float64" else "CUDA_R_32F"
        self.description = lt.matmul_desc_create(blas.number(kernel.compute), blas.number(wide))
        attribute = lt.MatmulDescAttribute
        for what, matrix in ((attribute.TRANSA, kernel.first), (attribute.TRANSB, kernel.second)):
            self._set(what, int(matrix.transposed))
        self._set(attribute.EPILOGUE, int(lt.Epilogue[kernel.epilogue]))
        self.layouts = [self._layout(type, m) for m in (kernel.first, kernel.second, kernel.result)]
        scale = np.float64 if kernel.dtype == "float64" else np.float32
        self.one, self.zero = np.ones(1, scale), np.zeros(1, scale)
        found = self._kept()
        self.algorithm = self._candidates()[:1] if found is None else found

    def _set(self, what: Any, value: int) -> None:
        held = np.array([value], self.lt.get_matmul_desc_attribute_dtype(what))
        self.lt.matmul_desc_set_attribute(self.description, int(what), held.ctypes.data, held.nbytes)

    def _layout(self, type: int, matrix: Matrix) -> int:
        lt = self.lt
        layout = lt.matrix_layout_create(type, matrix.rows, matrix.columns, matrix.leading)
        if self.kernel.batch > 1:
            attribute = lt.MatrixLayoutAttribute
            for what, value in (
                (attribute.BATCH_COUNT, self.kernel.batch),
                (attribute.STRIDED_BATCH_OFFSET, matrix.stride),
            ):
                held = np.array([value], lt.get_matrix_layout_attribute_dtype(what))
                lt.matrix_layout_set_attribute(layout, int(what), held.ctypes.data, held.nbytes)
        return layout

    def _candidates(self) -> np.ndarray:
        """Algorithms, the one that heuristics put first before the others."""
        lt = self.lt
        preference = lt.matmul_preference_create()
        what = lt.MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES
        held = np.array([WORKSPACE_NBYTES], lt.get_matmul_preference_attribute_dtype(what))
        lt.matmul_preference_set_attribute(preference, int(what), held.ctypes.data, held.nbytes)
        found: Any = np.zeros(CANDIDATES, lt.matmul_heuristic_result_dtype)
        count = np.zeros(1, np.int32)
        a, b, d = self.layouts
        try:
            lt.matmul_algo_get_heuristic(
                self.blas.handle, self.description, a, b, d, d, preference, CANDIDATES,
                found.ctypes.data, count.ctypes.data,
            )  # fmt: skip
        finally:
            lt.matmul_preference_destroy(preference)
        if not count[0]:
            raise DeviceError(f'cuBLASLt has no algorithm for {self.kernel.label}; use kernels="generated"')
        return np.ascontiguousarray(found["algo"][: count[0]])

    def _name(self) -> str:
        """What a choice is kept under: it is good for this GPU and this cuBLASLt."""
        device = self.blas.device
        return disk.name("cublasLt", device.describes, repr(self.lt.get_version()), repr(self.kernel))

    def _kept(self) -> np.ndarray | None:
        """The algorithm that measurements chose, from the disk."""
        store = disk.from_environment()
        held = store.get(self._name()) if store is not None else None
        if held is None or len(held) != self.lt.matmul_algo_dtype.itemsize:
            return None
        return np.frombuffer(held, self.lt.matmul_algo_dtype)

    def tune(self, buffers: Any) -> Tuned:
        """Measure the algorithms on memory for the operands, use the quickest from now on, and keep it.
        Another one may give other bits.
        """
        device = self.blas.device
        driver, stream = device.driver, device.stream
        addresses = [device.address(buffer) for buffer in buffers]
        first, last = driver.event(), driver.event()
        algorithms, times = self._candidates(), []
        for i in range(len(algorithms)):
            self.algorithm = algorithms[i : i + 1]
            self.launch(device, addresses)
            driver.record(first, stream)
            for _ in range(ROUNDS):
                self.launch(device, addresses)
            driver.record(last, stream)
            times.append(driver.elapsed_ms(first, last) / ROUNDS)
        best = int(np.argmin(times))
        self.algorithm = algorithms[best : best + 1]
        store = disk.from_environment()
        if store is not None:
            store.put(self._name(), self.algorithm.tobytes())
        return Tuned(self.kernel.label, times[0], times[best], len(times))

    def launch(self, device: CudaDevice, addresses: Any) -> None:
        """Let it run on operands: b, a, the bias where there is one, the result."""
        lt, kernel, item = self.lt, self.kernel, ITEMSIZE[self.kernel.dtype]
        first, second, *bias, result = addresses
        if bias:
            self._set(lt.MatmulDescAttribute.BIAS_POINTER, bias[0])
        a, b, d = self.layouts
        lt.matmul(
            self.blas.handle, self.description, self.one.ctypes.data,
            first + item * kernel.first.offset, a, second + item * kernel.second.offset, b,
            self.zero.ctypes.data, result, d, result, d,
            self.algorithm.ctypes.data, self.blas.workspace.address, WORKSPACE_NBYTES, int(device.stream),
        )  # fmt: skip

    def __del__(self) -> None:
        # At the end of the process the library may be gone.
        if self.lt is not None and hasattr(self, "layouts"):
            for layout in self.layouts:
                self.lt.matrix_layout_destroy(layout)
            self.lt.matmul_desc_destroy(self.description)
