"""Versions of the document in a graph's file, and what an older one needs to be read today.

A change of what is written (a field, the attributes of an op, what an op means) makes the next version: raise
`VERSION`, add the row that turns a document of the version before into one of this, and keep a file of the
old version among the tests (`tests/formats`). Rows work on plain JSON, before anything of it is understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.graphfile.values import expect, field, said

KIND = "treadle graph"
VERSION = 3


def in_order_of_shape(document: dict[str, Any]) -> dict[str, Any]:
    """A document of version 2: variables with a layout were read and updated in it. A permutation follows
    such a read, and what named the read names the permutation.
    """
    variables = field(document, "variables", dict)
    laid = {
        name: claim for name, claim in variables.items() if isinstance(claim, dict) and claim.get("layout")
    }
    for name, claim in laid.items():
        layout = field(claim, "layout", list)
        fits = all(type(axis) is int for axis in layout) and sorted(layout) == list(range(len(layout)))
        expect(fits, f"variable {name!r}: layout {said(layout)} is no order of its dimensions")
    nodes: list[Any] = []
    numbers: dict[int, int] = {}

    def now(value: Any) -> Any:
        """What a number of a node is now, or each of a list."""
        if isinstance(value, list):
            return [now(item) for item in value]
        return numbers.get(value, value) if type(value) is int else value

    def renamed(claim: Any, *keys: str) -> Any:
        expect(isinstance(claim, dict), f"{said(claim)} is no object")
        return claim | {key: now(claim[key]) for key in keys if key in claim}

    def permuted(number: Any, axes: list[int], type: Any, like: dict[str, Any]) -> int:
        place = {key: like[key] for key in ("line", "scope", "role", "detached") if key in like}
        nodes.append(
            {"op": "permute_dims", "inputs": [number], "attributes": {"axes": axes}, "type": type, **place}
        )
        return len(nodes) - 1

    for number, claim in enumerate(field(document, "nodes", list)):
        claim = renamed(claim, "inputs")
        if "rule" in claim:
            claim["rule"] = renamed(claim["rule"], "given", "parts")
        found = laid.get(field(claim, "variable", str, ""))
        if found is None:
            nodes.append(claim)
            numbers[number] = len(nodes) - 1
        else:
            nodes.append(claim | {"type": found.get("type")})
            numbers[number] = permuted(len(nodes) - 1, found["layout"], claim.get("type"), claim)

    def update(pair: Any) -> Any:
        pair = now(pair)
        found = laid.get(pair[0]) if isinstance(pair, list) and len(pair) == 2 else None
        if found is None:
            return pair
        layout = found["layout"]
        axes = [layout.index(axis) for axis in range(len(layout))]
        return [pair[0], permuted(pair[1], axes, found.get("type"), {})]

    functions = {
        name: [
            renamed(signature, "inputs", "outputs")
            | {"updates": [update(pair) for pair in field(signature, "updates", list)]}
            for signature in several
        ]
        for name, several in field(document, "functions", dict).items()
        if isinstance(several, list)
    }
    return document | {"nodes": nodes, "functions": field(document, "functions", dict) | functions}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda document: document,  # in loops and branches there was no `detached`, and no rule
    2: in_order_of_shape,
}
"""From version n to n + 1, by n."""


def upgraded(document: Any) -> dict[str, Any]:
    """A document as this version writes it."""
    version = field(document, "version", int)
    expect(
        version <= VERSION,
        f"it was written by Treadle {document.get('treadle')!r} in version {version} of the format; this "
        f"Treadle reads versions 1 to {VERSION}: install a newer one",
    )
    expect(version >= 1, f"there is no version {version} of the format")
    while version < VERSION:
        document = UPGRADES[version](document)
        version += 1
    return document
