"""Per-example gradients and Jacobians: `vmap` against a Python loop, and against torch.func if it is there.

    python bench/vmap.py [WORD ...] [--seconds S] [--threads N]

Wall time, the medians of calls that take turns; the ratio is the other's time over ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from case import OURS
from interleave import interleaved, ratio
from peers import cores, torch, use_threads

import treadle as td

BATCH = 64
Calls = Mapping[str, Callable[[], Any]]


def drawn(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    numbers = np.random.RandomState(0)
    return [(numbers.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for shape in shapes]


def two_layer(inputs: int, hidden: int, outputs: int) -> Calls:
    """Gradients of a squared loss by both weights, for every example of a batch."""
    x, y, w1, w2 = drawn((BATCH, inputs), (BATCH, outputs), (inputs, hidden), (hidden, outputs))

    def loss(w1, w2, x, y):
        return td.sum(td.square(td.relu(x @ w1) @ w2 - y))

    arrays = [td.asarray(a) for a in (w1, w2, x, y)]
    gradient = td.grad(loss, argument=(0, 1))
    calls = {OURS: td.compile(td.vmap(gradient, in_axes=(None, None, 0, 0)))}
    one = td.compile(gradient)

    def loop(w1, w2, x, y):
        parts = [one(w1, w2, x[i], y[i]) for i in range(BATCH)]
        return [np.stack([np.asarray(part[k]) for part in parts]) for k in range(2)]

    calls["loop of compiled calls"] = loop
    calls["vmap, define-by-run"] = lambda *a: evaluated(td.vmap(gradient, in_axes=(None, None, 0, 0))(*a))
    made = {name: (lambda call=call: call(*arrays)) for name, call in calls.items()}
    if torch is not None:
        tensors = [torch.from_numpy(a) for a in (w1, w2, x, y)]

        def torch_loss(w1, w2, x, y):
            return ((torch.relu(x @ w1) @ w2 - y) ** 2).sum()

        each = torch.func.vmap(torch.func.grad(torch_loss, argnums=(0, 1)), in_dims=(None, None, 0, 0))
        made["torch.func"] = lambda: each(*tensors)
    return made


def convolutional() -> Calls:
    """Gradients of a small convolutional network by its filters and its weights, for every example."""
    x, w1, w2, w3 = drawn((BATCH, 1, 16, 16), (16, 1, 3, 3), (32, 16, 3, 3), (512, 10))
    labels = np.arange(BATCH) % 10

    def loss(w1, w2, w3, x, y):
        maps = td.max_pool(td.relu(td.conv(x[None], w1, padding=1)), 2)
        maps = td.max_pool(td.relu(td.conv(maps, w2, padding=1)), 2)
        return -td.sum(td.log_softmax(td.reshape(maps, (-1,)) @ w3) * td.one_hot(y, 10))

    arrays = [td.asarray(a) for a in (w1, w2, w3, x, labels)]
    gradient = td.grad(loss, argument=(0, 1, 2))
    each = td.compile(td.vmap(gradient, in_axes=(None, None, None, 0, 0)))
    one = td.compile(gradient)

    def loop():
        parts = [one(*arrays[:3], arrays[3][i], arrays[4][i]) for i in range(BATCH)]
        return [np.stack([np.asarray(part[k]) for part in parts]) for k in range(3)]

    made: dict[str, Callable[[], Any]] = {OURS: lambda: each(*arrays), "loop of compiled calls": loop}
    if torch is not None:
        F = torch.nn.functional
        tensors = [torch.from_numpy(a) for a in (w1, w2, w3, x, labels)]

        def torch_loss(w1, w2, w3, x, y):
            maps = F.max_pool2d(torch.relu(F.conv2d(x[None], w1, padding=1)), 2)
            maps = F.max_pool2d(torch.relu(F.conv2d(maps, w2, padding=1)), 2)
            return F.cross_entropy(maps.reshape(1, -1) @ w3, y[None])

        per_example = torch.func.vmap(
            torch.func.grad(torch_loss, argnums=(0, 1, 2)), in_dims=(None, None, None, 0, 0)
        )
        made["torch.func"] = lambda: per_example(*tensors)
    return made


def jacobian() -> Calls:
    """Of a three-layer network of width 64, by its input."""
    x, *weights = drawn((64,), (64, 64), (64, 64), (64, 64))
    a, ws = td.asarray(x), [td.asarray(w) for w in weights]

    def network(x):
        for w in ws:
            x = td.tanh(x @ w)
        return x

    ours = td.compile(td.jacobian(network))
    made: dict[str, Callable[[], Any]] = {OURS: lambda: [ours(a)]}
    if torch is not None:
        t, ts = torch.from_numpy(x), [torch.from_numpy(w) for w in weights]

        def torch_network(x):
            for w in ts:
                x = torch.tanh(x @ w)
            return x

        theirs = torch.func.jacrev(torch_network)
        made["torch.func"] = lambda: [theirs(t)]
    return made


def evaluated(arrays: list[td.Array]) -> list[td.Array]:
    td.evaluate(*arrays)
    return arrays


CASES = {
    "two-layer 64 -> 32 -> 10": lambda: two_layer(64, 32, 10),
    "two-layer 1000 -> 100 -> 1000": lambda: two_layer(1000, 100, 1000),
    "convolutional": convolutional,
    "jacobian of a network": jacobian,
}


def measure(name: str, seconds: float) -> None:
    """Compare what the calls give, then print their times."""
    calls = CASES[name]()
    results = {who: [np.asarray(value) for value in call()] for who, call in calls.items()}
    for who, values in results.items():
        for value, expected in zip(values, results[OURS], strict=True):
            error = np.abs(value - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (name, who, error)
    times = interleaved(calls, seconds)
    print(f"{name}: ours {times[OURS].median * 1e3:.3f} ms", flush=True)
    for who in calls:
        if who != OURS:
            print(f"    {who:28} {times[who].median * 1e3:9.3f} ms   {ratio(times, who, OURS):6.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring per case")
    parser.add_argument("--threads", type=int, default=cores())
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    for name in CASES:
        if not arguments.words or any(word in name for word in arguments.words):
            measure(name, arguments.seconds)


if __name__ == "__main__":
    main()
