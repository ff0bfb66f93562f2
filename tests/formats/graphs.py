"""What the golden files hold: small functions of every kind of thing that a file carries.

``python tests/formats/graphs.py`` writes the files of the format's present version, those that are there
already excepted: a file of a version stays as it was written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import treadle as td
from treadle.dtypes import ALL

HERE = Path(__file__).resolve().parent
X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def dense(path: Path) -> None:
    """Variables, a symbolic size, and a training step."""
    w = td.Variable(np.arange(6, dtype=np.float32).reshape(3, 2) / 10, name="w", layout=(1, 0))
    b = td.Variable(td.zeros(2), name="b")
    count = td.Variable(np.array(0), name="count", trainable=False)

    def predict(x: Any) -> Any:
        with td.scope("layer"):
            return td.tanh(x @ w + b)

    def train(x: Any, t: Any, rate: Any) -> Any:
        loss = td.mean(td.square(predict(x) - t))
        gw, gb = td.gradients(loss, [w, b])
        w.assign(w - rate * gw)
        b.assign(b - rate * gb)
        count.assign(count + 1)
        return {"loss": loss, "norms": (td.sum(gw * gw), td.sum(gb * gb))}

    x, t = td.placeholder(("batch", 3)), td.placeholder(("batch", 2))
    td.save(path, {"predict": (predict, x), "train": (train, x, t, 0.1)})


def dtypes(path: Path) -> None:
    """Constants of every dtype."""
    constants = {name: td.asarray([0, 1, 1], dtype=name) for name in map(str, ALL)}
    td.save(path, lambda: {name: td.flip(value) for name, value in constants.items()})


def noise(path: Path) -> None:
    """Random numbers, a custom gradient, a recomputed region, a gradient that stops."""

    @td.custom_vjp
    def clipped(x: Any) -> Any:
        return td.clip(x, -0.5, 0.5)

    @clipped.rule
    def straight_through(g: Any, y: Any, x: Any) -> Any:
        return (g * 2.0 + 0.0 * x,)

    def noisy(x: Any) -> Any:
        inner = td.checkpoint(lambda z: td.sin(td.exp(z)), x)
        noise = td.random.normal((2, 3), key=td.random.key(7))
        return clipped(x) + inner + td.stop_gradient(x) + noise

    td.save(path, noisy, td.ones((2, 3)))


def loops(path: Path) -> None:
    """A scan with a branch, a custom gradient and values without history in it."""

    @td.custom_vjp
    def clipped(x: Any) -> Any:
        return td.clip(x, -0.5, 0.5)

    @clipped.rule
    def straight_through(g: Any, y: Any, x: Any) -> Any:
        return (g * 2.0 + 0.0 * x,)

    def step(h: Any, x: Any) -> Any:
        with td.no_grad():
            size = td.sum(td.abs(x))
        h = td.cond(size > 1.5, lambda: h + size * clipped(x), lambda: h - x)
        return h, td.sum(h)

    td.save(path, lambda xs: td.scan(step, td.zeros(3), xs), td.placeholder(("length", 3)))


GRAPHS: dict[str, Callable[[Path], None]] = {
    "dense": dense, "dtypes": dtypes, "noise": noise, "loops": loops,
}  # fmt: skip


def main() -> None:
    """Write the files of this version."""
    from treadle.graphfile.upgrades import VERSION

    for name, write in GRAPHS.items():
        path = HERE / f"{name}.{VERSION}.treadle"
        if not path.exists():
            write(path)
            print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
