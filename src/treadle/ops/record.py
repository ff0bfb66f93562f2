"""What every family of ops is written with: registering records, operands, promotion, broadcasting, messages.

Functions of this floor take and return nodes. Python numbers are operands too: weak, of no dtype of their
own. The names that users see are those marked `public`.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from treadle import dtypes
from treadle.dtypes import DType
from treadle.errors import ArgumentError, AxisError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension, Shape, product
from treadle.graph.node import WEAK, Node, Op, Type, Types, make, new, surroundings

Operand = Node | bool | int | float | complex
"""What an op's function takes: a node or a Python number."""

OPS: dict[str, Op] = {}
"""Every op record by name."""

PUBLIC: dict[str, Callable[..., Any]] = {}
"""Every function users see, by name; `array` wraps them over arrays."""

METHODS: dict[str, str] = {}
"""Names of public functions that arrays also have as methods, by method name."""

NAMESPACES: dict[str, dict[str, Callable[..., Any]]] = {"fft": {}, "linalg": {}}
"""The functions of namespaces below the main one, such as ``td.linalg``: by namespace, then by name."""

F = TypeVar("F", bound=Callable[..., Any])


def register(op: Op) -> Op:
    """Make a record known: tests, documentation and the text form find it by name."""
    if op.name in OPS:
        raise ValueError(f"there is an op named {op.name} already")
    OPS[op.name] = op
    return op


def public(function: F) -> F:
    """Make a function of nodes a name that users see."""
    PUBLIC[function.__name__] = function
    return function


def method(function: F) -> F:
    """The same, and a method of arrays."""
    METHODS[function.__name__] = function.__name__
    return public(function)


def public_in(namespace: str) -> Callable[[F], F]:
    """Make a function of nodes a name that users see in a namespace below the main one."""

    def enter(function: F) -> F:
        NAMESPACES[namespace][function.__name__] = function
        return function

    return enter


# -- leaves

CONSTANT = register(
    Op(
        "constant",
        infer=lambda value, dtype: Type((), dtype),
        reference=lambda value, dtype: dtype.numpy.type(value),
        attributes=("value", "dtype"),
        leaf=True,
        doc="A number the compiler knows, or the product of symbolic sizes.",
    )
)
SCALAR = register(
    Op(
        "scalar",
        infer=lambda: Type((), dtypes.float32),
        reference=None,
        leaf=True,
        doc="A number given at run time.",
    )
)
DATA = register(
    Op(
        "data",
        infer=lambda: Type((), dtypes.float32),
        reference=None,
        leaf=True,
        doc="A value that is there: its buffer holds it.",
    )
)
INPUT = register(
    Op(
        "input",
        infer=lambda index: Type((), dtypes.float32),
        reference=None,
        attributes=("index",),
        leaf=True,
        doc="Leaf number `index` of a graph that is being compiled.",
    )
)
MIXED = (dtypes.float32, dtypes.float16, dtypes.bfloat16)
"""The dtypes for which another one is put where precision is mixed."""
KNOWN_NUMBERS = (0, 1, -1, 2, 0.5)


def constant(value: bool | int | float | complex | Dimension, dtype: DType) -> Node:
    """A 0-d node whose value is part of the graph's structure."""
    if not isinstance(value, Dimension):
        value = (
            dtype.numpy.type(value).item() if dtype is not dtypes.bfloat16 else float(dtype.numpy.type(value))
        )
    return new(CONSTANT, (), (value, dtype), Type((), dtype))


def number(value: bool | int | float | complex, dtype: DType) -> Node:
    """A 0-d node for a Python number: an input of the graph, unless it is one of the few the compiler
    knows.
    """
    if value is True or value is False or value in KNOWN_NUMBERS:
        return constant(value, dtype)
    if dtype.kind in ("int", "uint"):
        limits = (-(2 ** (8 * dtype.itemsize - 1)), 2 ** (8 * dtype.itemsize - 1) - 1)
        limits = limits if dtype.kind == "int" else (0, 2 ** (8 * dtype.itemsize) - 1)
        if not limits[0] <= value <= limits[1]:  # type: ignore[operator]
            raise DTypeError(f"{value} does not fit {dtype}, whose values are {limits[0]} to {limits[1]}")
    node = new(SCALAR, (), (), Type((), dtype))
    node.binding = value
    return node


def filled(value: bool | int | float | complex | Node, shape: Shape, dtype: DType) -> Node:
    """Every element the same."""
    if not isinstance(value, Node):
        value = number(value, dtype)
    return broadcast(value, shape)


# -- one of several results

RESULT = register(
    Op(
        "result",
        infer=lambda types, index: types[index],
        reference=lambda values, index: values[index],
        attributes=("index",),
        doc="Result number `index` of a node that has several. Gradients know it without a rule.",
    )
)
_known_results: weakref.WeakKeyDictionary[Node, list[weakref.ref[Node] | None]] = weakref.WeakKeyDictionary()


def results(node: Node) -> tuple[Node, ...]:
    """The results of a node, each a node of its own; the same ones as before as long as somebody holds
    them.
    """
    if type(node.type) is not Types:
        return (node,)
    known = _known_results.setdefault(node, [None] * len(node.type))
    found = []
    for index, reference in enumerate(known):
        value = None if reference is None else reference()
        if value is None:
            value = make(RESULT, (node,), (index,))
            known[index] = weakref.ref(value)
        found.append(value)
    return tuple(found)


def held_results(node: Node) -> list[Node]:
    """Those of a node's results that somebody holds."""
    found = [reference() for reference in _known_results.get(node, ()) if reference is not None]
    return [value for value in found if value is not None]


# -- operands


def describe(value: Any) -> str:
    """An operand as messages name it: ``float32[3, 4]``, or the number."""
    return repr(value.type) if isinstance(value, Node) else repr(value)


def expect_node(name: str, argument: str, value: Any) -> Node:
    """The operand as a node; a Python number alone becomes a 0-d one of its default dtype."""
    if type(value) is Node:
        value = cast(value, dtypes.float32) if value.flags & WEAK else value
        return value if surroundings.mixed is None else cast(value, _mixed(name, value.type.dtype))
    if isinstance(value, (bool, int, float, complex)):
        return number(value, dtypes.DEFAULTS[dtypes.kind_of_number(value)])
    raise DTypeError(f"[{name}] {argument} is a {type(value).__name__}; expected an array or a Python number")


def _mixed(name: str, dtype: DType) -> DType:
    """The dtype in which an operation computes on operands of a dtype, with mixed precision around it."""
    assert surroundings.mixed is not None
    return surroundings.mixed.get(name, dtype) if dtype in MIXED else dtype


def expect_kind(name: str, argument: str, value: Node, kind: str) -> None:
    """Refuse a dtype outside the named set (see `dtypes.KINDS`)."""
    if value.type.dtype.kind not in dtypes.KINDS[kind]:
        hint = "; convert it with astype(td.float32)" if "floating" in kind else ""
        raise DTypeError(f"[{name}] {argument} is {value.type!r}; expected a {kind} dtype{hint}")


def promoted(name: str, values: Sequence[Operand]) -> tuple[list[Operand], DType]:
    """The common dtype of operands, arrays first, then Python numbers and what stands for them, which are
    weak.
    """
    dtype: DType | None = None
    for value in values:
        if type(value) is Node and not value.flags & WEAK:
            dtype = value.type.dtype if dtype is None else dtypes.promote(dtype, value.type.dtype)
    for value in values:
        if type(value) is not Node or value.flags & WEAK:
            if not isinstance(value, (bool, int, float, complex, Node)):
                raise DTypeError(
                    f"[{name}] got a {type(value).__name__}; expected an array or a Python number"
                )
            kind = "float" if isinstance(value, Node) else dtypes.kind_of_number(value)
            dtype = dtypes.DEFAULTS[kind] if dtype is None else dtypes.promote_number(dtype, kind)
    assert dtype is not None
    return list(values), dtype if surroundings.mixed is None else _mixed(name, dtype)


def all_weak(values: Sequence[Operand]) -> bool:
    """Whether all stand for Python numbers, one of them at least in a node."""
    nodes = [value for value in values if type(value) is Node]
    return bool(nodes) and all(node.flags & WEAK for node in nodes)


def weak(node: Node) -> Node:
    """A node made from what stands for Python numbers; it stands for one too, if it is a float."""
    if node.type is Type((), dtypes.float64):
        node.flags |= WEAK
    return node


def naming(*shapes: Shape) -> str:
    """More to say about shapes that do not fit: whether placeholders' sizes without a common name are why."""
    symbols = {size for shape in shapes for size in shape if isinstance(size, Dimension)}
    return "; sizes that will be equal have one name: placeholder(('batch', ...))" if len(symbols) > 1 else ""


def broadcast_shapes(name: str, shapes: Sequence[Shape], labels: Sequence[str] = ()) -> Shape:
    """The common shape of shapes, by the Array API's broadcasting rules."""
    result: Shape = shapes[0]
    for shape in shapes[1:]:
        if shape == result:
            continue
        longer, shorter = (result, shape) if len(result) >= len(shape) else (shape, result)
        merged = list(longer)
        for back in range(1, len(shorter) + 1):
            left, right = longer[-back], shorter[-back]
            if left == right or (type(right) is int and right == 1):
                continue
            if type(left) is int and left == 1:
                merged[-back] = right
                continue
            given = ", ".join(
                f"{label} of shape {s}"
                for label, s in zip(labels or [f"x{i + 1}" for i in range(len(shapes))], shapes, strict=True)
            )
            raise ShapeError(
                f"[{name}] {given} cannot be broadcast together: counted from the right, dimension {back} "
                f"is {left} in one and {right} in the other; sizes must be equal, or one of them 1"
                + naming((left,), (right,))
            )
        result = tuple(merged)
    return result


def _infer_broadcast(x: Type, shape: Shape) -> Type:
    if broadcast_shapes("broadcast_to", [x.shape, shape], ["x", "the target"]) != shape:
        raise ShapeError(
            f"[broadcast_to] x of shape {x.shape} does not broadcast to {shape}: it has larger or more "
            f"dimensions"
        )
    return Type(shape, x.dtype)


BROADCAST = register(
    Op("broadcast_to", infer=_infer_broadcast, reference=None, attributes=("shape",), view=True)
)  # its reference and vjp are given in ops.movement


def broadcast(value: Node, shape: Shape) -> Node:
    """The node seen in a larger shape; itself if it has that shape."""
    return value if value.type.shape == shape else make(BROADCAST, (value,), (shape,))


def _infer_reshape(x: Type, shape: Shape) -> Type:
    if product(x.shape) != product(shape):
        raise ShapeError(
            f"[reshape] x of shape {x.shape} has {product(x.shape)} elements, the shape {shape} has "
            f"{product(shape)}"
        )
    return Type(shape, x.dtype)


RESHAPE = register(Op("reshape", infer=_infer_reshape, reference=None, attributes=("shape",), view=True))


def reshaped(value: Node, shape: Shape) -> Node:
    """The node's elements in row-major order in another shape; itself if it has that shape."""
    return value if value.type.shape == shape else make(RESHAPE, (value,), (shape,))


CAST = register(
    Op(
        "astype",
        infer=lambda x, dtype: Type(x.shape, dtype),
        reference=None,
        attributes=("dtype",),
        elementwise=True,
    )
)


def cast(value: Operand, dtype: DType) -> Node:
    """The operand in a dtype; itself if it has that dtype."""
    if type(value) is not Node:
        return number(value, dtype)  # type: ignore[arg-type]
    return value if value.type.dtype is dtype else make(CAST, (value,), (dtype,))


def expect_convertible(name: str, argument: str, given: Any, kind: str, dtype: DType) -> None:
    """Refuse a conversion that a user asks for where it would drop imaginary parts."""
    if kind == "complex" and dtype.kind != "complex":
        raise DTypeError(
            f"[{name}] {argument} is {given!r}: take td.real or td.abs of it first, {dtype} would drop the "
            f"imaginary part"
        )


def together(name: str, values: Sequence[Operand], labels: Sequence[str] = ()) -> tuple[list[Node], DType]:
    """Operands promoted to one dtype and broadcast to one shape."""
    operands, dtype = promoted(name, values)
    nodes = [cast(value, dtype) for value in operands]
    shape = nodes[0].type.shape
    for node in nodes:
        if node.type.shape != shape:
            shape = broadcast_shapes(name, [node.type.shape for node in nodes], labels)
            nodes = [broadcast(node, shape) for node in nodes]
            break
    return nodes, dtype


# -- axes


def normal_axis(name: str, axis: int, ndim: int, argument: str = "axis") -> int:
    """An axis counted from the front."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise AxisError(f"[{name}] {argument}={axis!r} is not an integer")
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise AxisError(f"[{name}] {argument}={axis} is out of range for an array of {ndim} dimensions")
    return axis % ndim


def normal_axes(name: str, axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, sorted; None means all."""
    if axis is None:
        return tuple(range(ndim))
    given: list[Any] = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    axes = [normal_axis(name, a, ndim) for a in given]
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"[{name}] axis={axis} names a dimension twice")
    return tuple(sorted(axes))


def expect_axes(name: str, axes: Sequence[int], ndim: int) -> None:
    """Refuse axes in a record that are not counted from the front, are out of range or there twice: what the
    functions have made sure of, and files have not.
    """
    if len(set(axes)) != len(axes) or not all(0 <= axis < ndim for axis in axes):
        raise ArgumentError(f"[{name}] {tuple(axes)} are no axes of an array of {ndim} dimensions")
