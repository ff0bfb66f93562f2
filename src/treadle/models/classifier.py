"""What the networks for images share: the last layer, which another number of classes replaces, and the names
that their weights have elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from treadle import nn


class Classifier(nn.Module):
    """A network whose last layer gives one logit a class."""

    head: str | tuple[str, ...] = ""
    """The path of the last `Dense` layer, or layers."""

    def heads(self) -> dict[str, nn.Dense]:
        """The layers that give logits, by path."""
        paths: Iterable[str] = (self.head,) if isinstance(self.head, str) else self.head
        modules = self.modules()
        return {path: layer for path in paths if isinstance(layer := modules.get(path), nn.Dense)}

    def torch_name(self, path: str) -> str:
        """The name in PyTorch's files of the variable at a path."""
        return path
