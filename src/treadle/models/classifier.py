"""What the networks for images share: the last layer, which another number of classes replaces, and the names
that their weights have elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError
from treadle.nn.layout import channels_first


def flattened(x: td.Array, layout: str) -> td.Array:
    """Maps of a layout as ``[batch, channels * height * width]``, in this order whatever the layout."""
    return td.reshape(channels_first(x, layout), (x.shape[0], -1))


class Classifier(nn.Module):
    """A network whose last layer gives one logit a class."""

    head: str | tuple[str, ...] = ""
    """The path of the last `Dense` layer, or layers."""
    unused: tuple[str, ...] = ()
    """Patterns of names that published files have, and this network has not, on purpose."""

    def chosen(self, option: str, value: Any, table: Mapping[Any, Any]) -> Any:
        """What a table says for an option. Raises ArgumentError, with what there is."""
        if not isinstance(value, (int, str)) or value not in table:
            close = get_close_matches(str(value), [str(key) for key in table], n=1)
            raise ArgumentError(
                f"[{type(self).__name__}] {option}={value!r}: "
                + (f"did you mean {close[0]}? " if close else "")
                + f"There are {', '.join(map(str, table))}"
            )
        return table[value]

    def heads(self) -> dict[str, nn.Dense]:
        """The layers that give logits, by path."""
        paths: Iterable[str] = (self.head,) if isinstance(self.head, str) else self.head
        modules = self.modules()
        return {path: layer for path in paths if isinstance(layer := modules.get(path), nn.Dense)}

    def torch_name(self, path: str) -> str:
        """The name in PyTorch's files of the variable at a path."""
        return path
