"""The small graph a = x * y; b = a + z; c = sum(b), three ways, and its picture before and after `gradients`.

`python examples/1_small_graph.py` writes small_graph.html and small_graph_gradients.html where it is run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import treadle as td

N, D = 3, 4


def data():
    numbers = np.random.default_rng(0)
    return [numbers.normal(size=(N, D)).astype(np.float32) for _ in range(3)]


def by_hand():
    """NumPy, with the gradients worked out on paper."""
    x, y, z = data()
    a = x * y
    b = a + z
    c = b.sum()

    grad_c = np.float32(1)
    grad_b = grad_c * np.ones((N, D), np.float32)
    grad_a, grad_z = grad_b, grad_b
    grad_x, grad_y = grad_a * y, grad_a * x
    return c, [grad_x, grad_y, grad_z]


def define_then_run(pictures: Path | None = None):
    """Placeholders hold no values: the graph is built first, with its gradients, then run on what is fed."""
    x = td.placeholder((N, D), name="x")
    y = td.placeholder((N, D), name="y")
    z = td.placeholder((N, D), name="z")
    a = x * y
    b = a + z
    c = td.sum(b)
    grads = td.gradients(c, [x, y, z])

    if pictures is not None:
        td.show(c, path=pictures / "small_graph.html")
        td.show([c, *grads], path=pictures / "small_graph_gradients.html")

    session = td.Session()
    c_value, grad_values = session.run([c, grads], dict(zip([x, y, z], data())))
    return c_value, grad_values


def define_by_run():
    """Arrays hold values: the graph comes into being as the lines run, and every array can be looked at."""
    x, y, z = [td.asarray(values) for values in data()]
    for array in (x, y, z):
        array.requires_grad = True
    a = x * y
    b = a + z
    c = b.sum()
    c.backward()
    return c, [x.grad, y.grad, z.grad]


def main(pictures: Path | None = Path()):
    for way, (c, grads) in {
        "NumPy, gradients by hand": by_hand(),
        "placeholders and a session": define_then_run(pictures),
        "define-by-run": define_by_run(),
    }.items():
        print(f"{way:28}c = {float(c):.5f}   d c / d x[0] =", np.round(np.asarray(grads[0])[0], 4))


if __name__ == "__main__":
    main()
