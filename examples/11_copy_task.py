"""A neural Turing machine learns to copy: sequences of random bits, read first and then written from memory.

    python examples/11_copy_task.py [--steps N]

It is trained on up to 10 vectors of 8 bits, and tested on 10 and, longer than any it has seen, 20.
"""

import argparse

import numpy as np

import treadle as td
from treadle import models, nn, optim

BITS, LONGEST, BATCH = 8, 10, 32


def sequences(numbers, length):
    """Inputs ``[batch, 2 * length + 2, bits + 2]``: a flag, the vectors, another flag, nothing; and the
    vectors.
    """
    vectors = numbers.integers(0, 2, (BATCH, length, BITS)).astype("float32")
    inputs = np.zeros((BATCH, 2 * length + 2, BITS + 2), "float32")
    inputs[:, 1 : length + 1, :BITS] = vectors
    inputs[:, 0, BITS] = inputs[:, length + 1, BITS + 1] = 1
    return inputs, vectors


def main(steps=4000, show=print, rate=1e-3, longest=LONGEST):
    """Train; wrong bits a sequence at the longest length and at twice that."""
    td.random.seed(0)
    net = models.NeuralTuringMachine(BITS + 2, BITS, width=100, rows=32, columns=20)
    adam = optim.Adam(net.parameters(), rate, clip_norm=10.0)

    def copied(inputs, vectors):
        scores = net(inputs)[:, -vectors.shape[1] :]
        wrong = td.sum(td.astype((scores > 0) != (vectors > 0.5), td.float32)) / BATCH
        return nn.binary_cross_entropy(scores, vectors), wrong

    @td.compile
    def step(inputs, vectors):
        loss, wrong = copied(inputs, vectors)
        adam.step(td.gradients(loss, adam.parameters))
        return loss, wrong

    measure = td.compile(copied)
    numbers = np.random.default_rng(0)
    for i in range(steps):
        loss, wrong = step(*sequences(numbers, int(numbers.integers(1, longest + 1))))
        if i % 500 == 499:
            show(f"step {i + 1}: loss {float(loss):.4f}, wrong bits a sequence {float(wrong):.2f}")
    errors = {}
    for length in (longest, 2 * longest):
        tests = [float(measure(*sequences(numbers, length))[1]) for _ in range(10)]
        errors[length] = sum(tests) / len(tests)
        show(f"copies of {length} vectors: {errors[length]:.2f} of {BITS * length} bits wrong")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    main(parser.parse_args().steps)
