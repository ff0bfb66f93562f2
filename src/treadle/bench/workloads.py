"""What is measured: networks, the shapes of a batch, and what is wanted of each. Knows no framework.

To add one, write a row here, and its network into the tables `NETWORKS` of the sides (`sides/ours.py` and the
other files in `sides/`); a peer that has no such network is left out of the workload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from treadle.errors import ArgumentError

Shape = tuple[int, ...]
IMAGES = (3, 224, 224)


@dataclass(frozen=True)
class Workload:
    """A network and a batch. Training is forward, backward and the optimizer's step in float32."""

    name: str
    text: str
    network: str
    """A row of the sides' tables `NETWORKS`."""
    x: Shape
    """Of a batch, images as [batch, channels, height, width]."""
    y: Shape | None = None
    """Of the targets; None for inference."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the network."""
    symbols: int = 0
    """x are integers below that; 0: normal numbers."""
    labels: int = 0
    """y are integers below that, and the loss is the mean cross-entropy; 0: normal numbers, and the mean
    squared error."""
    optimizer: str = "momentum"
    """"momentum" (0.9) or "adam"."""
    rate: float = 0.01
    tolerance: float = 1e-3
    """Of the first three losses, or of the outputs in inference, relative to the largest of them."""
    ratio: float | None = None
    """Wanted: the fastest peer's time over ours."""
    share: float | None = None
    """Wanted: of the peak of fused multiply-adds, counted as direct convolution."""
    memory: float | None = None
    """Wanted: our peak memory over PyTorch's."""
    first_s: float | None = None
    """Wanted: at most that for the first step, with nothing on the disk."""

    @property
    def trains(self) -> bool:
        return self.y is not None

    def as_json(self) -> dict[str, Any]:
        """What a side is told."""
        return {**asdict(self), "trains": self.trains}

    def batch(self) -> dict[str, np.ndarray]:
        """x and y, the same for everybody."""
        numbers = np.random.default_rng(0)
        found = {"x": _numbers(numbers, self.x, self.symbols)}
        if self.y is not None:
            found["y"] = _numbers(numbers, self.y, self.labels)
        return found


def _numbers(generator: np.random.Generator, shape: Shape, below: int) -> np.ndarray:
    if below:
        return generator.integers(0, below, shape, dtype=np.int64)
    return generator.standard_normal(shape, dtype=np.float32)


def _images(name: str, text: str, network: str, batch: int, options: Mapping[str, Any], **more: Any):
    return Workload(
        name, f"{text}, batch {batch}, 224 x 224", network, (batch, *IMAGES), (batch,), options, labels=1000,
        **more,
    )  # fmt: skip


def _inference(name: str, text: str, network: str, batch: int, options: Mapping[str, Any]) -> Workload:
    return Workload(
        f"{name}-inference-{batch}", f"inference {text}, batch {batch}, 224 x 224", network, (batch, *IMAGES),
        None, options, ratio=1.0,
    )  # fmt: skip


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "two-layer", "two-layer ReLU net, 64 x 1000 -> 100 -> 1000", "two_layer", (64, 1000), (64, 1000),
            {"inputs": 1000, "hidden": 100, "outputs": 1000}, ratio=2.2,
        ),
        Workload(
            "lenet", "LeNet-like CNN, 28 x 28, batch 64 (5x5x32, 5x5x64, 1024 -> 512 -> 10)", "lenet",
            (64, 1, 28, 28), (64,), labels=10, ratio=2, first_s=0.5,
        ),
        Workload(
            "lstm", "LSTM 128 -> 256, 50 steps, batch 32", "lstm", (32, 50, 128), (32, 50, 256),
            {"inputs": 128, "width": 256}, rate=0.1, ratio=1.6,
        ),
        Workload(
            "gpt", "small GPT, 4 layers, 128 wide, 64 tokens, batch 16, Adam", "gpt", (16, 64), (16, 64),
            {"vocabulary": 65, "context": 64, "layers": 4, "width": 128, "heads": 4},
            symbols=65, labels=65, optimizer="adam", rate=1e-3, ratio=2,
        ),
        _images("resnet18", "ResNet-18", "resnet", 8, {"depth": 18}, ratio=1.9, share=1.15, memory=0.6,
                first_s=2.0, rate=1e-4),
        _images("resnet50", "ResNet-50", "resnet", 8, {"depth": 50}, ratio=1.45, share=0.75, memory=0.6,
                first_s=4.0, rate=1e-6),
        _images("vgg16", "VGG-16", "vgg", 4, {"depth": 16}, ratio=2.2, share=1.35, memory=0.75, rate=1e-4),
        *(
            _inference(name, text, network, batch, options)
            for name, text, network, options in (
                ("resnet50", "ResNet-50", "resnet", {"depth": 50}),
                ("mobilenet", "MobileNetV2", "mobilenet_v2", {}),
            )
            for batch in (1, 8)
        ),
    )
}  # fmt: skip


def chosen(kind: str, words: list[str], known: Mapping[str, Any]) -> list[str]:
    """The names that words mean: all of them for no word, else those that begin with one of the words.

    Raises:
        ArgumentError: a word is the beginning of none.
    """
    found: dict[str, None] = {}
    for word in words:
        matching = [word] if word in known else [name for name in known if name.startswith(word.lower())]
        if not matching:
            close = get_close_matches(word.lower(), known, n=2, cutoff=0.4)
            advice = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
            raise ArgumentError(f"there is no {kind} {word!r}: {advice}")
        found.update(dict.fromkeys(matching))
    return list(found) if words else list(known)
