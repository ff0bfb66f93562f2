"""The handle users hold: an `Array` is a node that can be looked at. Operators, conversion, exchange with
NumPy.

Operations only make nodes; a value is computed when it is demanded. In-place syntax makes a new node and
moves the handle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy
import numpy as np

from treadle import dtypes, evaluate, packing, state
from treadle.array_methods import ArrayMethods
from treadle.devices import dlpack, registry
from treadle.dtypes import DType, as_dtype
from treadle.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    IndexingError,
    NameUnknown,
    PlaceholderError,
    ShapeError,
    StateError,
    user_line,
)
from treadle.graph.dimension import Shape, is_known, product
from treadle.graph.node import LOCATED, MAPPED, STATIC, TRACKED, WEAK, Node, Type, surroundings
from treadle.ops import elementwise, indexing, movement
from treadle.ops.record import Operand, cast, expect_convertible, expect_node
from treadle.ops.transfer import to
from treadle.unknown import advising

ArrayLike = Any
"""What functions take: an Array, a Variable, a NumPy array or number, or a Python number."""


class Marked:
    """What a leaf marked `requires_grad` is bound to: the place of its gradient."""

    gradient: Array | None = None


class Array(ArrayMethods):
    """An n-dimensional array, as NumPy's: its values are computed when they are looked at.

    Made by `asarray`, the creation functions, and every operation. Attributes: `shape`, `dtype`, `ndim`,
    `size`, `device`, `T`, `mT`, `grad`.
    """

    __slots__ = ("__weakref__", "_inside", "_node")
    __array_priority__ = 1000

    def __init__(self, node: Node):
        self._node = node
        self._inside = surroundings.inside

    def _wrap(self, node: Node) -> Array:
        return Array(node)

    # What Python's operators, in `ArrayMethods`, are made of.

    def _operate(self, function: Any, other: Any) -> Any:
        if type(other) is Array:
            return Array(function(self.node, other._node))
        operand = _operand_or_none(other)
        return NotImplemented if operand is None else Array(function(self.node, operand))

    def _operate_reversed(self, function: Any, other: Any) -> Any:
        operand = _operand_or_none(other)
        return NotImplemented if operand is None else Array(function(operand, self.node))

    def _operate_in_place(self, function: Any, other: Any) -> Any:
        operand = _operand_or_none(other)
        if operand is None:
            return NotImplemented
        self._move(function(self.node, operand))
        return self

    # -- what it is

    @property
    def node(self) -> Node:
        """The node this handle stands on now."""
        return self._node

    @property
    def shape(self) -> Shape:
        """The sizes of the dimensions: integers, or names in static graphs."""
        return self.node.type.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.node.type.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.node.type.shape)

    @property
    def size(self) -> Any:
        """The number of elements."""
        return product(self.node.type.shape)

    @property
    def nbytes(self) -> int:
        """The size of the value in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> str:
        """The name of the device it is on."""
        return self.node.device

    @property
    def requires_grad(self) -> bool:
        """Whether gradients may be asked of it, through its history or because it was marked."""
        return bool(self.node.flags & TRACKED)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        node = self.node
        if wanted:
            if node.dtype.kind not in dtypes.KINDS["floating"]:
                raise GradientError(
                    f"an array of dtype {node.dtype} has no gradient; convert it with astype(td.float32)"
                )
            if node.flags & (STATIC | MAPPED):
                return
            evaluate.evaluate([node])
            marked = evaluate.data(node.buffer, node.type, node.device, tracked=True)
            marked.binding = Marked()
            self._node = marked
        else:
            evaluate.evaluate([node])
            self._node = evaluate.data(node.buffer, node.type, node.device)

    @property
    def grad(self) -> Array | None:
        """What `backward` has added up for this variable or marked array; None before, or when set
        to None.
        """
        return self.node.binding.gradient if isinstance(self.node.binding, Marked) else None

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if not isinstance(self.node.binding, Marked):
            raise GradientError("only variables and arrays marked with requires_grad = True have a .grad")
        self.node.binding.gradient = value

    @property
    def T(self) -> Array:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(
                f"[T] the array has shape {self.shape}; T is for two dimensions, use td.matrix_transpose "
                f"or td.permute_dims"
            )
        return Array(movement.matrix_transpose(self.node))

    @property
    def mT(self) -> Array:
        """The last two dimensions exchanged."""
        return Array(movement.matrix_transpose(self.node))

    # -- its values

    def numpy(self) -> np.ndarray:
        """The values as a read-only NumPy array, sharing memory where the device is the host.

        Raises:
            PlaceholderError: the array depends on a placeholder.
        """
        node = self.node
        if node.buffer is None:
            evaluate.evaluate([node])
        buffer: Any = node.buffer
        return registry.find(node.device).copy_out(buffer, node.type)

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ShapeError: there is not exactly one element.
        """
        if self.size != 1:
            raise ShapeError(f"[item] the array has shape {self.shape}: item() is for one element")
        value = self.numpy().reshape(()).item()
        return float(value) if self.dtype is dtypes.bfloat16 else value

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def to(self, device: str, /) -> Array:
        """The array on a device; itself if it is there. Gradients go through, and come back to where it was.

        Raises:
            DeviceError: there is no such device.
        """
        target = registry.find(device)
        node = self.node
        if target.name == node.device:
            return self
        if node.buffer is None or node.flags & (TRACKED | STATIC | MAPPED):
            return Array(to(node, target.name))
        return Array(evaluate.data(target.copy_in(self.numpy(), node.type), node.type, target.name))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def to_device(self, device: str, /, *, stream: Any = None) -> Array:
        """The array on a device, as the Array API standard spells `to`.

        Raises:
            DeviceError: there is no such device.
            ArgumentError: a stream is given: no device here takes one.
        """
        if stream is not None:
            raise ArgumentError(f"[to_device] stream={stream!r}: the device {device!r} takes no streams")
        return self.to(device)

    def astype(self, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Array:
        """The array converted to another dtype.

        Args:
            dtype: the new dtype; floating values going to integers are truncated towards zero.
            copy: False returns the array itself where it has the dtype and is on the device.
            device: where to put it; None for where it is.

        Returns:
            Array of the same shape.

        Raises:
            DTypeError: dtype names no dtype, or the array is complex and dtype is real.
            DeviceError: there is no such device.
        """
        node = self.node
        made = elementwise.astype(node, dtype)
        if not copy and made is node and device in (None, node.device):
            return self
        return Array(made) if device is None else Array(made).to(device)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        import treadle
        from treadle.inspection import API_VERSIONS

        if api_version not in (None, *API_VERSIONS):
            raise ArgumentError(
                f"[__array_namespace__] api_version={api_version!r}; there are {', '.join(API_VERSIONS)}"
            )
        return treadle

    def __dlpack__(
        self,
        /,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        return dlpack.capsule(self.numpy(), self.dtype, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU

    def __buffer__(self, flags: int) -> memoryview:
        values: Any = self.numpy()
        return memoryview(values)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __bool__(self) -> bool:
        if self.node.flags & MAPPED and surroundings.mapped:
            raise PlaceholderError(
                "the truth of an array inside td.vmap differs between the examples: use td.where, or compare "
                "outside"
            )
        body = surroundings.body
        if self.node.flags & STATIC and body is not None:
            raise PlaceholderError(
                f"the truth of an array is not known while {body.name} calls its function, once, to see what "
                f"it does: choose with td.cond or td.where"
            )
        if self.node.flags & STATIC:
            line = user_line()
            raise PlaceholderError(
                "the truth of an array that depends on a placeholder is not known while the graph is "
                "built: use td.where, "
                "or compare outside",
                line,
            )
        if self.size != 1:
            raise ShapeError(
                f"the truth of an array of shape {self.shape} is ambiguous: use td.any or td.all"
            )
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in ("int", "uint") or self.ndim:
            raise DTypeError(
                f"{self.node.type!r} cannot be an index: that takes an array of integers without dimensions"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError("a 0-d array has no length")
        return self.shape[0]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Array]:
        if not self.ndim:
            raise ShapeError("a 0-d array cannot be iterated over")
        return (self[i] for i in range(self.shape[0]))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        node = self.node
        if node.flags & MAPPED:
            return f"Array({node.op.name}, {node.type!r}, of one example)"
        if node.flags & STATIC or not is_known(node.type.shape):
            return f"Array({node.op.name}, {node.type!r}, of a static graph)"
        return f"Array({np.array2string(self.numpy(), separator=', ', prefix='Array(')}, dtype={self.dtype})"

    def _repr_html_(self) -> str:
        from treadle.view import array_html

        return array_html(self)

    def __str__(self) -> str:
        node = self.node
        return repr(self) if node.flags & (STATIC | MAPPED) else str(self.numpy())

    def __format__(self, specification: str) -> str:
        return (
            format(self.item(), specification)
            if self.ndim == 0 and specification
            else format(str(self), specification)
        )

    __hash__ = object.__hash__

    def __copy__(self) -> Array:
        return Array(self.node)

    def __deepcopy__(self, memo: dict[int, Any]) -> Array:
        return Array(self.node)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.numpy(), self.dtype.name, self.device)

    # -- gradients

    def backward(self, gradient: ArrayLike | None = None) -> None:
        """Add the gradient of this array to `.grad` of every variable and marked array it depends on.

        Args:
            gradient: what to multiply with, of this array's shape; may be left out for one element.

        Raises:
            GradientError: it has more than one element and no gradient is given, or nothing it depends on
                can have one.
        """
        from treadle import differentiate

        differentiate.backward(self, gradient)

    # -- elements

    def __getitem__(self, key: Any) -> Array:
        mask = _mask_of(key)
        if mask is not None and mask.ndim == 0:  # a new first dimension, of size 1 or 0
            return Array(indexing.index(self.node, None))[: int(bool(mask))]
        return Array(indexing.index(self.node, _as_key(key, self)))

    def __setitem__(self, key: Any, value: ArrayLike) -> None:
        values, mask = as_operand(value), _mask_of(key)
        if mask is not None:
            values_ndim = values.ndim if isinstance(values, Node) else 0
            if mask.ndim == 0:
                values = indexing.index_update(self.node, ..., values)
                self._move(elementwise.where(mask.node, values, self.node))
                return
            if values_ndim <= self.ndim - mask.ndim and mask.shape == self.shape[: mask.ndim]:
                # Chosen by the mask, whose value nobody needs to know.
                self._move(indexing.index_update(self.node, mask.node, values))
                return
        self._move(indexing.index_update(self.node, _as_key(key, self), values))

    def _move(self, node: Node) -> None:
        """Stand on another node from now on."""
        if node.type is not self.node.type:
            raise DTypeError(
                f"an in-place operation keeps shape and dtype: the array is {self.node.type!r}, the result "
                f"{node.type!r}"
            )
        trace = state.pending.trace
        if trace is not None and trace not in self._inside:
            raise StateError(
                "an array from outside is changed in place inside a compiled function: the change would "
                "be made once, while "
                "tracing; return the new value, or keep it in a td.Variable"
            )
        body = surroundings.body
        if body is not None and body not in self._inside:
            raise StateError(
                f"an array from outside is changed in place inside a function that {body.name} runs: return "
                f"the new value"
            )
        if node.flags & MAPPED and surroundings.mapped and surroundings.inside[-1] not in self._inside:
            raise StateError(
                "an array from outside is changed in place inside td.vmap, to the value of one example: "
                "return the new value"
            )
        self._node = node

    def __contains__(self, value: Any) -> bool:
        return bool(Array(elementwise.equal(self.node, as_operand(value))).any())

    # -- names of other systems

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name in _PROBED:
            raise AttributeError(name)
        from treadle.coming_from import advice_for_attribute

        advice = advice_for_attribute("array", name, [n for n in dir(type(self)) if not n.startswith("_")])
        raise NameUnknown(f"an Array has no attribute {name!r}" + (f": {advice}" if advice else ""))


_PROBED = ("_ipython_canary_method_should_not_exist_", "_repr_mimebundle_")


def _mask_of(key: Any) -> Array | None:
    """The array of bools that is the whole key."""
    item = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    return item if isinstance(item, Array) and item.dtype is dtypes.bool else None


def _as_key(key: Any, array: Array) -> Any:
    """An index with arrays as nodes, and masks, whose values are demanded, as integer arrays."""
    items = key if isinstance(key, tuple) else (key,)
    result: list[Any] = []
    for item in items:
        if isinstance(item, Array):
            if item.dtype is dtypes.bool:
                result.extend(_mask_indices(item.numpy(), len(result), array))
                continue
            result.append(item.node)
        elif isinstance(item, (list, np.ndarray)):
            values = np.asarray(item)
            if values.dtype == np.bool_:
                result.extend(_mask_indices(values, len(result), array))
            elif values.dtype.kind in "iu" or values.size == 0:
                result.append(unlocated(values.astype(np.int64)))
            else:
                raise IndexingError(f"an index of dtype {values.dtype}; indices are integers or booleans")
        else:
            result.append(item)
    return tuple(result)


def _mask_indices(mask: np.ndarray, position: int, array: Array) -> list[Node]:
    """The positions where a mask is true, one index array for each of its dimensions."""
    covered = array.shape[position : position + mask.ndim]
    # A dimension without elements chooses none, whatever it stands for.
    fits = len(covered) == mask.ndim and all(m in (n, 0) for m, n in zip(mask.shape, covered))
    if mask.ndim == 0 or not fits:
        raise IndexingError(
            f"a mask of shape {mask.shape} does not fit the dimensions {covered} that it indexes, of an "
            f"array of shape {array.shape}"
        )
    return [unlocated(places.astype(np.int64)) for places in np.nonzero(mask)]


# -- between users' values and nodes


def as_operand(value: ArrayLike) -> Operand:
    """What ops take: the node of an array, a Python number as it is."""
    if isinstance(value, Array):
        return value.node
    if isinstance(value, (bool, int, float, complex)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return unlocated(value)
    if isinstance(value, Node):
        return value
    raise DTypeError(
        f"{type(value).__name__} is not an array; make one with td.asarray"
        if isinstance(value, (list, tuple))
        else f"{type(value).__name__} is neither an array nor a Python number"
    )


def unlocated(values: Any) -> Node:
    """A constant of the host's that goes where the other operands of an expression are."""
    node = asarray(values).node
    node.flags &= ~LOCATED
    return node


def as_node(value: ArrayLike) -> Node:
    """The node of an array or number."""
    return expect_node("array", "value", as_operand(value))


def as_operands(values: Sequence[ArrayLike]) -> list[Operand]:
    """The operands of a sequence of arrays."""
    if isinstance(values, Array):
        values = list(values)
    return [as_operand(value) for value in values]


def wrap(result: Any) -> Any:
    """Nodes as arrays, in whatever lists or tuples they come."""
    if type(result) is Node:
        return Array(result)
    if isinstance(result, (list, tuple)):
        return type(result)(wrap(item) for item in result)
    return result


def asarray(obj: Any, /, *, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> Array:
    """An array of the values of a Python number, nested lists, a NumPy array, or any object of the buffer or
    DLPack protocol.

    Args:
        obj: the values. Python floats become float32, ints int64; NumPy arrays keep their dtype.
        dtype: the element type; None takes it from the values.
        device: where to put it; None for the current device.
        copy: None copies memory that others can still write; False borrows it (the caller must not write it
            any more); True
            always copies.

    Returns:
        Array of the values' shape.

    Raises:
        DTypeError: the values have no dtype of Treadle, are ragged, or are complex where dtype is real.
        ArgumentError: copy=False where a copy is needed.
    """
    device = as_device(device)
    if isinstance(obj, Array):
        return _array_of_array(obj, dtype, device, copy)
    device = device or surroundings.device
    wanted = None if dtype is None else as_dtype(dtype)
    array = _as_numpy(obj, wanted)
    target = wanted or _dtype_of(obj, array)
    if array.dtype.kind == "c":
        given = Type(array.shape, as_dtype("complex64" if array.itemsize == 8 else "complex128"))
        expect_convertible("asarray", "obj", given, "complex", target)
    contiguous = np.ascontiguousarray(array, dtype=target.numpy).reshape(array.shape)
    shared = _shares_memory(obj)
    # Of an array without elements nothing is copied, and nothing is shared.
    if copy is False and not (shared and (array.size == 0 or np.shares_memory(contiguous, array))):
        raise ArgumentError(
            f"[asarray] copy=False, but {type(obj).__name__} of {array.dtype} {array.shape} must be copied "
            f"to be contiguous {target}"
        )
    of = Type(array.shape, target)
    borrow = copy is False and shared and contiguous.flags.aligned
    return Array(evaluate.data(registry.find(device).copy_in(contiguous, of, copy=not borrow), of, device))


def _array_of_array(x: Array, dtype: Any, device: str | None, copy: bool | None) -> Array:
    """`asarray` of an array: it is never copied, since what it holds never changes; copy=False gives the
    array itself, so that in-place syntax on one shows in the other.
    """
    node = x.node
    target = node.dtype if dtype is None else as_dtype(dtype)
    expect_convertible("asarray", "obj", node.type, node.dtype.kind, target)
    made = cast(node, target)
    # A device that is asked for by `with td.device` counts; the usual one leaves the array where it is.
    place = device or (surroundings.device if surroundings.device != "cpu" else node.device)
    stays = place == node.device or bool(node.flags & STATIC)
    if copy is False:
        if made is not node or not stays:
            raise ArgumentError(
                f"[asarray] copy=False, but {node.type!r} on {node.device!r} must be copied to be "
                f"{made.dtype} on {place!r}"
            )
        if type(x) is Array:
            return x
    return Array(made) if stays else Array(made).to(place)


def as_device(name: str | None) -> str | None:
    """The name of a device that is there, or None.

    Raises:
        DeviceError: there is no such device.
    """
    return None if name is None else registry.find(name).name


def borrowed(value: Any, dtype: Any = None) -> Array:
    """A value as an array without a copy where that can be: for memory that is only read, until a run ends.

    `dtype` is for values that have none of their own.
    """
    if not hasattr(value, "dtype"):
        return asarray(value, dtype=dtype)
    flags = getattr(value, "flags", None)
    usable = _shares_memory(value) and flags is not None and flags.c_contiguous and flags.aligned
    return asarray(value, copy=False if usable else None)


def _as_numpy(obj: Any, dtype: DType | None) -> np.ndarray:
    """Any object's values as a NumPy array."""
    if isinstance(obj, np.ndarray):
        return obj
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(obj)
    if isinstance(obj, (list, tuple)):
        obj = _nested(obj)
    elif not isinstance(obj, (bytes, np.generic)) and _has_buffer(obj):
        return np.asarray(memoryview(obj))
    try:
        # Python integers are read in the dtype asked for: together, some would be taken for floats.
        whole = dtype is not None and dtype.kind in dtypes.KINDS["integer"]
        array = np.asarray(obj, dtype.numpy if whole else None)  # type: ignore[union-attr]
    except (ValueError, OverflowError) as error:
        raise DTypeError(f"[asarray] {error}") from None
    if array.dtype == object:
        raise DTypeError(f"[asarray] {type(obj).__name__} {obj!r:.60} has no numeric dtype")
    return array


def _has_buffer(obj: Any) -> bool:
    """Whether an object is of the buffer protocol, which before Python 3.12 has no name to look for."""
    try:
        memoryview(obj)
    except TypeError:
        return False
    return True


def _shares_memory(obj: Any) -> bool:
    """Whether an object has memory that an array of NumPy can share."""
    if isinstance(obj, (bool, int, float, complex, list, tuple, bytes, np.generic)):
        return False
    return isinstance(obj, np.ndarray) or hasattr(obj, "__dlpack__") or _has_buffer(obj)


def _nested(obj: Any) -> Any:
    """Nested lists with the arrays in them as NumPy's."""
    if isinstance(obj, (list, tuple)):
        return [_nested(item) for item in obj]
    return obj.numpy() if isinstance(obj, Array) else obj


def _dtype_of(obj: Any, array: np.ndarray) -> DType:
    """The dtype of values without one of their own is the default of their kind."""
    found = as_dtype(array.dtype)
    if isinstance(obj, np.generic) or _shares_memory(obj):
        return found
    if isinstance(obj, (list, tuple)) and found.kind == "float" and found is not dtypes.float64:
        return found
    return dtypes.DEFAULTS[found.kind]


def _operand_or_none(value: Any) -> Operand | None:
    if isinstance(value, Array):
        return value.node
    if isinstance(value, (bool, int, float, complex)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return unlocated(value)
    return None


Array._operand = staticmethod(as_operand)
for _name, _method in vars(ArrayMethods).items():
    if not _name.startswith("_") and callable(_method):
        setattr(Array, _name, advising(_method))


# -- variables


class Variable(Array):
    """A named cell that outlives graphs: a parameter, an optimizer's state, a running statistic.

    An array like any other when read; `assign` gives it its next value, pending until something is demanded.
    ``w += x`` and ``w[i] = v`` assign.

    Args:
        value: the first value, array or nested lists, or an array of random numbers.
        name: what messages and pictures call it.
        dtype: element type; None takes it from the value.
        trainable: whether `backward` gives it a gradient.
        layout: the order in which its dimensions are stored; None to leave that to the first compiled step
            that trains it. What is read and saved does not depend on it.

    >>> import treadle as td
    >>> w = td.Variable([1.0, 2.0], name="w")
    >>> w.assign(w * 2)
    >>> w.tolist()
    [2.0, 4.0]
    """

    __slots__ = ("cell",)

    def __init__(
        self,
        value: ArrayLike,
        name: str | None = None,
        *,
        dtype: Any = None,
        trainable: bool = True,
        layout: Sequence[int] | None = None,
    ):
        if state.pending.trace is not None:
            raise StateError(
                "a Variable is made inside a compiled function: it would be made anew for every trace; "
                "make it outside"
            )
        array = asarray(value, dtype=dtype)
        node = array.node
        if node.flags & STATIC:
            raise PlaceholderError("the first value of a Variable cannot depend on a placeholder")
        evaluate.evaluate([node])
        order = None if layout is None else tuple(layout)
        if order is not None and sorted(order) != list(range(array.ndim)):
            raise ArgumentError(
                f"layout={layout} is not an order of the {array.ndim} dimensions of {name or 'the variable'}"
            )
        self.cell = state.Cell(name, node.type, node.device, None, trainable, order)
        self.cell.current.buffer = packing.packed(self.cell, array.numpy())
        self._inside = ()

    def _begin_without_value(self, shape: Shape, dtype: Any, name: str, trainable: bool) -> None:
        """Be a variable that has no value yet, instead of what `__init__` does."""
        self.cell = state.Cell(name, Type(shape, as_dtype(dtype)), surroundings.device, None, trainable)
        self._inside = ()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients may be asked of it: of floating dtype always."""
        return self.dtype.kind in dtypes.KINDS["floating"]

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted != self.requires_grad:
            raise GradientError(
                f"requires_grad is a mark for arrays; {self.name} is a variable of dtype {self.dtype}: make "
                f"it with trainable=False to keep it out of backward(), or use td.stop_gradient"
            )

    @property
    def grad(self) -> Array | None:
        """What `backward` has added up; None before, or when set to None."""
        return self.cell.gradient

    @grad.setter
    def grad(self, value: Array | None) -> None:
        self.cell.gradient = value

    @property
    def name(self) -> str:
        """What messages and pictures call it."""
        return self.cell.name

    @property
    def device(self) -> str:
        """The name of the device it is on."""
        return self.cell.device

    @property
    def trainable(self) -> bool:
        """Whether `backward` gives it a gradient."""
        return self.cell.trainable

    @property
    def node(self) -> Node:
        """The node of the version that the running code sees."""
        return state.read(self.cell)

    def move(self, device: str) -> None:
        """Put the variable itself on another device, where `to` gives a copy of its value.

        Raises:
            DeviceError: there is no such device.
        """
        name = registry.find(device).name
        if name == self.cell.device:
            return
        evaluate.run_pending()
        cell = self.cell
        with cell.lock:
            buffer = cell.current.buffer
            if buffer is not None:
                buffer = registry.placed(buffer, cell.type, name)
            cell.device = name
            version = state.replace(cell, buffer, None, cell.current.layout)
            if version is not None:
                evaluate.end_history(version)
        if cell.gradient is not None:
            cell.gradient = cell.gradient.to(name)

    def assign(self, value: ArrayLike) -> None:
        """Give the variable its next value, pending until something is demanded; it goes to where the
        variable is.

        Raises:
            StateError: shape or dtype differ, or the value depends on a placeholder.
        """
        state.assign(self.cell, self.value_node(value), evaluate.run_pending)

    def value_node(self, value: ArrayLike) -> Node:
        """What is to be assigned as a node: a number stands for every element."""
        operand = as_operand(value)
        if type(operand) is Node and not operand.flags & WEAK:
            return operand
        return movement.broadcast(cast(operand, self.cell.type.dtype), self.cell.type.shape)

    def _move(self, node: Node) -> None:
        state.assign(self.cell, node, evaluate.run_pending)

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {super().__repr__()})"

    def __copy__(self) -> Variable:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        return _variable(type(self), self, self.name, self.trainable, self.cell.layout)

    def __reduce__(self) -> tuple[Any, ...]:
        array = super().__reduce__()[1]
        return _unpickled_variable, (type(self), array, self.name, self.trainable, self.cell.layout)


def _unpickled(values: np.ndarray, dtype: str, device: str) -> Array:
    return asarray(values, dtype=dtypes.BY_NAME[dtype], device=device)


def _variable(kind: type[Variable], value: Array, name: str, trainable: bool, layout: Any) -> Variable:
    """A variable of a subclass too, whose own way of being made is not known here."""
    made = kind.__new__(kind)
    Variable.__init__(made, value, name, trainable=trainable, layout=layout)
    return made


def _unpickled_variable(
    kind: type[Variable], array: tuple[Any, ...], name: str, trainable: bool, layout: Any
) -> Variable:
    return _variable(kind, _unpickled(*array), name, trainable, layout)


def update(variable: Variable, value: ArrayLike) -> Array:
    """In a static graph: the value, which becomes the variable's when a session or function computes it.

    Args:
        variable: the variable to change.
        value: its next value, of its shape and dtype.

    Returns:
        Array to put among the fetches.

    Raises:
        StateError: shape or dtype differ.

    >>> import treadle as td
    >>> n = td.Variable(0.0)
    >>> step = td.update(n, n + 1)
    >>> float(td.Session().run(step)), float(n)
    (1.0, 1.0)
    """
    return Array(state.update(variable.cell, variable.value_node(value)))


def assignments() -> Any:
    """A block whose assignments take effect together, all of them or none; variables keep their values in it.

    >>> import treadle as td
    >>> a, b = td.Variable(1.0), td.Variable(2.0)
    >>> with td.assignments():
    ...     a.assign(b)
    ...     b.assign(a)
    >>> float(a), float(b)
    (2.0, 1.0)
    """
    return state.assignments(evaluate.run_pending)
