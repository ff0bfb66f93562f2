"""Convolutions and their gradients by cuDNN's graph API, with a bias and a ReLU after the convolution; any
other epilogue is a kernel after it.

Tensors are told by sizes and strides over [batch, channels, spatial...], whatever the order in memory.
Convolutions over one dimension have a second of size 1, since cuDNN has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle import config
from treadle.compiler.indexmap import row_major
from treadle.compiler.program import LibraryCall
from treadle.devices.csource.copies import copied
from treadle.devices.csource.kernel import Facts, Kernel, Launch, Lowered, Place, Unsupported, product
from treadle.devices.csource.types import ITEMSIZE
from treadle.devices.cuda.blas import bias_and_relu
from treadle.devices.cuda.driver import INSTALL
from treadle.devices.cuda.epilogue import alone
from treadle.errors import DeviceError
from treadle.ops.channels_last import CHANNELS_FIRST

if TYPE_CHECKING:
    from treadle.devices.cuda.device import CudaDevice

TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT", "float64": "DOUBLE"}
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """How an operand lies; `offset` counts elements."""

    sizes: Sizes
    strides: Sizes
    offset: int = 0


@dataclass(frozen=True)
class Convolution(Kernel):
    """One of the three convolutions. Operands: those of the op, the bias where there is one, the result."""

    kind: str
    """conv, conv_input_gradient or conv_weight_gradient."""
    given: tuple[Tensor, ...]
    result: Tensor
    padding: tuple[tuple[int, int], ...]
    stride: Sizes
    dilation: Sizes
    dtype: str
    bias: bool
    relu: bool
    exact: bool


def lower(call: LibraryCall, facts: Facts) -> Lowered:
    """A convolution's call as a graph of cuDNN's, and a kernel for what follows it.

    Raises:
        Unsupported: the dtype, or the number of dimensions, is not cuDNN's.
    """
    node = call.node
    dtype = node.inputs[0].dtype.name
    shape: Sizes = node.shape  # type: ignore[assignment]
    sizes = [view.shape for view in call.inputs]
    if dtype not in TYPES or node.dtype.name != dtype or 0 in shape or any(0 in size for size in sizes):
        raise Unsupported(f"a convolution of {dtype} to {node.dtype.name}")
    if len(shape) not in (3, 4, 5):
        raise Unsupported(f"a convolution over {len(shape) - 2} dimensions")
    kind = CHANNELS_FIRST.get(node.op.name, node.op.name)
    made = call.strides or tuple(row_major(shape))
    if node.op.name in CHANNELS_FIRST:
        shape, made = (shape[0], shape[-1], *shape[1:-1]), (made[0], made[-1], *made[1:-1])
    given, operands, copies, temporaries = [], [], [], []
    for i, view in enumerate(call.inputs):
        whole: Sizes = tuple(map(int, view.shape))
        place: Place = "in", i
        tensor = Tensor(whole, _positive(whole, view.strides), view.offset)
        if any(s <= 0 for n, s in zip(whole, view.strides, strict=True) if n > 1):
            # What is broadcast or reversed, cuDNN does not take.
            place = "temp", len(temporaries)
            copies.append(copied(view, dtype, ("in", i), place, facts))
            temporaries.append(ITEMSIZE[dtype] * product(whole))
            tensor = Tensor(whole, tuple(row_major(whole)))
        given.append(_planar(tensor))
        operands.append(place)
    name, bias = bias_and_relu(call, channel=len(shape) - 1 if node.op.name in CHANNELS_FIRST else 1)
    if bias is not None:
        operands.append(("extra", bias))
    padding, stride, dilation = [node.attribute(what) for what in ("padding", "stride", "dilation")]
    if len(shape) == 3:
        padding, stride, dilation = (*padding, (0, 0)), (*stride, 1), (*dilation, 1)
    result = _planar(Tensor(shape, made))
    weights = result if kind == "conv_weight_gradient" else given[1]
    outputs = {"conv": result, "conv_input_gradient": given[0]}.get(kind, given[1])
    flops = 2 * product(outputs.sizes) * product(weights.sizes[1:])
    kernel = Convolution(
        text=f"cuDNN: {kind} {[list(t.sizes) for t in given]} -> {list(shape)}, {dtype}, {name}",
        label=f"{kind} {list(shape)} {name.lower()}".removesuffix(" default"),
        operands=(dtype,) * (len(operands) + 1),
        flops=flops,
        nbytes=ITEMSIZE[dtype] * (sum([product(t.sizes) for t in given]) + product(shape)),
        kind=kind,
        given=tuple(given),
        result=result,
        padding=padding,
        stride=stride,
        dilation=dilation,
        dtype=dtype,
        bias=bias is not None,
        relu="RELU" in name,
        exact=config.options.precision == "exact",
    )
    if not call.epilogue or name != "DEFAULT":
        return Lowered((*copies, Launch(kernel, (*operands, ("out", 0)))), tuple(temporaries))
    between: Place = "temp", len(temporaries)
    temporaries.append(ITEMSIZE[dtype] * product(shape))
    rest = alone(call, dtype, between, facts)
    return Lowered((*copies, Launch(kernel, (*operands, between)), *rest), tuple(temporaries))


def _positive(sizes: Sizes, strides: Sizes) -> Sizes:
    """Strides of which those that are never taken are as if they were."""
    made = row_major(sizes)
    return tuple([s if n > 1 else m for n, s, m in zip(sizes, strides, made, strict=True)])


def _planar(tensor: Tensor) -> Tensor:
    """A tensor with two spatial dimensions where it has one."""
    if len(tensor.sizes) != 3:
        return tensor
    return Tensor((*tensor.sizes, 1), (*tensor.strides, 1), tensor.offset)


# -- running


def library() -> Any:
    """cuDNN's frontend.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        import cudnn  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DeviceError(
            f"convolutions on a GPU need nvidia-cudnn-frontend and nvidia-cudnn-cu13: type `{INSTALL}`, or "
            f'do without by td.device("cuda", kernels="generated")'
        ) from None
    return cudnn


def graph(cudnn: Any, kernel: Convolution, handle: Any = None) -> tuple[Any, list[Any]]:
    """A kernel as a validated graph, and its tensors in the order of the operands. That needs no GPU."""
    type = getattr(cudnn.data_type, TYPES[kernel.dtype])
    wide = cudnn.data_type.DOUBLE if kernel.dtype == "float64" else cudnn.data_type.FLOAT
    options = {} if handle is None else {"handle": handle}
    made = cudnn.pygraph(io_data_type=type, intermediate_data_type=wide, compute_data_type=wide, **options)

    def tensor(name: str, sizes: Sizes, strides: Sizes) -> Any:
        return made.tensor(name=name, dim=list(sizes), stride=list(strides), data_type=type)

    tensors = [tensor(f"operand{i}", t.sizes, t.strides) for i, t in enumerate(kernel.given)]
    geometry = {
        "pre_padding": [low for low, _ in kernel.padding],
        "post_padding": [high for _, high in kernel.padding],
        "stride": list(kernel.stride),
        "dilation": list(kernel.dilation),
        "compute_data_type": wide,
    }
    first, second = tensors
    match kernel.kind:
        case "conv":
            value = made.conv_fprop(image=first, weight=second, **geometry)
        case "conv_input_gradient":
            value = made.conv_dgrad(loss=first, filter=second, **geometry)
        case _:
            value = made.conv_wgrad(image=first, loss=second, **geometry)
    value.set_dim(list(kernel.result.sizes)).set_stride(list(kernel.result.strides))
    if kernel.bias:
        channels = kernel.result.sizes[1]
        ones = (1,) * (len(kernel.result.sizes) - 2)
        tensors.append(tensor("bias", (1, channels, *ones), (channels, 1, *ones)))
        value = made.bias(name="bias", input=value, bias=tensors[-1])
    if kernel.relu:
        value = made.relu(name="relu", input=value)
    value.set_output(True).set_data_type(type)
    value.set_dim(list(kernel.result.sizes)).set_stride(list(kernel.result.strides))
    made.validate()
    return made, [*tensors, value]


class Dnn:
    """cuDNN on a device."""

    def __init__(self, device: CudaDevice, cudnn: Any = None):
        self.cudnn = library() if cudnn is None else cudnn
        self.device = device
        self.handle = self.cudnn.create_handle()
        self.cudnn.set_stream(handle=self.handle, stream=int(device.stream))
        self._workspace: Any = None
        self._nbytes = 0

    def workspace(self, nbytes: int) -> Any:
        """Memory for graphs to use besides; one for a device, since its work is done in order."""
        if nbytes > self._nbytes or self._workspace is None:
            self._workspace, self._nbytes = self.device.reserve(max(nbytes, 1)), nbytes
        return self._workspace

    def prepared(self, kernel: Convolution) -> Prepared:
        """A convolution that can be launched, by the deterministic plan that heuristics put first.

        Raises:
            DeviceError: cuDNN has no plan for it.
        """
        return Prepared(self, kernel)


class Prepared:
    """A graph with a plan. Its workspace is reserved when it is made, since nothing may be while work is
    captured.
    """

    def __init__(self, dnn: Dnn, kernel: Convolution):
        cudnn, self.dnn, self.kernel = dnn.cudnn, dnn, kernel
        self.graph, self.tensors = graph(cudnn, kernel, dnn.handle)
        try:
            self.graph.build_operation_graph()
            self.graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
            note = cudnn.numerical_note
            refused = [note.NONDETERMINISTIC, *([note.TENSOR_CORE, note.WINOGRAD] if kernel.exact else [])]
            if kernel.dtype in ("float16", "bfloat16"):
                refused = [n for n in refused if n != note.TENSOR_CORE]
            self.graph.deselect_numeric_notes(refused)
            self.graph.check_support()
            self.graph.build_plans()
        except Exception as error:
            raise DeviceError(
                f'cuDNN has no plan for {kernel.text}: {str(error).splitlines()[0]}; use kernels="generated"'
            ) from None
        self.workspace = dnn.workspace(self.graph.get_workspace_size())

    def launch(self, device: CudaDevice, addresses: Any) -> None:
        """Let it run on operands."""
        item = ITEMSIZE[self.kernel.dtype]
        offsets = [t.offset * item for t in self.kernel.given]
        offsets += [0] * (len(addresses) - len(offsets))
        places = {
            tensor: address + offset
            for tensor, address, offset in zip(self.tensors, addresses, offsets, strict=True)
        }
        self.graph.execute(places, self.workspace.address, handle=self.dnn.handle)
