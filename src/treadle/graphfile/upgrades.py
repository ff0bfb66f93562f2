"""Versions of the document in a graph's file, and what an older one needs to be read today.

A change of what is written (a field, the attributes of an op, what an op means) makes the next version: raise
`VERSION`, add the row that turns a document of the version before into one of this, and keep a file of the
old version among the tests (`tests/formats`). Rows work on plain JSON, before anything of it is understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.graphfile.values import expect, field

KIND = "treadle graph"
VERSION = 2
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda document: document,  # in loops and branches there was no `detached`, and no rule
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
