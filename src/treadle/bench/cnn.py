"""The lecture's two charts for the machine at hand: convolution networks on the CPU against a GPU, and with a
vendor's kernels against generated ones; next to what was published in 2016.

The published figures are of the benchmark cnn-benchmarks (J. Johnson, 2016): milliseconds for the forward and
backward pass of a batch of 16 images of 224 x 224 on a Pascal Titan X with cuDNN 5.1.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import treadle as td
from treadle.devices import registry

BATCH, IMAGE = 16, 224


class Network(NamedTuple):
    """A network of the charts."""

    title: str
    model: str
    published_ms: float
    """Forward and backward, 2016."""


NETWORKS = {
    "alexnet": Network("AlexNet", "alexnet", 14.56),
    "inception_v1": Network("Inception-v1", "inception_v1", 39.14),
    "vgg16": Network("VGG-16", "vgg16", 128.62),
    "vgg19": Network("VGG-19", "vgg19", 147.32),
    "resnet18": Network("ResNet-18", "resnet18", 31.54),
    "resnet34": Network("ResNet-34", "resnet34", 51.59),
    "resnet50": Network("ResNet-50", "resnet50", 103.58),
    "resnet101": Network("ResNet-101", "resnet101", 156.44),
    "resnet152": Network("ResNet-152", "resnet152", 217.91),
    "resnet200": Network("ResNet-200", "resnet200", 296.51),
}
PUBLISHED = (
    "2016, Pascal Titan X: cuDNN 2.2 to 3.0 times as fast as plain CUDA kernels, the GPU 49 to 74 times as "
    "fast as a CPU with 2 x 8 cores"
)


@dataclass(frozen=True)
class Way:
    """Where, and with whose kernels, networks run."""

    title: str
    device: str
    kernels: str = "vendor"


class Times(NamedTuple):
    """Milliseconds, each a median."""

    forward: float
    total: float

    @property
    def backward(self) -> float:
        return self.total - self.forward


def ways(devices: Sequence[str] | None = None) -> list[Way]:
    """The CPU; each GPU with its vendor's kernels and with generated ones. Of the devices named, if any are.

    Raises:
        DeviceError: one of them is not there.
    """
    found = []
    for name in devices or [name for name in registry.names() if name != "reference"]:
        device = registry.find(name).name
        if device.split(":")[0] == "cuda":
            found.append(Way(f"{device}, vendor's", device))
            found.append(Way(f"{device}, generated", device, "generated"))
        else:
            found.append(Way(device, device))
    return found


def measure(
    network: Network,
    way: Way,
    *,
    batch: int = BATCH,
    image: int = IMAGE,
    runs: int = 5,
    seconds: float = 60.0,
) -> Times:
    """Median times of a forward pass, and of one with the gradients of all parameters, in training mode.

    Args:
        network: which.
        way: where.
        batch: images at once.
        image: pixels of height and width.
        runs: how often each is measured, at most.
        seconds: after so many no further run begins.

    Raises:
        OutOfMemory: the device has not enough.
    """
    with td.device(way.device, kernels=way.kernels):
        made = td.models.load(network.model)
        images = td.random.normal((batch, 3, image, image))
        labels = td.zeros((batch,), dtype=td.int64)
        td.evaluate(images, labels)

        def loss(x: Any, y: Any) -> Any:
            outputs = made(x)
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs
            return td.nn.cross_entropy(outputs, y)

        def both(x: Any, y: Any) -> Any:
            value = loss(x, y)
            return value, *td.gradients(value, list(made.parameters().values()))

        forward = _median(td.compile(loss), images, labels, runs, seconds)
        total = _median(td.compile(both), images, labels, runs, seconds)
    return Times(forward, total)


def _median(step: Callable[..., Any], images: Any, labels: Any, runs: int, seconds: float) -> float:
    def once() -> float:
        began = time.perf_counter()
        found = step(images, labels)
        (found[0] if isinstance(found, tuple) else found).item()
        return (time.perf_counter() - began) * 1e3

    began = time.perf_counter()
    once()  # compiles
    times = [once()]
    while len(times) < runs and time.perf_counter() - began < seconds:
        times.append(once())
    return statistics.median(times)


def draw(rows: dict[str, dict[str, Times]], path: str) -> None:
    """The two charts as a PNG file: all ways on a logarithmic scale, and how many times as fast a vendor's
    kernels are.

    Args:
        rows: by network and by the title of a way.
        path: the file.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    import matplotlib  # pyright: ignore

    matplotlib.use("agg")
    from matplotlib import pyplot  # pyright: ignore

    titles = list(dict.fromkeys([title for times in rows.values() for title in times]))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(15, 5), layout="constrained")
    names = [NETWORKS[name].title for name in rows]
    width = 0.8 / (len(titles) + 1)
    bars = {"Titan X, cuDNN 5.1 (2016)": [NETWORKS[name].published_ms for name in rows]}
    bars |= {title: [rows[n][title].total if title in rows[n] else 0 for n in rows] for title in titles}
    for i, (title, values) in enumerate(bars.items()):
        left.bar([x + (i - len(titles) / 2) * width for x in range(len(names))], values, width, label=title)
    left.set_yscale("log")
    left.set_ylabel("ms, forward and backward, batch of 16")
    left.set_xticks(range(len(names)), names, rotation=45, ha="right")
    left.legend()
    pairs = [(t, t.replace("vendor's", "generated")) for t in titles if t.endswith("vendor's")]
    for vendor, generated in pairs:
        both = [n for n in rows if vendor in rows[n] and generated in rows[n]]
        right.bar(
            [NETWORKS[n].title for n in both],
            [rows[n][generated].total / rows[n][vendor].total for n in both],
        )
    right.set_ylabel("times as fast by the vendor's kernels")
    right.axhspan(2.2, 3.0, color="0.85", zorder=0, label="2016: cuDNN 5.1 against plain CUDA")
    right.tick_params(axis="x", rotation=45)
    if not pairs:
        right.text(0.5, 0.5, "no NVIDIA GPU here", ha="center", transform=right.transAxes)
    right.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


__all__ = ["NETWORKS", "PUBLISHED", "Network", "Times", "Way", "draw", "measure", "ways"]
