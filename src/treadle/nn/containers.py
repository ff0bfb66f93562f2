"""Modules that are made of others in a row. Any list or dict of modules is a container too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from treadle.nn.module import Module


class Sequential(Module):
    """Modules and functions, one after the other.

    >>> import treadle as td
    >>> from treadle import nn
    >>> net = nn.Sequential(nn.Dense(4, 8), td.relu, nn.Dense(8, 2))
    >>> net(td.ones((3, 4))).shape, list(net.parameters())
    ((3, 2), ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    def __init__(self, *parts: Callable[..., Any]):
        self._parts = list(parts)

    def forward(self, x: Any) -> Any:
        for part in self._parts:
            x = part(x)
        return x

    def children(self) -> dict[str, Module]:
        return {str(i): part for i, part in enumerate(self._parts) if isinstance(part, Module)}

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int | slice) -> Any:
        """A part, or those of a slice as a `Sequential` of the same modules."""
        return Sequential(*self._parts[index]) if isinstance(index, slice) else self._parts[index]

    def __setitem__(self, index: int, part: Callable[..., Any]) -> None:
        """Put another part in a place."""
        self._parts[index] = part

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self._parts)
