"""A scalar expression as text, read without executing anything: what a kernel computes at each element.

    x * tanh(y) + where(x > 0, 1.0, slope)

Names are operands, attributes and Treadle's elementwise functions; it becomes a graph of those.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from treadle.errors import ArgumentError
from treadle.graph.node import Node
from treadle.ops import elementwise
from treadle.ops.record import OPS, PUBLIC

BINARY: dict[type, Callable[..., Node]] = {
    ast.Add: elementwise.add,
    ast.Sub: elementwise.subtract,
    ast.Mult: elementwise.multiply,
    ast.Div: elementwise.divide,
    ast.FloorDiv: elementwise.floor_divide,
    ast.Mod: elementwise.remainder,
    ast.Pow: elementwise.pow,
    ast.BitAnd: elementwise.bitwise_and,
    ast.BitOr: elementwise.bitwise_or,
    ast.BitXor: elementwise.bitwise_xor,
}
UNARY: dict[type, Callable[..., Node]] = {
    ast.USub: elementwise.negative,
    ast.UAdd: elementwise.positive,
    ast.Invert: elementwise.bitwise_invert,
}
COMPARISONS: dict[type, Callable[..., Node]] = {
    ast.Eq: elementwise.equal,
    ast.NotEq: elementwise.not_equal,
    ast.Lt: elementwise.less,
    ast.LtE: elementwise.less_equal,
    ast.Gt: elementwise.greater,
    ast.GtE: elementwise.greater_equal,
}

Written = Callable[[dict[str, Any]], Any]


def functions() -> dict[str, Callable[..., Node]]:
    """The functions that an expression may call: the public ones that are elementwise."""
    return {
        name: function
        for name, function in PUBLIC.items()
        if function.__module__ == elementwise.__name__ and name in OPS and OPS[name].elementwise
    }


def parse(name: str, text: str, operands: tuple[str, ...], attributes: tuple[str, ...]) -> Written:
    """An expression as a function from the values of its names to a node.

    Raises:
        ArgumentError: it does not parse, or uses a name or a form that it may not.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        at = f" at column {error.offset}" if isinstance(error, SyntaxError) else ""
        raise ArgumentError(f"[{name}] the expression {text!r} does not parse{at}: {error}") from None
    known = functions()
    names = {*operands, *attributes}

    def read(tree: ast.expr) -> Written:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, (bool, int, float)):
            value = tree.value
            return lambda values: value
        if isinstance(tree, ast.Name) and tree.id in names:
            key = tree.id
            return lambda values: values[key]
        if isinstance(tree, ast.BinOp) and type(tree.op) in BINARY:
            return call(BINARY[type(tree.op)], [tree.left, tree.right])
        if isinstance(tree, ast.UnaryOp) and type(tree.op) in UNARY:
            if isinstance(tree.operand, ast.Constant) and isinstance(tree.operand.value, (int, float)):
                number = -tree.operand.value if isinstance(tree.op, ast.USub) else +tree.operand.value
                if not isinstance(tree.op, ast.Invert):
                    return lambda values: number
            return call(UNARY[type(tree.op)], [tree.operand])
        if isinstance(tree, ast.Compare) and len(tree.ops) == 1 and type(tree.ops[0]) in COMPARISONS:
            return call(COMPARISONS[type(tree.ops[0])], [tree.left, *tree.comparators])
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
            if tree.func.id not in known:
                raise refused(tree, f"there is no elementwise function {tree.func.id!r}")
            return call(known[tree.func.id], tree.args)
        if isinstance(tree, ast.Name):
            raise refused(tree, f"the name {tree.id!r} is neither an operand nor an attribute")
        raise refused(tree, "only operators, comparisons of two, numbers and elementwise functions are read")

    def call(function: Callable[..., Node], parts: list[ast.expr]) -> Written:
        read_parts = [read(part) for part in parts]
        return lambda values: function(*[part(values) for part in read_parts])

    def refused(tree: ast.expr, why: str) -> ArgumentError:
        return ArgumentError(f"[{name}] the expression {text!r}, column {tree.col_offset + 1}: {why}")

    return read(tree)
