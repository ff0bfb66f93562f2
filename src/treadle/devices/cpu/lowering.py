"""How each library op becomes native kernels: one row an op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from treadle import config
from treadle.compiler.kernel import Instruction
from treadle.compiler.looped import is_apart
from treadle.compiler.program import Call, LibraryCall, LoopCall, View
from treadle.devices.cpu import loops
from treadle.devices.cpu.copies import copied, reach, row_major
from treadle.devices.cpu.epilogue import rewrite_affines
from treadle.devices.cpu.expression import supported
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.registers import ITEMSIZE, Unsupported
from treadle.devices.cpu.target import Isa
from treadle.graph.node import Node, Type
from treadle.ops.channels_last import CHANNELS_FIRST, order_of

if TYPE_CHECKING:
    from treadle.devices.cpu.attention_problem import Attention
    from treadle.devices.cpu.convolution import Convolution
    from treadle.devices.cpu.pooling import AvgPool


def _sizes(type: Type) -> tuple[int, ...]:
    return tuple(int(n) for n in type.shape)


# Generators are loaded by the first program that needs them: each takes milliseconds.


def _matmul(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.contraction import Contraction, lower

    a, b = call.inputs
    shape = _sizes(call.node.type)
    batch, (m, n) = shape[:-2], shape[-2:]
    spec = Contraction(
        batch,
        m,
        n,
        int(a.shape[-1]),
        a.strides,
        b.strides,
        call.strides or row_major(shape),
        call.node.dtype.name,
        call.epilogue,
        call.stores,
        call.extra,
        call.in_place,
    )
    return lower(spec, isa)


def _convolution(
    call: LibraryCall, x: tuple[Any, Any], w: tuple[Any, Any], y: tuple[Any, Any]
) -> Convolution:
    """The geometry a convolution and its gradients share: (shape, strides) of input, weight, output."""
    from treadle.devices.cpu.convolution import Convolution

    node = call.node
    return Convolution(
        batch=x[0][0],
        groups=node.attribute("groups"),
        in_channels=x[0][1],
        out_channels=y[0][1],
        input=tuple(x[0][2:]),
        kernel=tuple(w[0][2:]),
        output=tuple(y[0][2:]),
        stride=node.attribute("stride"),
        padding=node.attribute("padding"),
        dilation=node.attribute("dilation"),
        input_strides=x[1],
        weight_strides=w[1],
        output_strides=y[1],
        dtype=node.dtype.name,
        epilogue=_channels_first(node, call.epilogue),
        extra=call.extra,
        exact=config.options.precision == "exact",
    )


def _in_order(node: Node, items: Sequence[int]) -> tuple[int, ...]:
    """What stands for a result's dimensions, for those of the record that users' functions make."""
    name = CHANNELS_FIRST.get(node.op.name)
    if name is None:
        return tuple(items)
    order = order_of(name, len(items))
    return tuple([items[order.index(axis)] for axis in range(len(items))])


def _channels_first(node: Node, body: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """An epilogue over (batch, channel, spatial...), of one over a result's own dimensions."""
    return rewrite_affines(body, lambda strides: _in_order(node, strides))


def _seen(view: View) -> tuple[Any, Any]:
    return view.shape, view.strides


def _made(node: Node) -> tuple[Any, Any]:
    """Shape and strides of a result as [batch, channel, spatial...], or [filter, channel, spatial...]."""
    shape = _sizes(node.type)
    return _in_order(node, shape), _in_order(node, row_major(shape))


def _conv(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.convolution import forward

    x, w = call.inputs
    return forward(_convolution(call, _seen(x), _seen(w), _made(call.node)), isa)


def _conv_input_gradient(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.convolution import input_gradient

    g, w = call.inputs
    return input_gradient(_convolution(call, _made(call.node), _seen(w), _seen(g)), isa)


def _conv_weight_gradient(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.convolution import weight_gradient

    x, g = call.inputs
    return weight_gradient(_convolution(call, _seen(x), _made(call.node), _seen(g)), isa)


def _scatter(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.scatter import Scatter, scatter

    x, values, *indices = call.inputs
    node = call.node
    shape = _sizes(node.type)
    axes = node.attribute("axes")
    others = [axis for axis in range(len(shape)) if axis not in axes]
    points = indices[0].shape
    made = row_major(shape)
    spec = Scatter(
        node.dtype.name,
        node.op.name == "scatter_add",
        points,
        tuple(shape[a] for a in others),
        tuple(made[a] for a in axes),
        tuple(made[a] for a in others),
        values.strides[: len(points)],
        values.strides[len(points) :],
        tuple(child.dtype.name for child in node.inputs[2:]),
        tuple(view.strides for view in indices),
        tuple(shape[a] for a in axes),
    )
    kernel = scatter(spec, isa)
    if 0 in shape:
        return Lowered(())
    name, summed = node.dtype.name, spec.summed
    target = ("out", 0) if summed == name else ("temp", 0)
    copy = copied(isa, shape, (("in", 0), x.strides, name), (target, made, summed))
    places = (target, *(("in", 1 + i) for i in range(1 + len(indices))), ("status", 0))
    steps = copy, Step(kernel, places)
    if summed == name:
        return Lowered(steps)
    back = copied(isa, shape, (target, made, summed), (("out", 0), made, name))
    return Lowered((*steps, back), (math.prod(shape) * ITEMSIZE[summed],))


def _cumulative(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.cumulative import Cumulative, cumulative

    view, node = call.inputs[0], call.node
    shape = _sizes(node.type)
    axis = node.attribute("axis")
    combine = node.op.name.removeprefix("cumulative_")
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if 0 in shape:
        return Lowered(())
    kernel = cumulative(
        Cumulative(node.dtype.name, combine, outer, shape[axis], inner, node.attribute("reverse")), isa
    )
    if view.strides == row_major(shape):
        return Lowered((Step(kernel, (("in", 0), ("out", 0))),))
    name, made = node.dtype.name, row_major(shape)
    copy = copied(isa, shape, (("in", 0), view.strides, name), (("temp", 0), made, name))
    return Lowered((copy, Step(kernel, (("temp", 0), ("out", 0)))), (math.prod(shape) * node.dtype.itemsize,))


def _max_pool(kernel: str, output_like: int | None) -> Callable[[LibraryCall, Isa], Lowered]:
    """A max-pooling op. `output_like`: the operand shaped like the pooled output; None: the result is."""

    def lowered(call: LibraryCall, isa: Isa) -> Lowered:
        from treadle.devices.cpu import pooling

        x, (shape, made) = call.inputs[0], _made(call.node)
        # What is shaped like x has to lie alike, like the result if that is one of them.
        strides = made
        if output_like is None:
            dense = len(call.inputs) == 1 or reach(x.shape, x.strides) == math.prod(x.shape)
            strides = x.strides if dense else row_major(x.shape)
        pooled = (shape, made) if output_like is None else _seen(call.inputs[output_like])
        kernels = getattr(pooling, kernel)(
            pooling.MaxPool(
                x.shape[0],
                x.shape[1],
                tuple(x.shape[2:]),
                call.node.attribute("window"),
                tuple(pooled[0][2:]),
                call.node.attribute("stride"),
                call.node.attribute("padding"),
                (1,) * (len(pooled[0]) - 2),
                strides,
                pooled[1],
                call.node.dtype.name,
            ),
            isa,
        )
        others = [i for i in range(len(call.inputs)) if i != output_like]
        moved = [i for i in others if not _alike(x.shape, call.inputs[i].strides, strides)]
        return _rearranged(call, kernels, isa, moved, strides)

    return lowered


def _rearranged(
    call: LibraryCall, lowered: Lowered, isa: Isa, moved: Sequence[int], strides: tuple[int, ...]
) -> Lowered:
    """The same, some inputs being copied first to memory where they lie by `strides`, without gaps."""
    name, shape = call.node.types[0].dtype.name, call.inputs[0].shape
    count = len(lowered.temporaries)
    places = {("in", i): ("temp", count + n) for n, i in enumerate(moved)}
    copies = [
        copied(isa, shape, (("in", i), call.inputs[i].strides, name), (places["in", i], strides, name))
        for i in moved
    ]
    steps = [Step(s.kernel, tuple([places.get(o, o) for o in s.operands])) for s in lowered.steps]
    size = math.prod(shape) * ITEMSIZE[name]
    return Lowered((*copies, *steps), (*lowered.temporaries, *[size] * len(moved)))


def _alike(shape: Sequence[int], strides: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two arrays of a shape lie alike in memory."""
    return all(a == b for n, a, b in zip(shape, strides, others, strict=True) if n != 1)


def _averages(call: LibraryCall, x: tuple[Any, Any], y: tuple[Any, Any]) -> AvgPool:
    """The geometry an average pooling and its gradient share: (shape, strides) of what is pooled, and of
    the means.
    """
    from treadle.devices.cpu.pooling import AvgPool

    node = call.node
    return AvgPool(
        x[0][0],
        x[0][1],
        tuple(x[0][2:]),
        node.attribute("window"),
        tuple(y[0][2:]),
        node.attribute("stride"),
        node.attribute("padding"),
        x[1],
        y[1],
        node.dtype.name,
        node.attribute("count_include_pad"),
    )


def _average_pool(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.pooling import average_pool

    return average_pool(_averages(call, _seen(call.inputs[0]), _made(call.node)), isa)


def _average_pool_gradient(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.pooling import average_pool_gradient

    return average_pool_gradient(_averages(call, _made(call.node), _seen(call.inputs[0])), isa)


def _attention(call: LibraryCall, isa: Isa, operands: tuple[View, ...], row: View | None) -> Attention:
    """The geometry of attention and of its gradients, whose operands are query, key, value and mask."""
    from treadle.devices.cpu.attention_problem import Attention

    node = call.node
    q, k, v, *mask = operands
    *batch, targets, heads, size = q.shape
    sources, features = k.shape[-3], v.shape[-1]
    if 0 in (*q.shape, *k.shape, *v.shape):
        raise Unsupported("attention without elements")

    def by_head(strides: tuple[int, ...]) -> tuple[int, ...]:
        """Over [batch..., places, heads, size], as over [batch..., heads, places, size]."""
        return (*strides[:-3], strides[-2], strides[-3], strides[-1])

    def made(places: int, width: int) -> tuple[int, ...]:
        return by_head(row_major((*batch, places, heads, width)))

    return Attention(
        (*batch, heads),
        targets,
        sources,
        size,
        features,
        query=by_head(q.strides),
        key=by_head(k.strides),
        value=by_head(v.strides),
        mask=mask[0].strides if mask else None,
        result=made(targets, features),
        worth=row.strides if row is not None else (),
        normalizer=row_major((*batch, heads, targets)),
        query_gradient=made(targets, size),
        key_gradient=made(sources, size),
        value_gradient=made(sources, features),
        scale=node.attribute("scale"),
        causal=node.attribute("causal"),
        dtype=node.inputs[0].dtype.name,
    )


def _attention_forward(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.attention import forward

    return forward(_attention(call, isa, call.inputs, None), isa)


def _attention_gradient(call: LibraryCall, isa: Isa) -> Lowered:
    from dataclasses import replace

    from treadle.devices.cpu.attention import gradient

    g, worth, normalizer, *operands = call.inputs
    a = _attention(call, isa, tuple(operands), worth)
    result = (*g.strides[:-3], g.strides[-2], g.strides[-3], g.strides[-1])
    return gradient(replace(a, result=result, normalizer=normalizer.strides), isa)


def _moments(call: LibraryCall, isa: Isa) -> Lowered:
    from treadle.devices.cpu.moments import Moments, moments

    view, node = call.inputs[0], call.node
    shape, name = _sizes(node.inputs[0].type), node.types[0].dtype.name
    spec = Moments(math.prod(shape[:-1]), shape[-1], name)
    if _alike(shape, view.strides, row_major(shape)):
        return moments(spec, isa)
    return _rearranged(call, moments(spec, isa), isa, [0], row_major(shape))


LIBRARY: dict[str, Callable[[LibraryCall, Isa], Lowered]] = {
    "matmul": _matmul,
    "conv": _conv,
    "conv_input_gradient": _conv_input_gradient,
    "conv_weight_gradient": _conv_weight_gradient,
    "max_pool": _max_pool("max_pool", None),
    "max_pool_gradient": _max_pool("max_pool_gradient", 1),
    "max_pool_select": _max_pool("max_pool_select", None),
    "average_pool": _average_pool,
    "average_pool_gradient": _average_pool_gradient,
    "scatter_add": _scatter,
    "scatter_set": _scatter,
    "attention": _attention_forward,
    "attention_gradient": _attention_gradient,
    "moments": _moments,
    "cumulative_sum": _cumulative,
    "cumulative_prod": _cumulative,
}
"""Ops with generated kernels of their own, besides those that loop kernels express."""
LIBRARY |= {twin: LIBRARY[name] for twin, name in CHANNELS_FIRST.items()}

EPILOGUES = (
    "matmul", "conv", "conv_channels_last", "conv_input_gradient", "conv_input_gradient_channels_last",
)  # fmt: skip
"""Ops whose kernels can go on computing with a result before they store it."""

SUMMED = ("float32", "float64")
"""Dtypes whose moments have kernels."""


def is_library(node: Node) -> bool:
    """Whether a node is not for the fusion pass to write a loop for: it has kernels of its own, or it runs
    its reference between two native segments.
    """
    return is_apart(node, LIBRARY, supported)


def runs_channels_last(node: Node) -> bool:
    """Whether a convolution or pooling has kernels, which are quickest with the channels last."""
    return all(value.dtype.name in ITEMSIZE for value in (node, *node.inputs))


def has_kernel(node: Node) -> bool:
    """Whether a node that could be written out in simpler ops has kernels of its own. Moments have where they
    are taken over all but the last dimension of what is large.
    """
    if node.op.name != "moments":
        return True
    type = node.inputs[0].type
    shape = _sizes(type)
    own = node.attribute("axes") == tuple(range(len(shape) - 1)) and type.dtype.name in SUMMED
    return own and math.prod(shape) * type.dtype.itemsize > loops.LARGE_NBYTES


def lower_call(call: Call, isa: Isa) -> Lowered | None:
    """The native kernels of a call, or None where there are none: its reference runs on the host."""
    try:
        if isinstance(call, LoopCall):
            return loops.render(call.kernel, isa)
        if "cpu" in call.node.op.native:
            from treadle.devices.cpu.user_kernel import lower as lower_user

            return lower_user(call, isa)
        lower = LIBRARY.get(call.node.op.name)
        types = [type for value in (call.node, *call.node.inputs) for type in value.types]
        if lower is None or any(type.dtype.name not in ITEMSIZE for type in types):
            return None
        return lower(call, isa)
    except Unsupported:
        return None
