"""Writes the checked-in files that are made from the op records: public functions and methods over arrays,
and the pages of the documentation that tables and docstrings make.

``./dev generate`` runs it; a test checks that the files are fresh. Generated so that editors and type
checkers see real signatures and docstrings, and so that adding an op touches its family's file and nothing
else.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
FAMILIES = (
    "creation",
    "elementwise",
    "reduction",
    "cumulative",
    "movement",
    "gather",
    "indexing",
    "contraction",
    "attention",
    "einsum",
    "window",
    "pooling",
    "sort",
    "fft",
    "frequencies",
    "linalg",
    "solving",
    "determinants",
    "decompositions",
    "eigen",
    "norms",
)
WHAT = {
    "fft": "Fourier transforms of arrays: the Array API standard's extension of that name.",
    "linalg": "Linear algebra with arrays: the Array API standard's extension of that name.",
}
"""What the modules of the namespaces below the main one are for."""

HEAD = '''"""{what} Generated from the op records by ``./dev generate``: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

'''

OPERATORS = {
    "add": "_elementwise.add",
    "sub": "_elementwise.subtract",
    "mul": "_elementwise.multiply",
    "truediv": "_elementwise.divide",
    "floordiv": "_elementwise.floor_divide",
    "mod": "_elementwise.remainder",
    "pow": "_elementwise.pow",
    "matmul": "_contraction.matmul",
    "and": "_elementwise.bitwise_and",
    "or": "_elementwise.bitwise_or",
    "xor": "_elementwise.bitwise_xor",
    "lshift": "_elementwise.bitwise_left_shift",
    "rshift": "_elementwise.bitwise_right_shift",
}
COMPARISONS = {
    "eq": "_elementwise.equal",
    "ne": "_elementwise.not_equal",
    "lt": "_elementwise.less",
    "le": "_elementwise.less_equal",
    "gt": "_elementwise.greater",
    "ge": "_elementwise.greater_equal",
}
UNARY = {
    "neg": "_elementwise.negative",
    "pos": "_elementwise.positive",
    "abs": "_elementwise.abs",
    "invert": "_elementwise.bitwise_invert",
}

# How a parameter of an op's function, by its annotation, is given by users and passed on.
CONVERSIONS = {
    "Operand": ("ArrayLike", "as_operand({0})"),
    "Node": ("ArrayLike", "as_node({0})"),
    "Operand | None": ("ArrayLike | None", "None if {0} is None else as_operand({0})"),
    "Device": ("str | None", "as_device({0})"),
    "Sequence[Operand]": ("Sequence[ArrayLike]", "as_operands({0})"),
    "*Operand": ("ArrayLike", "*as_operands({0})"),
}
RESULTS = {
    "Node": "Array",
    "list[Node]": "list[Array]",
    "tuple[Node, ...]": "tuple[Array, ...]",
    "tuple[Node, Node]": "tuple[Array, Array]",
}
PLAIN = {"DType": "Any", "DType | None": "Any", "Axis": "int | Sequence[int] | None"}


def _family(function: Callable[..., Any]) -> str:
    """The module of an op's function."""
    return function.__module__.rsplit(".", 1)[1]


def signature(function: Callable[..., Any], method: bool) -> tuple[str, str, str]:
    """The user's parameters, the arguments passed on, and the result type."""
    parameters = list(inspect.signature(function).parameters.values())
    given, passed = [], []
    seen_star = positional = False
    for i, p in enumerate(parameters):
        annotation = str(p.annotation)
        if p.kind is p.POSITIONAL_ONLY:
            positional = True
        elif positional:
            given.append("/")
            positional = False
        key = ("*" if p.kind is p.VAR_POSITIONAL else "") + annotation
        type, conversion = CONVERSIONS.get(key, (PLAIN.get(annotation, annotation), "{0}"))
        argument = conversion.format(p.name)
        if method and i == 0:
            given.append("self")
            passed.append("self.node")
            continue
        if p.kind is p.KEYWORD_ONLY and not seen_star:
            given.append("*")
            seen_star = True
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        seen_star = seen_star or bool(star)
        default = "" if p.default is p.empty else f" = {_default(p.default)}"
        given.append(f"{star}{p.name}: {type}{default}")
        passed.append(f"{p.name}={argument}" if p.kind is p.KEYWORD_ONLY else argument)
    if positional:
        given.append("/")
    result = str(inspect.signature(function).return_annotation)
    return ", ".join(given), ", ".join(passed), RESULTS.get(result, result)


def _default(value: Any) -> str:
    from treadle.dtypes import DType

    return f"dtypes.{value.name}" if isinstance(value, DType) else repr(value)


def _docstring(function: Callable[..., Any], indent: str) -> str:
    text = inspect.cleandoc(function.__doc__ or "")
    return (
        indent
        + '"""'
        + text.replace("\n", "\n" + indent).replace("\n" + indent + "\n", "\n\n")
        + ("\n" + indent if "\n" in text else "")
        + '"""'
    )


def _imports(used: list[str]) -> str:
    return "".join(f"from treadle.ops import {family} as _{family}\n" for family in used)


def _function(name: str, family: str, function: Callable[..., Any], method: bool) -> str:
    given, passed, result = signature(function, method)
    indent = "    " if method else ""
    wrapped = f"_{family}.{name}({passed})"
    if _named_result(function) is None:
        wrapped = f"{'self._wrap' if method else 'wrap'}({wrapped})"
    else:
        wrapped = f"{result}(*map(wrap, {wrapped}))"
    lines = [
        f"{indent}def {name}({given}) -> {result}:",
        _docstring(function, indent + "    "),
        f"{indent}    return {wrapped}",
    ]
    return "\n".join(lines)


def namespace(functions: dict[str, Callable[..., Any]], what: str) -> str:
    """The text of a module of public functions. What the main namespace has already is taken from there."""
    from treadle.ops import record

    main = functions is record.PUBLIC
    taken = [] if main else [name for name in functions if record.PUBLIC.get(name) is functions[name]]
    names = sorted(functions)
    own = [name for name in names if name not in taken]
    where = {name: _family(functions[name]) for name in own}
    results = {tuple.__name__: tuple for name in own if (tuple := _named_result(functions[name])) is not None}
    body = HEAD.format(what=what)
    if results:
        body = body.replace("import Any", "import Any, NamedTuple")
    body += "from treadle import dtypes\n"
    body += "from treadle.array import Array, ArrayLike, as_device, as_node, as_operand, as_operands, wrap\n"
    body += f"from treadle.namespace import {', '.join(sorted(taken))}\n" if taken else ""
    body += f"{_imports(sorted(set(where.values())))}\n__all__ = [\n"
    body += "".join(f'    "{name}",\n' for name in names) + "]\n\n\n"
    parts = [_result_class(results[name]) for name in sorted(results)]
    parts += [_function(name, where[name], functions[name], False) for name in own]
    return body + "\n\n\n".join(parts) + "\n"


def _named_result(function: Callable[..., Any]) -> type | None:
    """The named tuple that a function returns, if it returns one."""
    found = function.__globals__.get(str(inspect.signature(function).return_annotation))
    return found if isinstance(found, type) and hasattr(found, "_fields") else None


def _result_class(result: Any) -> str:
    """The named tuple of nodes as one of arrays."""
    fields = "".join(f"\n    {field}: Array" for field in result._fields)
    return f'class {result.__name__}(NamedTuple):\n    """{inspect.cleandoc(result.__doc__)}"""\n{fields}'


def methods() -> str:
    """The text of ``array_methods.py``."""
    from treadle.ops import record

    names = sorted(record.METHODS)
    where = {name: _family(record.PUBLIC[name]) for name in names}
    used = sorted({*(where[name] for name in names), "contraction", "elementwise"})
    body = HEAD.format(what="The methods of arrays that are public functions too.")
    body = body.replace("import Any", "import TYPE_CHECKING, Any") + "from treadle.graph.node import Node\n"
    body += f"{_imports(used)}\nif TYPE_CHECKING:\n    from treadle.array import Array\n\n\n"
    body += 'class ArrayMethods:\n    """Base of `Array`."""\n\n    __slots__ = ()\n\n'
    body += "    @property\n    def node(self) -> Node:\n"
    body += '        """The node this handle stands on now."""\n        raise NotImplementedError\n\n'
    body += "    def _wrap(self, node: Node) -> Array:\n        raise NotImplementedError\n\n"
    body += "".join(_operators()) + "\n"
    body += "\n\n".join(_function(name, where[name], record.PUBLIC[name], True) for name in names) + "\n"
    # The conversions live above this file: `Array` brings them.
    return body.replace("as_operand(", "self._operand(").replace("ArrayLike", "Any")


def _operators() -> list[str]:
    """Python's operators, each by the op it stands for."""
    text = [
        "    _operand: Any\n\n",
        "    def _operate(self, function: Any, other: Any) -> Any:\n        raise NotImplementedError\n",
    ]
    text += ["\n    _operate_reversed = _operate_in_place = _operate\n"]
    for name, op in OPERATORS.items():
        for prefix, how in (("", "_operate"), ("r", "_operate_reversed"), ("i", "_operate_in_place")):
            result = "Any" if prefix == "i" else "Array"
            text.append(
                f"\n    def __{prefix}{name}__(self, other: Any) -> {result}:\n        return "
                f"self.{how}({op}, other)\n"
            )
    for name, op in COMPARISONS.items():
        ignored = "  # type: ignore[override]" if name in ("eq", "ne") else ""
        text.append(
            f"\n    def __{name}__(self, other: Any) -> Array:{ignored}\n        return "
            f"self._operate({op}, other)\n"
        )
    for name, op in UNARY.items():
        text.append(f"\n    def __{name}__(self) -> Array:\n        return self._wrap({op}(self.node))\n")
    text.append("\n    __hash__ = object.__hash__\n")
    return text


def files() -> dict[Path, str]:
    """Every generated file's path and text."""
    from treadle import api_pages
    from treadle.coming_from import as_markdown
    from treadle.ops import record

    for family in FAMILIES:
        import_module(f"treadle.ops.{family}")
    made = {ROOT / "array_methods.py": tidy(methods())}
    made[ROOT / "namespace.py"] = tidy(namespace(record.PUBLIC, "The public functions over arrays."))
    for name, functions in record.NAMESPACES.items():
        made[ROOT / f"{name}.py"] = tidy(namespace(functions, WHAT[name]))
    docs = ROOT.parent.parent / "docs"
    if docs.is_dir():
        made[docs / "coming-from.md"] = as_markdown()
        made.update({docs / "api" / name: text for name, text in api_pages.pages().items()})
    return made


def tidy(text: str) -> str:
    """Drop imports that nothing uses, and break long signatures, so that the linters have nothing to say."""
    head, _, body = text.partition("\n\n\n")
    for line, word in (
        ("from typing import Any\n", r"Any\b"),
        ("from collections.abc import Sequence\n", r"Sequence\b"),
        ("from treadle import dtypes\n", r"dtypes\."),
    ):
        if not re.search(rf"\b{word}", text.replace(line, "")):
            head = head.replace(line, "")
    for word in ("as_device", "as_node", "as_operands"):
        if not re.search(rf"\b{word}\(", body):
            head = head.replace(f" {word},", "")
    text = head + "\n\n\n" + body
    lines = []
    for line in text.split("\n"):
        lines.extend(_broken(line) if len(line) > 110 else [line])
    return "\n".join(lines)


def _broken(line: str) -> list[str]:
    """A long line over several: an import or a call in parentheses, or prose."""
    indent = line[: len(line) - len(line.lstrip())]
    if line.startswith("from "):
        head, names = line.split(" import ")
        return [f"{head} import (", *(f"    {name}," for name in names.split(", ")), ")"]
    if line.lstrip().startswith(("def ", "return ")):
        first, last = line.index("("), line.rindex(")")
        inside = textwrap.wrap(
            line[first + 1 : last], 105, initial_indent=indent + "    ", subsequent_indent=indent + "    "
        )
        return [line[: first + 1], *inside, indent + line[last:]]
    hanging = "    " if re.match(r"\w+: ", line.lstrip()) else ""
    return textwrap.wrap(line.strip(), 106, initial_indent=indent, subsequent_indent=indent + hanging)


def main() -> int:
    """Write the files that differ."""
    modules = False
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {path.name}")
            modules |= path.suffix == ".py"
    # The pages are written from the modules, which are imported: what was just written is not.
    return subprocess.call([sys.executable, "-m", "treadle.generate"]) if modules else 0


if __name__ == "__main__":
    sys.exit(main())
