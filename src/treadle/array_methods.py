"""The methods of arrays that are public functions too. Generated from the op records by ``./dev
generate``: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.graph.node import Node
from treadle.ops import contraction as _contraction
from treadle.ops import cumulative as _cumulative
from treadle.ops import elementwise as _elementwise
from treadle.ops import gather as _gather
from treadle.ops import movement as _movement
from treadle.ops import reduction as _reduction
from treadle.ops import sort as _sort

if TYPE_CHECKING:
    from treadle.array import Array


class ArrayMethods:
    """Base of `Array`."""

    __slots__ = ()

    @property
    def node(self) -> Node:
        """The node this handle stands on now."""
        raise NotImplementedError

    def _wrap(self, node: Node) -> Array:
        raise NotImplementedError

    _operand: Any

    def _operate(self, function: Any, other: Any) -> Any:
        raise NotImplementedError

    _operate_reversed = _operate_in_place = _operate

    def __add__(self, other: Any) -> Array:
        return self._operate(_elementwise.add, other)

    def __radd__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.add, other)

    def __iadd__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.add, other)

    def __sub__(self, other: Any) -> Array:
        return self._operate(_elementwise.subtract, other)

    def __rsub__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.subtract, other)

    def __isub__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.subtract, other)

    def __mul__(self, other: Any) -> Array:
        return self._operate(_elementwise.multiply, other)

    def __rmul__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.multiply, other)

    def __imul__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.multiply, other)

    def __truediv__(self, other: Any) -> Array:
        return self._operate(_elementwise.divide, other)

    def __rtruediv__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.divide, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.divide, other)

    def __floordiv__(self, other: Any) -> Array:
        return self._operate(_elementwise.floor_divide, other)

    def __rfloordiv__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.floor_divide, other)

    def __ifloordiv__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.floor_divide, other)

    def __mod__(self, other: Any) -> Array:
        return self._operate(_elementwise.remainder, other)

    def __rmod__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.remainder, other)

    def __imod__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.remainder, other)

    def __pow__(self, other: Any) -> Array:
        return self._operate(_elementwise.pow, other)

    def __rpow__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.pow, other)

    def __ipow__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.pow, other)

    def __matmul__(self, other: Any) -> Array:
        return self._operate(_contraction.matmul, other)

    def __rmatmul__(self, other: Any) -> Array:
        return self._operate_reversed(_contraction.matmul, other)

    def __imatmul__(self, other: Any) -> Any:
        return self._operate_in_place(_contraction.matmul, other)

    def __and__(self, other: Any) -> Array:
        return self._operate(_elementwise.bitwise_and, other)

    def __rand__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.bitwise_and, other)

    def __iand__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.bitwise_and, other)

    def __or__(self, other: Any) -> Array:
        return self._operate(_elementwise.bitwise_or, other)

    def __ror__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.bitwise_or, other)

    def __ior__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.bitwise_or, other)

    def __xor__(self, other: Any) -> Array:
        return self._operate(_elementwise.bitwise_xor, other)

    def __rxor__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.bitwise_xor, other)

    def __ixor__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.bitwise_xor, other)

    def __lshift__(self, other: Any) -> Array:
        return self._operate(_elementwise.bitwise_left_shift, other)

    def __rlshift__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.bitwise_left_shift, other)

    def __ilshift__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.bitwise_left_shift, other)

    def __rshift__(self, other: Any) -> Array:
        return self._operate(_elementwise.bitwise_right_shift, other)

    def __rrshift__(self, other: Any) -> Array:
        return self._operate_reversed(_elementwise.bitwise_right_shift, other)

    def __irshift__(self, other: Any) -> Any:
        return self._operate_in_place(_elementwise.bitwise_right_shift, other)

    def __eq__(self, other: Any) -> Array:  # type: ignore[override]
        return self._operate(_elementwise.equal, other)

    def __ne__(self, other: Any) -> Array:  # type: ignore[override]
        return self._operate(_elementwise.not_equal, other)

    def __lt__(self, other: Any) -> Array:
        return self._operate(_elementwise.less, other)

    def __le__(self, other: Any) -> Array:
        return self._operate(_elementwise.less_equal, other)

    def __gt__(self, other: Any) -> Array:
        return self._operate(_elementwise.greater, other)

    def __ge__(self, other: Any) -> Array:
        return self._operate(_elementwise.greater_equal, other)

    def __neg__(self) -> Array:
        return self._wrap(_elementwise.negative(self.node))

    def __pos__(self) -> Array:
        return self._wrap(_elementwise.positive(self.node))

    def __abs__(self) -> Array:
        return self._wrap(_elementwise.abs(self.node))

    def __invert__(self) -> Array:
        return self._wrap(_elementwise.bitwise_invert(self.node))

    __hash__ = object.__hash__

    def all(self, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """Whether all elements over dimensions are true (not zero).

        Args:
            x: array of any dtype.
            axis: the dimensions; None for all.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array of dtype bool; True where there are no elements.

        Raises:
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.all(self.node, axis=axis, keepdims=keepdims))

    def any(self, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """Whether any element over dimensions is true (not zero).

        Args:
            x: array of any dtype.
            axis: the dimensions; None for all.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array of dtype bool; False where there are no elements.

        Raises:
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.any(self.node, axis=axis, keepdims=keepdims))

    def argmax(self, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
        """The index of the first largest element; of the first NaN, if there is one.

        Args:
            x: array of real dtype.
            axis: along which dimension; None for the flattened array.
            keepdims: leave the dimension in place with size 1.

        Returns:
            Array of dtype int64.

        Raises:
            ShapeError: there are no elements.
            ArgumentError: axis is out of range.
        """
        return self._wrap(_reduction.argmax(self.node, axis=axis, keepdims=keepdims))

    def argmin(self, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
        """The index of the first smallest element; of the first NaN, if there is one.

        Args:
            x: array of real dtype.
            axis: along which dimension; None for the flattened array.
            keepdims: leave the dimension in place with size 1.

        Returns:
            Array of dtype int64.

        Raises:
            ShapeError: there are no elements.
            ArgumentError: axis is out of range.
        """
        return self._wrap(_reduction.argmin(self.node, axis=axis, keepdims=keepdims))

    def argsort(self, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
        """The indices that sort an array along a dimension; NaN counts as larger than any number.

        Args:
            x: array of real dtype.
            axis: the dimension.
            descending: from the largest to the smallest.
            stable: whether equal elements must keep their order; they do in any case.

        Returns:
            Array of dtype int64 and the same shape, to be given to `take_along_axis`.

        Raises:
            DTypeError: x is not of a real dtype.
            ArgumentError: axis is out of range.
        """
        return self._wrap(_sort.argsort(self.node, axis=axis, descending=descending, stable=stable))

    def cumulative_prod(
        self, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
    ) -> Array:
        """The product of each element and all before it along a dimension.

        Args:
            x: array of numeric or bool dtype.
            axis: the dimension; may be left out where x has only one.
            dtype: of the result, as in `cumulative_sum`.
            include_initial: begin with the product of nothing, 1, so that the dimension grows by one.

        Returns:
            Array of the same shape, or one longer along `axis`.

        Raises:
            ArgumentError: axis is out of range, or missing where x has several dimensions.
        """
        return self._wrap(
            _cumulative.cumulative_prod(self.node, axis=axis, dtype=dtype,
            include_initial=include_initial)
        )

    def cumulative_sum(
        self, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
    ) -> Array:
        """The sum of each element and all before it along a dimension.

        Args:
            x: array of numeric or bool dtype.
            axis: the dimension; may be left out where x has only one.
            dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
                uint64).
            include_initial: begin with the sum of nothing, 0, so that the dimension grows by one.

        Returns:
            Array of the same shape, or one longer along `axis`.

        Raises:
            ArgumentError: axis is out of range, or missing where x has several dimensions.
        """
        return self._wrap(
            _cumulative.cumulative_sum(self.node, axis=axis, dtype=dtype,
            include_initial=include_initial)
        )

    def diagonal(self, /, *, offset: int = 0) -> Array:
        """The diagonal of the matrices in the last two dimensions.

        Args:
            x: array of at least two dimensions.
            offset: which diagonal: 0 for the main one, positive above it, negative below.

        Returns:
            Array with those two dimensions replaced by one, the diagonal; it is empty where there is none.

        Raises:
            ShapeError: x has fewer than two dimensions.
            ArgumentError: offset is no integer.
        """
        return self._wrap(_gather.diagonal(self.node, offset=offset))

    def max(self, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The largest element over dimensions; NaN if there is one.

        Args:
            x: array of real dtype.
            axis: the dimensions; None for all.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array without the dimensions.

        Raises:
            ShapeError: there are no elements.
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.max(self.node, axis=axis, keepdims=keepdims))

    def mean(self, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The arithmetic mean over dimensions.

        Args:
            x: array of floating dtype.
            axis: the dimensions; None for all.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array of x's dtype; NaN where there are no elements.

        Raises:
            DTypeError: x is not of a floating dtype.
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.mean(self.node, axis=axis, keepdims=keepdims))

    def min(self, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The smallest element over dimensions; NaN if there is one.

        Args:
            x: array of real dtype.
            axis: the dimensions; None for all.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array without the dimensions.

        Raises:
            ShapeError: there are no elements.
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.min(self.node, axis=axis, keepdims=keepdims))

    def prod(
        self, /, *, axis: int | Sequence[int] | None = None, dtype: Any = None, keepdims: bool = False
    ) -> Array:
        """The product over dimensions.

        Args:
            x: array of numeric or bool dtype.
            axis: the dimensions; None for all.
            dtype: of the result, as in `sum`.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array without the dimensions; 1 where there is nothing to multiply.

        Raises:
            ArgumentError: axis is out of range or repeated.
            DTypeError: x is complex and dtype is real.
        """
        return self._wrap(_reduction.prod(self.node, axis=axis, dtype=dtype, keepdims=keepdims))

    def reshape(self, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Array:
        """The same elements, in row-major order, in another shape.

        Args:
            x: array of any dtype.
            shape: the new sizes; one of them may be -1 and is then computed.
            copy: as the standard has it. Every value of it gives the same: what an array holds is never
                changed, in-place syntax makes a new one.

        Returns:
            Array of the new shape; no copy is made where none is needed.

        Raises:
            ShapeError: the numbers of elements differ.
        """
        return self._wrap(_movement.reshape(self.node, shape, copy=copy))

    def sort(self, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
        """The elements in order along a dimension; NaN counts as larger than any number.

        Args:
            x: array of real dtype.
            axis: the dimension.
            descending: from the largest to the smallest.
            stable: whether equal elements must keep their order; they do in any case.

        Returns:
            Array of the same shape and dtype.

        Raises:
            DTypeError: x is not of a real dtype.
            ArgumentError: axis is out of range.
        """
        return self._wrap(_sort.sort(self.node, axis=axis, descending=descending, stable=stable))

    def squeeze(self, /, axis: int | Sequence[int]) -> Array:
        """Without the given dimensions, which must be of size 1.

        Args:
            x: array of any dtype.
            axis: the dimensions to leave out.

        Returns:
            Array with as many fewer dimensions.

        Raises:
            ShapeError: one of them is not of size 1.
        """
        return self._wrap(_movement.squeeze(self.node, axis))

    def std(
        self, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: bool =
        False
    ) -> Array:
        """The standard deviation over dimensions: the square root of `var`.

        Args:
            x: array of real floating dtype.
            axis: the dimensions; None for all.
            correction: subtracted from the number of elements in the divisor.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array of x's dtype.

        Raises:
            DTypeError: x is not of a real floating dtype.
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.std(self.node, axis=axis, correction=correction, keepdims=keepdims))

    def sum(
        self, /, *, axis: int | Sequence[int] | None = None, dtype: Any = None, keepdims: bool = False
    ) -> Array:
        """The sum over dimensions.

        Args:
            x: array of numeric or bool dtype.
            axis: the dimensions to sum over; None for all.
            dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
                uint64).
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array without the dimensions; 0 where there is nothing to sum.

        Raises:
            ArgumentError: axis is out of range or repeated.
            DTypeError: x is complex and dtype is real.
        """
        return self._wrap(_reduction.sum(self.node, axis=axis, dtype=dtype, keepdims=keepdims))

    def take(self, indices: Any, /, *, axis: int | None = None) -> Array:
        """Slices of x along one dimension, at places given by an array.

        Args:
            x: array of any dtype.
            indices: array of integers of any shape; negative ones count from the end.
            axis: the dimension; may be left out where x has only one.

        Returns:
            Array of x's dtype in whose shape the dimension is replaced by the shape of the indices.

        Raises:
            ArgumentError: axis is out of range, or missing where x has several dimensions.
            IndexingError: indices are not integers, or (when the graph runs) one is out of range.
        """
        return self._wrap(_gather.take(self.node, self._operand(indices), axis=axis))

    def var(
        self, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: bool =
        False
    ) -> Array:
        """The variance over dimensions.

        Args:
            x: array of real floating dtype.
            axis: the dimensions; None for all.
            correction: subtracted from the number of elements in the divisor; 1 gives the unbiased estimate.
            keepdims: leave the dimensions in place with size 1.

        Returns:
            Array of x's dtype.

        Raises:
            DTypeError: x is not of a real floating dtype.
            ArgumentError: axis is out of range or repeated.
        """
        return self._wrap(_reduction.var(self.node, axis=axis, correction=correction, keepdims=keepdims))
