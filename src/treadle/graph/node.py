"""The one data structure: a node is an op applied to nodes. Knows the op record's shape, nothing of any op.

Nodes are immutable but for what evaluation fills in: `buffer`, the value once computed, and with it the
release of the inputs of a node whose history is not needed any more.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from treadle.dtypes import DType
from treadle.errors import DeviceError, Place, user_line
from treadle.graph.dimension import Shape

TRACKED = 1
"""Depends on a variable, or on an array marked `requires_grad`: gradients may be asked of it."""
STATIC = 2
"""Depends on a placeholder: it has no value outside a door."""
PINNED = 4
"""A static graph reaches it: its history is never released."""
WEAK = 32
"""Stands for a Python float, 0-d: among arrays it takes their dtype, as the number would."""
DETACHED = 8
"""Made under `no_grad`: gradients do not go through it."""
MAPPED = 16
"""Stands for one example of a batch that `vmap` maps over: it has no value of its own."""
LOCATED = 64
"""Depends on memory of a device: it is computed there. What does not, a constant or what is fed, goes where
it is needed.
"""
HOSTS = frozenset(["cpu", "reference"])
"""The devices that share the host's memory."""


class Type:
    """Shape and dtype of a value. Interned: equal types are the same object, so they compare and hash by
    identity.
    """

    __slots__ = ("dtype", "shape")
    _interned: ClassVar[dict[tuple[Shape, DType], Type]] = {}

    shape: Shape
    dtype: DType

    def __new__(cls, shape: Sequence[Any], dtype: DType) -> Type:
        key = (tuple(shape), dtype)
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.shape, found.dtype = key
            cls._interned[key] = found
        return found

    def __repr__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return Type, (self.shape, self.dtype)


class Types(tuple[Type, ...]):
    """The types of the results of a node that has several. Interned: equal ones are the same object."""

    __slots__ = ()
    _interned: ClassVar[dict[tuple[Type, ...], Types]] = {}

    def __new__(cls, types: Iterable[Type]) -> Types:
        key = tuple(types)
        found = cls._interned.get(key)
        if found is None:
            found = cls._interned[key] = super().__new__(cls, key)
        return found

    @property
    def shape(self) -> Shape:
        raise AssertionError(f"a node with the results {self!r} has no shape: take one of its results")

    @property
    def dtype(self) -> DType:
        raise AssertionError(f"a node with the results {self!r} has no dtype: take one of its results")

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self))}{',' * (len(self) == 1)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Types, (tuple(self),)


@dataclass(eq=False)
class Op:
    """An operation, in one record.

    `infer(*types, **attributes)` gives the result's `Type`, raising the user's error. `vjp(g, y, *inputs,
    **attributes)`, on nodes, gives one cotangent (or None) an input. `reference(*arrays, **attributes)`, on
    NumPy arrays, is the meaning of the op and the oracle of its tests.

    `batch(y, size, inputs, batched)` gives what `vmap` makes of a node y of the op: the same for `size`
    examples. Those `inputs` that are `batched` have a dimension of that size in front, which they do not
    have in `y.inputs`; so has the result. Without a rule, or where it gives None, elementwise ops are applied
    to all examples at once, others to one after the other.

    An op with several results infers `Types`; its reference returns a tuple, and its vjp takes as `g` a tuple
    with None where no cotangent arrived. Other nodes take one of them by way of the op `result`.
    """

    name: str
    infer: Callable[..., Type | Types]
    reference: Callable[..., Any] | None
    vjp: Callable[..., Sequence[Node | None]] | None = None
    attributes: tuple[str, ...] = ()
    elementwise: bool = False
    view: bool = False
    """Moves elements without computing: a permutation, a slice, a broadcast."""
    leaf: bool = False
    identity: bool = False
    """Its value is its first input's: it only means something to gradients, or to who runs the graph."""
    effect: bool = False
    batch: Callable[[Node, Any, Sequence[Node], Sequence[bool]], Any] | None = None
    of_graphs: bool = False
    """Some of its attributes are graphs (`graph.closed`). Its vjp is also given `gradients`, to differentiate
    them with.
    """
    late: Callable[[Node], Node] | None = None
    """What a static graph takes in place of a node of this op."""
    no_gradient: str = ""
    """Why there is no gradient, said to who asks for one."""
    doc: str = ""
    user: bool = False
    """Registered by a program, not one of Treadle's own."""
    moves: bool = False
    """Its result is on the device that its only attribute names."""
    made_of: Callable[..., Node] | None = None
    """What is compiled in its place: the same of other ops, a function of the inputs."""
    native: dict[str, Any] = field(default_factory=dict)
    """Kernels that its author wrote, by device."""

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Node:
    """One value of a computation: `op` applied to `inputs` with `attributes` (plain values, in the order the
    op names them).

    `line` is the user's line that made it, `scope` the names of the `scope` blocks around it, `role` forward,
    gradient or update: what a picture colours it by. `binding` is what a leaf stands for: a variable's
    version, a Python number, a random key. `body` is the body of a loop or branch that was being traced when
    it was made.
    """

    __slots__ = (
        "__weakref__",
        "attributes",
        "binding",
        "body",
        "buffer",
        "device",
        "flags",
        "inputs",
        "line",
        "op",
        "role",
        "scope",
        "type",
    )

    op: Op
    inputs: tuple[Node, ...]
    attributes: tuple[Any, ...]
    type: Any
    """A `Type`, or `Types` if it has several results."""
    device: str
    flags: int
    line: Place | None
    scope: tuple[str, ...]
    role: str
    buffer: Any
    binding: Any
    body: Any

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def types(self) -> tuple[Type, ...]:
        """The types of its results, one or several."""
        return self.type if type(self.type) is Types else (self.type,)

    def attribute(self, name: str) -> Any:
        """The attribute of that name."""
        return self.attributes[self.op.attributes.index(name)]

    def keywords(self) -> dict[str, Any]:
        """The attributes by name, as infer, vjp and reference take them."""
        return dict(zip(self.op.attributes, self.attributes, strict=True))

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.type!r}>"

    def __bool__(self) -> bool:
        raise TypeError("a node has no truth value; take its array's")


def bits(value: Any) -> Any:
    """An attribute as a key that differs where type or bits differ: 0.0 and -0.0, 1 and True and 1.0."""
    kind = type(value)
    if kind is int or kind is str or value is None or kind is DType:
        return value
    if kind is tuple:
        return tuple(map(bits, value))
    if kind is float:
        return ("float", struct.pack("<d", value))
    if kind is complex:
        return ("complex", struct.pack("<dd", value.real, value.imag))
    return (kind.__name__, value)


class Surroundings(threading.local):
    """What the code around gives every node made: device, scope names, whether gradients are wanted, the line
    to name, flags, the body of a loop or branch that is being traced.
    """

    device = "cpu"
    scope: tuple[str, ...] = ()
    tracking = True
    line: Place | None = None
    role: str = "forward"
    flags: int = 0
    mapped: tuple[Any, ...] = ()
    """The calls of `vmap` whose function is being called, outermost first."""
    inside: tuple[Any, ...] = ()
    """What stands for each trace and each call of `vmap` around, outermost first: arrays from outside of one
    are not changed in it.
    """
    body: Any = None
    mixed: dict[str, DType] | None = None
    """The dtypes in which operations compute that do not do so in that of their operands, by name."""


surroundings = Surroundings()
_inferred: dict[tuple[Any, ...], Type | Types] = {}
_INFERRED_MOST = 100_000


def make(op: Op, inputs: tuple[Node, ...], attributes: tuple[Any, ...] = ()) -> Node:
    """Make a node, checked at once: `op.infer` raises the user's error. Inference is remembered by types and
    attributes.
    """
    key = (op, bits(attributes) if attributes else (), *[node.type for node in inputs])
    type = _inferred.get(key)
    if type is None:
        type = op.infer(*[node.type for node in inputs], **dict(zip(op.attributes, attributes, strict=True)))
        if len(_inferred) > _INFERRED_MOST:
            _inferred.clear()
        _inferred[key] = type
    flags = 0
    device, apart = surroundings.device, False
    for node in inputs:
        flags |= node.flags
        if node.device != device:
            apart = True
    if op.moves:
        device, flags = attributes[0], flags | LOCATED
    elif apart:
        device = _device_of(op, inputs, device)
    node = new(op, inputs, attributes, type, flags & (TRACKED | STATIC | MAPPED | LOCATED))
    node.device = device
    if flags & STATIC and surroundings.body is None:
        _join_static(node)
    if not surroundings.tracking:
        node.flags = node.flags & (STATIC | MAPPED | LOCATED) | DETACHED
    return node


def _device_of(op: Op, inputs: tuple[Node, ...], asked: str) -> str:
    """Where a node is computed whose inputs are not all where new values are asked for: where their memory
    is.
    """
    located: dict[str, Node] = {}
    for node in inputs:
        if node.flags & LOCATED:
            located.setdefault(node.device, node)
    apart = [device for device in located if device not in HOSTS]
    if len(apart) > 1 or (apart and len(located) > 1):
        told = " and ".join([f"{node.type!r} on {device!r}" for device, node in located.items()])
        raise DeviceError(
            f"[{op.name}] its operands are on different devices: {told}; copy one with .to(device)"
        )
    if apart:
        return apart[0]
    if located and asked not in HOSTS:
        return next(iter(located))
    if asked != "cpu":
        return asked
    return next((node.device for node in inputs if node.device != "cpu"), "cpu")


def located(type: Type, device: str) -> int:
    """The flag of a value in a device's memory; none of a single number on the host, which goes anywhere."""
    return 0 if device in HOSTS and type.shape == () else LOCATED


def new(
    op: Op,
    inputs: tuple[Node, ...],
    attributes: tuple[Any, ...],
    type: Type | Types,
    flags: int = 0,
    line: Place | None = None,
) -> Node:
    """A node without checks."""
    node = Node.__new__(Node)
    node.op = op
    node.inputs = inputs
    node.attributes = attributes
    node.type = type
    node.flags = flags | surroundings.flags
    node.device = surroundings.device
    node.scope = surroundings.scope
    node.role = surroundings.role
    node.body = surroundings.body
    node.line = surroundings.line or line or user_line()
    node.buffer = None
    node.binding = None
    return node


def make_static(node: Node) -> None:
    """Give a node no value outside a door."""
    if not node.flags & STATIC:
        node.flags |= STATIC
        _join_static(node)


def _join_static(node: Node) -> None:
    """Let a static node read what it takes late. While a function is traced there is nothing to be late for:
    what comes from outside is constant.
    """
    if not surroundings.flags:
        node.inputs = tuple(
            [child if child.op.late is None else child.op.late(child) for child in node.inputs]
        )
    pin(node.inputs)


def pin(inputs: Sequence[Node]) -> None:
    """Keep the history of what a static graph reads: it is computed anew in every run, from the variables of
    that run.
    """
    stack = [node for node in inputs if not node.flags & (STATIC | PINNED)]
    while stack:
        node = stack.pop()
        node.flags |= PINNED
        stack.extend(child for child in node.inputs if not child.flags & PINNED)


@contextmanager
def surrounded(**changes: Any):
    """Swap attributes of `surroundings` for a block."""
    before = {name: getattr(surroundings, name) for name in changes}
    for name, value in changes.items():
        setattr(surroundings, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(surroundings, name, value)
