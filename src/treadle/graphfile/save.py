"""`save`: functions of any door as one file."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle import random, state
from treadle.compiled import Compiled, Traced
from treadle.door import Door
from treadle.errors import ArgumentError
from treadle.evaluate import run_pending
from treadle.function import Function
from treadle.graph.graph import rewrite
from treadle.graph.node import Node
from treadle.graphfile import container
from treadle.graphfile.load import LoadedFunction, LoadedGraph
from treadle.graphfile.signature import Signature
from treadle.graphfile.upgrades import KIND
from treadle.graphfile.writer import Writer
from treadle.structure import SLOT


def save(
    path: str | os.PathLike[str], function: Any, /, *example: Any, freeze: bool = False, **keywords: Any
) -> None:
    """Write a function's graph, its variables' values and its signatures to one file, for `load`.

    The file is safetensors, and holds data alone: no code of the function is in it. Variables keep their
    names and can be trained on where the file is loaded; assignments and updates are part of the graph.

    Args:
        path: the file to write, whole or not at all.
        function: one of `function`, a compiled function (every signature traced so far), what `load` gave, or
            any function of arrays; or a dict of several by name.
        example: arguments for a signature to trace: arrays, or placeholders for arrays of any size; static
            values are part of the signature.
        freeze: write variables as constants.
        keywords: arguments by keyword, like `example`.

    Raises:
        ArgumentError: the path is none, there is no signature, or a part of it is no plain value.
        StateError: it is called while a function is traced.

    >>> import treadle as td
    >>> w = td.Variable([1.0, 2.0], name="w")
    >>> td.save("scaled.treadle", lambda x: x * w, td.placeholder(("n", 2)))
    >>> td.load("scaled.treadle")([[3.0, 4.0]]).tolist()
    [[3.0, 8.0]]
    """
    if state.pending.trace is not None:
        raise ArgumentError(
            "[save] inside a compiled function: it would write once, while tracing; save outside"
        )
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(
            f"[save] path is a {type(path).__name__}; expected save(path, function). It writes graphs; the "
            f"values of a network, net.state(), go to safetensors.numpy.save_file or train.write_checkpoint"
        )
    run_pending()
    where = Path(path)
    if isinstance(function, Mapping):
        if example or keywords:
            raise ArgumentError(
                "[save] of several functions each is called for its own signatures first, or given with an "
                "example as a tuple: {'name': (function, example, ...)}"
            )
        functions = {}
        for name, given in function.items():
            one, *arguments = given if isinstance(given, tuple) else (given,)
            functions[name] = signatures_of(one, tuple(arguments), {})
    elif isinstance(function, LoadedGraph):
        functions = {name: one.signatures for name, one in function.functions.items()}
    else:
        name = getattr(function, "__name__", None) or type(function).__name__
        functions = {name: signatures_of(function, example, keywords)}
    if not functions:
        raise ArgumentError("[save] there is no function to save")
    writer = Writer(functions, freeze)
    text = json.dumps(writer.document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    metadata = {
        "format": KIND,
        container.HASH: container.text_digest(text),
        container.DOCUMENT: text,
    }
    container.write(where, writer.tensors, metadata)


def signatures_of(function: Any, example: tuple[Any, ...], keywords: dict[str, Any]) -> list[Signature]:
    """A function's signatures: those it has, and one more for an example."""
    if isinstance(function, LoadedGraph):
        function = function.only()
    if isinstance(function, (Function, LoadedFunction)):
        if example or keywords:
            raise ArgumentError("[save] this function has its signature: it takes no example")
        return function.signatures if isinstance(function, LoadedFunction) else [_of_function(function)]
    if isinstance(function, Door) or not callable(function):
        raise ArgumentError(f"[save] a {type(function).__name__} cannot be saved; give a function")
    bound: tuple[Any, ...] = ()
    compiled = function
    if (
        isinstance(function, functools.partial)
        and isinstance(function.func, Compiled)
        and not function.keywords
    ):
        # A compiled method of an object, which is its first argument and part of every signature.
        compiled, bound = function.func, function.args
    names = _parameters(function)
    found = []
    if isinstance(compiled, Compiled):
        found = [
            _of_trace(traced, names, bound) for traced in compiled.signatures() if _starts(traced, bound)
        ]
    if example or keywords or not (found or isinstance(compiled, Compiled)):
        before = random.get_state()
        try:
            traced = (compiled if isinstance(compiled, Compiled) else Compiled(compiled)).signature(
                *bound, *example, **keywords
            )
        finally:
            random.set_state(before)
        found.append(_of_trace(traced, names, bound))
    if not found:
        raise ArgumentError(
            "[save] this compiled function has no signature yet: call it, or give example arguments, such as "
            "placeholders: td.save(path, function, td.placeholder((None, 3)))"
        )
    return found


def _parameters(function: Any) -> tuple[str, ...]:
    """The names of the arguments that can be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple([p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])


def _starts(traced: Traced, bound: tuple[Any, ...]) -> bool:
    """Whether a trace is of a call with these first arguments."""
    positional = traced.arguments[0]
    return all(a is b for a, b in zip(positional[: len(bound)], bound, strict=True))


def _of_trace(traced: Traced, names: tuple[str, ...], bound: tuple[Any, ...]) -> Signature:
    positional, keywords = traced.arguments
    outputs, updates = _plain(traced.door)
    return Signature(
        names, (tuple(positional[len(bound) :]), keywords), traced.inputs, traced.result, outputs, updates
    )


def _of_function(function: Function) -> Signature:
    names = tuple([node.attributes[0] for node in function.inputs])
    outputs, updates = _plain(function.door)
    return Signature(
        names,
        ((SLOT,) * len(names), {}),
        function.inputs,
        [SLOT] * len(outputs) if function.many else SLOT,
        outputs,
        updates,
    )


def _plain(door: Door) -> tuple[list[Node], dict[state.Cell, Node]]:
    """A door's outputs and updates without nodes that store: a signature says what is stored."""
    values = [*door.outputs, *door.updates.values()]
    plain = rewrite(values, lambda node, inputs: inputs[0] if node.op is state.UPDATE else None)
    outputs, rest = plain[: len(door.outputs)], plain[len(door.outputs) :]
    return outputs, dict(zip(door.updates, rest, strict=True))
