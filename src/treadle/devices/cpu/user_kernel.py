"""Kernels that users write as LLVM IR: checked, and given operands as they were promised.

The interface is that of `native`: inputs in order, then results, each contiguous in row-major order. A module
may call nothing but LLVM's intrinsics: it is loaded anywhere, and kept on the disk.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.compiler.program import LibraryCall
from treadle.devices.cpu.copies import copied, row_major
from treadle.devices.cpu.native import ENTRY, Lowered, NativeKernel, Step
from treadle.devices.cpu.target import Isa
from treadle.errors import ArgumentError
from treadle.graph.node import Node, Type

SIGNATURE = re.compile(r"void \((ptr|i8\*\*?), i64, i64, (ptr|i8\*)\)")


@dataclass(frozen=True)
class UserKernel:
    """The IR of an op, the same for all calls or a function of its inputs' types and its attributes; how many
    tasks it is cut into, and how many bytes of scratch memory a thread needs.
    """

    name: str
    ir: str | Callable[..., str]
    tasks: int | Callable[..., int]
    scratch_nbytes: int

    def kernel(self, node: Node) -> NativeKernel:
        """The kernel for a node, checked.

        Raises:
            ArgumentError: it does not parse, has no such entry point, or calls something outside.
        """
        types = [child.type for child in node.inputs]
        keywords = node.keywords()
        text = self.ir if isinstance(self.ir, str) else self.ir(*types, **keywords)
        tasks = self.tasks if isinstance(self.tasks, int) else self.tasks(*types, **keywords)
        if not isinstance(text, str) or not isinstance(tasks, int) or tasks < 0:
            raise ArgumentError(
                f"[{self.name}] its kernel for the cpu is made of {type(text).__name__} and {tasks!r} tasks; "
                f"expected text and a number"
            )
        check(self.name, text)
        nbytes = sum(math.prod(t.shape) * t.dtype.itemsize for t in (*types, *node.types))
        return NativeKernel(text, self.name, tasks, self.scratch_nbytes, 0, nbytes)


def check(name: str, text: str) -> None:
    """Refuse IR that is no kernel."""
    import llvmlite.binding as llvm

    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise ArgumentError(f"[{name}] its LLVM IR does not parse: {str(error).strip()}") from None
    functions = list(module.functions)
    entry = next((f for f in functions if f.name == ENTRY and not f.is_declaration), None)
    if entry is None:
        names = ", ".join(f.name for f in functions) or "none"
        raise ArgumentError(f"[{name}] its LLVM IR defines no function @{ENTRY}; its functions are: {names}")
    found = f"{entry.global_value_type}"
    if not SIGNATURE.fullmatch(found):
        raise ArgumentError(
            f"[{name}] @{ENTRY} is {found}; expected void (ptr, i64, i64, ptr): the operands' addresses, the "
            f"first task, the one behind the last, and scratch memory"
        )
    outside = [f.name for f in functions if f.is_declaration and not f.name.startswith("llvm.")]
    outside += [v.name for v in module.global_variables if v.is_declaration]
    if outside:
        raise ArgumentError(
            f"[{name}] its LLVM IR calls {', '.join(outside)}: a kernel calls nothing but LLVM's intrinsics"
        )


def lower(call: LibraryCall, isa: Isa) -> Lowered:
    """A call of a user's op that has a kernel."""
    node = call.node
    kernel = node.op.native["cpu"].kernel(node)
    steps: list[Step] = []
    operands: list[tuple[str, int]] = []
    temporaries: list[int] = []
    for i, (view, child) in enumerate(zip(call.inputs, node.inputs, strict=True)):
        shape: Any = child.type.shape
        if view.strides == row_major(shape) or 0 in shape:
            operands.append(("in", i))
            continue
        place = ("temp", len(temporaries))
        dtype = child.dtype.name
        steps.append(copied(isa, shape, (("in", i), view.strides, dtype), (place, row_major(shape), dtype)))
        temporaries.append(_nbytes(child.type))
        operands.append(place)
    operands += [("out", i) for i in range(len(node.types))]
    return Lowered((*steps, Step(kernel, tuple(operands))), tuple(temporaries))


def _nbytes(type: Type) -> int:
    shape: Sequence[Any] = type.shape
    return math.prod(shape) * type.dtype.itemsize
