"""How fast images come from disk to a model: each stage by itself on one core, and all of them together.

Knows nothing of how the numbers are shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import treadle as td
from treadle import data, nn, optim
from treadle.data.ahead import copied
from treadle.data.extra import needed
from treadle.data.images import JPEG
from treadle.data.item import MISSING, Item, stack
from treadle.errors import ArgumentError

HEIGHT, WIDTH = 375, 500
"""Of generated photographs: ImageNet's usual size."""
CLASSES = 10


def generate(folder: Path, count: int) -> None:
    """Write JPEG images of smooth shapes and grain, some 100 kB each, into folders of `CLASSES` classes."""
    cv2 = needed("cv2", "treadle bench input")
    jpeg = needed("simplejpeg", "treadle bench input")
    numbers = np.random.default_rng(0)
    for number in range(count):
        coarse = numbers.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        grain = numbers.normal(0, 12, (HEIGHT, WIDTH, 1)).astype(np.int16)
        place = folder / f"class-{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        image = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        (place / f"{number:05}.jpg").write_bytes(jpeg.encode_jpeg(image, quality=90))


def measure(
    folder: Path,
    *,
    size: int = 224,
    batch: int = 32,
    threads: int = 2,
    processes: int = 0,
    seconds: float = 4.0,
    busy: float = 0.6,
    step_ms: float | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """The time of each stage for one image, and what the pipeline gives alone, with a model, and with one
    that computes for a share `busy` of the time on one core and waits for a device in the rest.

    Args:
        folder: of images, a folder for each class.
        size: of the crops the model gets.
        batch, threads, processes, device: of the pipeline.
        seconds: for each of the three runs of the pipeline; stages take less.
        busy: in (0, 1].
        step_ms: of the model that waits for a device; None for what one core needs for the step's data.

    Raises:
        ArgumentError: there are fewer images than a batch, or busy is not in (0, 1].
    """
    if not 0 < busy <= 1:
        raise ArgumentError(f"[bench input] busy={busy} is not in (0, 1]")
    steps = (data.RandomResizedCrop(size), data.RandomFlip(), data.ColorJitter(0.2, 0.2))
    batches = (
        data.image_folder(folder, least=size)
        .shuffle(seed=0)
        .augment(*steps, seed=1)
        .repeat()
        .batch(batch)
        .map(_classes)
    )
    files = [path for path in Path(folder).rglob("*") if path.suffix.lower() in (*JPEG, ".png")]
    if len(files) < batch:
        raise ArgumentError(f"[bench input] {folder} has {len(files)} images, fewer than a batch of {batch}")
    stages, sample = _stages(files, size, batch, steps, device)
    model = _model(size)
    stages["compute"] = _each_ms(lambda: model(*sample), seconds / 4) / batch
    part = tuple(td.asarray(value[:4].numpy(), device=device) for value in sample)
    workers = {"threads": threads, "processes": processes, "device": device}
    of_data = sum(ms for stage, ms in stages.items() if stage != "compute") * batch
    step = of_data if step_ms is None else step_ms
    before = td.num_threads()
    runs = {
        "data alone": _run(batches, workers, batch, seconds, lambda x, y: None),
        "with the model": _run(batches, workers, batch, seconds, model),
    }
    runs["with the model"]["alone_ms"] = stages["compute"] * batch
    td.set_num_threads(1)
    try:
        waits = _waiting_for_a_device(lambda: model(*part), busy, step / 1000)
        alone = _each_ms(lambda: waits(None, None), seconds / 4)
        run = _run(batches, workers, batch, seconds, waits)
        runs["a model that needs part of a core"] = {**run, "alone_ms": alone, "busy": busy}
    finally:
        td.set_num_threads(before)
    return {
        "images": len(files),
        "bytes": sum(path.stat().st_size for path in files) // len(files),
        "size": size,
        "batch": batch,
        "cores": os.cpu_count(),
        **workers,
        "stages_ms": stages,
        "runs": runs,
    }


def _classes(rows: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return rows[0], rows[1] % CLASSES


def _stages(
    files: list[Path], size: int, batch: int, steps: tuple[Any, ...], device: str
) -> tuple[dict[str, float], tuple[Any, Any]]:
    """Milliseconds for one image in each stage, on one core; and a batch."""
    cv2 = needed("cv2", "treadle bench input")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    chosen = files[: max(batch, 128)]
    try:
        for path in chosen:
            _forget(path)
        contents, disk = _timed(lambda path: path.read_bytes(), chosen)
        images, decode = _timed(lambda content: data.decode_image(content, least=size), contents)
        numbers = np.random.default_rng(0)

        def augmented(image: np.ndarray) -> np.ndarray:
            for step in steps:
                image = step(image, numbers)
            return np.ascontiguousarray(image)

        changed, augment = _timed(augmented, images)
    finally:
        cv2.setNumThreads(threads)
    rows = [(image, np.int64(place % CLASSES)) for place, image in enumerate(changed[:batch])]
    stacked, together = _timed(lambda rows: stack(rows, [""] * batch), [rows] * 8)
    put = copied(device)
    items, copy = _timed(put, [Item(value, ()) for value in stacked])
    value = items[0].value
    if value is MISSING:
        raise items[0].faults[0].error()
    ms = {"disk": disk, "decode": decode, "augment": augment, "batch": together / batch, "copy": copy / batch}
    return ms, value


def _forget(path: Path) -> None:
    """Ask the system to read a file from the disk again."""
    if hasattr(os, "posix_fadvise"):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _timed(function: Callable[[Any], Any], values: list[Any]) -> tuple[list[Any], float]:
    """What a function makes of values, and the milliseconds that each took."""
    function(values[0])
    began = time.perf_counter()
    made = [function(value) for value in values]
    return made, 1000 * (time.perf_counter() - began) / len(values)


def _each_ms(function: Callable[[], Any], seconds: float) -> float:
    """Milliseconds of a call, the median."""
    function()
    took = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not took:
        began = time.perf_counter()
        function()
        took.append(1000 * (time.perf_counter() - began))
    return float(np.median(took))


def _model(size: int) -> Callable[[Any, Any], float]:
    """A training step of a small convolutional network on uint8 images, which gives the loss."""
    net = nn.Sequential(
        nn.Conv(3, 16, 7, stride=4, padding=3, layout="NHWC"),
        td.relu,
        nn.MaxPool(2, layout="NHWC"),
        nn.Conv(16, 32, 3, padding=1, layout="NHWC"),
        td.relu,
        nn.GlobalAveragePool(layout="NHWC"),
        nn.Dense(32, CLASSES),
    )
    optimizer = optim.SGD(net.parameters(), 0.01)

    @td.compile
    def step(x: td.Array, y: td.Array) -> td.Array:
        loss = nn.cross_entropy(net(td.astype(x, td.float32) / 255), y)
        optimizer.step(td.gradients(loss, net.parameters()))
        return loss

    return lambda x, y: float(step(x, y))


def _waiting_for_a_device(
    compute: Callable[[], Any], busy: float, step_s: float
) -> Callable[[Any, Any], None]:
    """A step that computes on this thread for a share of its time, and sleeps in the rest."""

    def step(x: Any, y: Any) -> None:
        began, computed = time.perf_counter(), time.thread_time()
        while time.thread_time() - computed < busy * step_s:
            compute()
        time.sleep(max(0.0, began + step_s - time.perf_counter()))

    return step


def _run(
    batches: Any, workers: dict[str, Any], batch: int, seconds: float, step: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    """Images a second, and the share of the time that the loop waited, with `step` for each batch."""
    with batches.loader(**workers) as loader:
        for _ in range(3):  # workers start and programs are compiled before it counts
            step(*next(loader))
        loader.waited_s = loader.total_s = 0.0
        loader.spent = {}
        count, began = 0, time.perf_counter()
        iterator = iter(loader)
        while time.perf_counter() - began < seconds or count < 3:
            step(*next(iterator))
            count += 1
        took = time.perf_counter() - began
        return {
            "images_per_s": count * batch / took,
            "step_ms": 1000 * (took - loader.waited_s) / count,
            "waited_share": loader.waited_s / took,
            "spent_ms": {stage: 1000 * s / (count * batch) for stage, s in loader.spent.items()},
            "advice": loader.advice() if loader.waited_s > 0.05 * took else "",
        }
