"""Ops that users add: a record of their own from a NumPy function, a shape rule and a gradient rule, and
kernels for it.

What the record's functions see is what users know: arrays in gradients, NumPy arrays in references. A kernel
as an expression is a graph of elementwise ops in disguise, so that it fuses, and runs in every dtype.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.array import Array, ArrayLike, as_node, as_operand
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError, DeviceError, DTypeError, GradientError, ShapeError
from treadle.expression import parse
from treadle.graph.dimension import Dimension
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.record import OPS, broadcast, cast, expect_node, register, results, together

PLAIN = (bool, int, float, complex, str, type(None), DType)
DEVICES = ("cpu",)


def op(
    name: str,
    reference: Callable[..., Any] | None = None,
    *,
    infer: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    elementwise: bool = False,
    replace: bool = False,
) -> Any:
    """Add an op: a function of arrays with a meaning, a type rule and a gradient rule of its own.

    For use as a decorator of the reference, too. It is computed by the reference, between the native parts of
    a program, unless it is given a kernel: see `UserOp.kernel`.

    Args:
        name: by which graphs and files call it; an identifier that no other op has.
        reference: function of NumPy arrays, which it must not change. Its keyword-only parameters are the
            op's attributes: plain values.
        infer: ``infer(*types, **attributes)``, types with `.shape` and `.dtype`, gives the result's
            ``(shape, dtype)``, or one of the types; a list of them for several results. It may raise errors.
            May be left out of elementwise ops, whose result is like their operands.
        vjp: ``vjp(g, y, *inputs, **attributes)``, on arrays, gives the cotangent of each input, or None for
            none; for one input it may be given alone.
        elementwise: the operands broadcast together and promote to one dtype, and so it maps over examples.
        replace: take the place of an op of that name which a program has added.

    Returns:
        UserOp: call it on arrays, with attributes by keyword.

    Raises:
        ArgumentError: there is an op of that name, or a part is missing.

    >>> import treadle as td
    >>> import numpy as np
    >>> @td.op("doc_cube", elementwise=True, vjp=lambda g, y, x: 3 * x**2 * g)
    ... def cube(x):
    ...     return x**3
    >>> x = td.asarray([1.0, 2.0])
    >>> cube(x).tolist(), td.gradients(cube(x).sum(), x).tolist()
    ([1.0, 8.0], [3.0, 12.0])
    """
    if reference is None:
        return lambda function: op(
            name, function, infer=infer, vjp=vjp, elementwise=elementwise, replace=replace
        )
    return UserOp(name, reference, infer, vjp, elementwise, replace)


class UserOp:
    """What `op` makes: a function of arrays."""

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        infer: Callable[..., Any] | None,
        vjp: Callable[..., Any] | None,
        elementwise: bool,
        replace: bool,
    ):
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentError(f"[op] name={name!r}: a name is an identifier, such as 'my_op'")
        known = OPS.get(name)
        if known is not None and not (replace and known.user):
            hint = "pass replace=True to take its place" if known.user else "it is one of Treadle's own"
            raise ArgumentError(f"[op] there is an op {name!r} already: {hint}; or choose another name")
        if infer is None and not elementwise:
            raise ArgumentError(
                f"[op] {name!r} needs infer=, which gives the result's shape and dtype: it is not elementwise"
            )
        self.__name__ = name
        self.__doc__ = reference.__doc__
        parameters = inspect.signature(reference).parameters.values()
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.operands = tuple(
            [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        )
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in keywords}
        self.elementwise = elementwise
        self._infer, self._reference, self._vjp = infer, reference, vjp
        self.record = Op(
            name,
            self._inferred,
            self._computed,
            None if vjp is None else self._pulled,
            tuple(self.defaults),
            elementwise=elementwise,
            no_gradient="" if vjp else "it was added without vjp=",
            doc=inspect.getdoc(reference) or "",
            user=True,
        )
        OPS.pop(name, None)
        register(self.record)

    def __repr__(self) -> str:
        return f"<op {self.__name__}({', '.join((*self.operands, *self.defaults))})>"

    def __call__(self, *operands: ArrayLike, **attributes: Any) -> Any:
        name = self.__name__
        if len(operands) < len(self.operands) or (len(operands) > len(self.operands) and not self.variadic):
            raise ArgumentError(
                f"[{name}] takes {len(self.operands)} arrays ({', '.join(self.operands)}), "
                f"got {len(operands)}"
            )
        unknown = set(attributes) - set(self.defaults)
        if unknown:
            known = ", ".join(self.defaults) or "none"
            raise ArgumentError(f"[{name}] has no attribute {sorted(unknown)[0]!r}; there are: {known}")
        values = []
        for key, default in self.defaults.items():
            value = attributes.get(key, default)
            if value is inspect.Parameter.empty:
                raise ArgumentError(f"[{name}] needs the attribute {key!r}")
            values.append(_plain(name, key, value))
        given = [as_operand(x) for x in operands]
        if self.elementwise:
            nodes, _ = together(name, given, self.operands if len(given) == len(self.operands) else ())
        else:
            labels = itertools.chain(self.operands, itertools.repeat("an operand"))
            nodes = [expect_node(name, label, x) for label, x in zip(labels, given, strict=False)]
        found = [Array(node) for node in results(make(self.record, tuple(nodes), tuple(values)))]
        return found if len(found) > 1 else found[0]

    # -- what the record holds

    def _inferred(self, *types: Type, **attributes: Any) -> Type | Types:
        if self._infer is None:
            return types[0]
        found = self._infer(*types, **attributes)
        if isinstance(found, list):
            return Types([self._type(item) for item in found])
        return self._type(found)

    def _type(self, found: Any) -> Type:
        if isinstance(found, Type):
            return found
        try:
            shape, dtype = found
            sizes = tuple(shape)
        except TypeError:
            sizes, dtype = (None,), None
        except ValueError:
            sizes, dtype = (None,), None
        if not all(isinstance(size, Dimension) or (type(size) is int and size >= 0) for size in sizes):
            raise ShapeError(
                f"[{self.__name__}] infer gives {found!r}; expected (shape, dtype), a type of an operand, or "
                f"a list of them"
            )
        return Type(sizes, as_dtype(dtype))

    def _computed(self, *arrays: np.ndarray, **attributes: Any) -> Any:
        views = [array.view() for array in arrays]
        for view in views:
            # They are other nodes' values.
            view.flags.writeable = False
        return self._reference(*views, **attributes)

    def _pulled(self, g: Any, y: Node, *inputs: Node, **attributes: Any) -> list[Node | None]:
        assert self._vjp is not None
        several = isinstance(g, tuple)
        cotangent = tuple([None if part is None else Array(part) for part in g]) if several else Array(g)
        value = [Array(node) for node in results(y)] if several else Array(y)
        parts = self._vjp(cotangent, value, *[Array(node) for node in inputs], **attributes)
        parts = list(parts) if isinstance(parts, (tuple, list)) else [parts]
        if len(parts) != len(inputs):
            raise GradientError(
                f"[{self.__name__}] its vjp gives {len(parts)} cotangents for {len(inputs)} inputs", y.line
            )
        return [
            self._cotangent(i, part, node, y)
            for i, (part, node) in enumerate(zip(parts, inputs, strict=True))
        ]

    def _cotangent(self, i: int, part: Any, node: Node, y: Node) -> Node | None:
        if part is None or node.dtype.kind not in dtypes.KINDS["floating"]:
            return None
        found = as_node(part)
        found = found if found.ndim else broadcast(found, node.shape)
        if found.shape != node.shape:
            raise GradientError(
                f"[{self.__name__}] its vjp gives a cotangent of shape {found.shape} for input {i} of shape "
                f"{node.shape}",
                y.line,
            )
        return cast(found, node.dtype)

    # -- kernels

    def kernel(
        self,
        device: str,
        *,
        expression: str | None = None,
        llvm_ir: str | Callable[..., str] | None = None,
        tasks: int | Callable[..., int] = 1,
        scratch_nbytes: int = 0,
    ) -> UserOp:
        """Give the op a kernel, which programs compiled from now on use.

        Args:
            device: "cpu".
            expression: of an elementwise op: a Python expression of the operands' and attributes' names, with
                operators, numbers, and Treadle's elementwise functions. It joins the loops around it.
            llvm_ir: the text of an LLVM module that defines
                ``void @kernel(ptr operands, i64 first, i64 last, ptr scratch)``; or a function that gives it
                for ``(*types, **attributes)`` of the inputs. `operands` points to the addresses of the inputs
                and then the results, each contiguous in row-major order.
            tasks: into how many independent pieces the work is cut: the kernel is called for ranges of them,
                from any thread. A number, or a function like llvm_ir.
            scratch_nbytes: memory of its own that each thread needs.

        Returns:
            The op itself.

        Raises:
            ArgumentError: it does not parse, calls something outside, or does not fit the op.
            DeviceError: there is no such device.
        """
        if device not in DEVICES:
            raise DeviceError(
                f"[{self.__name__}] kernels can be given for {', '.join(DEVICES)}, not {device!r}"
            )
        if (expression is None) == (llvm_ir is None):
            raise ArgumentError(f"[{self.__name__}] a kernel is either an expression or llvm_ir")
        if expression is not None:
            if not self.elementwise or self.variadic:
                raise ArgumentError(
                    f"[{self.__name__}] an expression is for elementwise ops of a fixed number of operands"
                )
            written = parse(self.__name__, expression, self.operands, tuple(self.defaults))

            def made_of(*inputs: Node, **attributes: Any) -> Node:
                value = written(dict(zip(self.operands, inputs, strict=True)) | attributes)
                wanted: Any = self._inferred(*[node.type for node in inputs], **attributes)
                found = cast(value, wanted.dtype)
                found = found if found.ndim else broadcast(found, wanted.shape)
                if found.shape != wanted.shape:
                    raise ShapeError(
                        f"[{self.__name__}] its expression gives {found.type!r}, infer {wanted!r}"
                    )
                return found

            self.record.made_of, self.record.native = made_of, {}
            return self
        from treadle.devices.cpu.user_kernel import UserKernel, check

        if isinstance(llvm_ir, str):
            check(self.__name__, llvm_ir)
        assert llvm_ir is not None
        self.record.native["cpu"] = UserKernel(self.__name__, llvm_ir, tasks, scratch_nbytes)
        self.record.made_of = None
        return self


def _plain(name: str, key: str, value: Any) -> Any:
    """An attribute as a graph holds it."""
    if isinstance(value, (list, tuple)):
        return tuple([_plain(name, key, item) for item in value])
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (*PLAIN, Dimension)):
        raise DTypeError(
            f"[{name}] the attribute {key} is a {type(value).__name__}; attributes are plain values: "
            f"numbers, strings, dtypes, and tuples of them"
        )
    return value


__all__: Sequence[str] = ["UserOp", "op"]
