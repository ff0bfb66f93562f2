"""The reference of public names, as pages: signatures and docstrings, by what the names are about.

`./dev generate` writes them to docs/api. Their examples are the docstrings', which a test runs.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "arrays": ("Arrays and variables", ("array", "exchange", "selection")),
    "dtypes": ("Element types and constants", ("dtypes", "inspection", "inspection")),
    "running": ("Running: sessions, functions, devices, memory", (
        "session", "function", "compiled", "runtime", "debugging", "numerics")),
    "gradients": ("Gradients", ("differentiate", "vectorize", "jacobians")),
    "creation": ("Making arrays", ("creation",)),
    "elementwise": ("Element by element", ("elementwise",)),
    "reductions": ("Reductions, sums, sorting, searching", ("reduction", "cumulative", "sort", "sets")),
    "movement": ("Moving elements: shapes, axes, indices", ("movement", "gather", "indexing")),
    "products": ("Products, convolutions and pooling", ("contraction", "einsum", "window", "pooling")),
    "control": ("Control flow", ("control",)),
    "saving": ("Saving and loading graphs", ("save", "load")),
    "adding-an-op": ("Ops of your own", ("user_ops",)),
    "pictures": ("Pictures", ("show", "view")),
    "profiling": ("Where the time goes", ("measure",)),
}  # fmt: skip
"""File name, title, and the modules (the last part of their names) whose public names the page has. What is
in no row gets a page of its module's name.
"""
SECTIONS = ("Args", "Returns", "Raises")


def pages() -> dict[str, str]:
    """Text by file name."""
    import treadle as td

    parts: dict[str, list[str]] = {}
    titles = {file: title for file, (title, _) in PAGES.items()}
    for name in sorted(set(td.__all__), key=str.lower):
        value = getattr(td, name)
        if isinstance(value, ModuleType):
            titles[name] = f"`td.{name}`"
            names = getattr(value, "__all__", None) or [n for n in vars(value) if _offers(value, n)]
            parts[name] = [_first(value)]
            parts[name] += [_entry(f"td.{name}.{n}", getattr(value, n)) for n in sorted(names, key=str.lower)]
            continue
        file = _file(value)
        titles.setdefault(file, file.capitalize())
        parts.setdefault(file, []).append(_entry(f"td.{name}", value))
    made = {
        f"{file}.md": f"# {titles[file]}\n\n" + "\n\n".join(texts) + "\n" for file, texts in parts.items()
    }
    rows = "\n".join(
        f"- [{titles[file]}]({file}.md)" for file in sorted(parts, key=lambda f: titles[f].strip("`"))
    )
    made["index.md"] = (
        "# Reference\n\nEvery public name, from its docstring. Written by `./dev generate`; "
        "the examples are run by the tests.\n\n" + rows + "\n"
    )
    return made


def _offers(module: ModuleType, name: str) -> bool:
    """Whether a module without `__all__` offers a name: its own functions and classes."""
    value = getattr(module, name)
    return not name.startswith("_") and _named(value) and value.__module__ == module.__name__


def _file(value: Any) -> str:
    """The page of a public object."""
    from treadle.ops.record import PUBLIC

    value = inspect.unwrap(value) if callable(value) else value
    operation = PUBLIC.get(getattr(value, "__name__", ""))
    in_namespace = getattr(value, "__module__", "") == "treadle.namespace"
    module = (
        (operation if operation is not None and in_namespace else value).__module__
        if _named(value)
        else "dtypes"
    )
    last = module.rsplit(".", 1)[-1]
    return next((file for file, (_, modules) in PAGES.items() if last in modules), last)


def _named(value: Any) -> bool:
    return inspect.isfunction(value) or inspect.isclass(value)


def _entry(name: str, value: Any) -> str:
    """A name with its signature and what its docstring says; of a class, its methods too."""
    if isinstance(value, ModuleType):
        return f"## `{name}`\n\n{_first(value)}"
    if inspect.isclass(value):
        text = f"## `{name}`\n\n{markdown(inspect.getdoc(value) or '')}"
        members = [_member(member, found) for member, found in _members(value)]
        return text + "\n\n" + "\n".join(filter(None, members))
    if callable(value):
        return f"## `{name}{signature(value)}`\n\n{markdown(inspect.getdoc(value) or '')}"
    return f"## `{name}`\n\n{value!r}"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    for name in sorted(dir(cls)):
        if not name.startswith("_"):
            yield name, inspect.getattr_static(cls, name)


def _member(name: str, found: Any) -> str:
    """A method or property of a class, briefly: functions of the same name say the rest."""
    doc = inspect.getdoc(found.fget if isinstance(found, property) else found) or ""
    if not doc:
        return ""
    first = doc.split("\n\n")[0].replace("\n", " ")
    if isinstance(found, property):
        return f"- `.{name}`: {first}"
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return f"- `.{name}{signature(found, skip=1)}`: {first}" if callable(found) else ""


def signature(function: Any, skip: int = 0) -> str:
    """The parameters as they are written, without the marks of forward references."""
    found = inspect.signature(function)
    found = found.replace(parameters=list(found.parameters.values())[skip:])
    return re.sub(r"'([^']*)'", r"\1", str(found)).replace("treadle.array.", "")


def markdown(doc: str) -> str:
    """A docstring as Markdown: its sections as lists, its examples as code."""
    blocks = []
    for block in doc.split("\n\n"):
        head, _, rest = block.partition("\n")
        if head.rstrip(":") in SECTIONS and head.endswith(":"):
            blocks.append(f"**{head.rstrip(':')}**\n\n" + "\n".join(_items(textwrap.dedent(rest))))
        elif block.startswith(">>>"):
            blocks.append(f"```pycon\n{block}\n```")
        elif head.endswith("::"):
            blocks.append(block[:-1] if head == block else block)
        else:
            blocks.append(block)
    return re.sub(r"(?<!`)``(?!`)", "`", "\n\n".join(blocks))


def _items(text: str) -> list[str]:
    """The entries of a section, one a line, those that go on joined."""
    items: list[str] = []
    for line in text.split("\n"):
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(re.sub(r"^(\*{0,2}\w+): ", r"- `\1`: ", line) if ": " in line else line)
    return items


def _first(module: ModuleType) -> str:
    return markdown(inspect.cleandoc(module.__doc__ or ""))
