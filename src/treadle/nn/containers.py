"""Modules that are made of others in a row. Any list or dict of modules is a container too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn.module import Module


class Sequential(Module):
    """Modules and functions, one after the other.

    Raises:
        ArgumentError: a part is no module or function.

    >>> import treadle as td
    >>> from treadle import nn
    >>> net = nn.Sequential(nn.Dense(4, 8), td.relu, nn.Dense(8, 2))
    >>> net(td.ones((3, 4))).shape, list(net.parameters())
    ((3, 2), ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    def __init__(self, *parts: Callable[..., Any]):
        self._parts = [_checked(i, part) for i, part in enumerate(parts)]

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
        self._parts[index] = _checked(index, part)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self._parts)


def _checked(index: int, part: Any) -> Any:
    """A part, if it can be called with an array."""
    if isinstance(part, type) and issubclass(part, Module):
        raise ArgumentError(
            f"[Sequential] part {index} is the class {part.__name__}: make one, {part.__name__}(...)"
        )
    if not callable(part):
        what = (
            "a list: give its parts one by one, nn.Sequential(*parts)"
            if isinstance(part, list | tuple)
            else repr(part)
        )
        raise ArgumentError(f"[Sequential] part {index} is {what}; expected modules and functions")
    return part


class Residual(Module):
    """``activation(shortcut(x) + branch(x))`` (He et al. 2016, arXiv:1512.03385).

    Args:
        branch: a module or function, or several, one after the other.
        shortcut: what x becomes beside it, such as a convolution of window 1 where shapes change; None for x.
        activation: of the sum; None for none.

    Raises:
        ShapeError: the shapes of both differ; neither is broadcast.

    >>> import treadle as td
    >>> from treadle import nn
    >>> block = nn.Residual(nn.Dense(4, 8), td.relu, nn.Dense(8, 4), activation=td.relu)
    >>> block(td.ones((3, 4))).shape, list(block.parameters())[0]
    ((3, 4), 'branch.0.weight')
    """

    def __init__(
        self,
        *branch: Callable[..., Any],
        shortcut: Callable[..., Any] | None = None,
        activation: Callable[[td.Array], td.Array] | None = None,
    ):
        self.branch = branch[0] if len(branch) == 1 else Sequential(*branch)
        self.shortcut, self.activation = shortcut, activation

    def forward(self, x: td.Array) -> td.Array:
        beside = x if self.shortcut is None else self.shortcut(x)
        y = self.branch(x)
        if y.shape != beside.shape:
            raise ShapeError(
                f"[Residual] the branch makes {y.shape} of x, the shortcut {beside.shape}: they must be "
                f"equal; give a shortcut that changes x's shape as the branch does"
            )
        return beside + y if self.activation is None else self.activation(beside + y)
