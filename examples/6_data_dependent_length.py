"""A recurrent net that runs for as long as its own state says: through Python's `while`, and `td.while_loop`.

Both give the same numbers and gradients; the second is one native loop, and works in static graphs.
"""

from __future__ import annotations

import treadle as td

MOST_STEPS = 30


def step(h, w, x):
    """The next state."""
    return td.tanh(h @ w + x)


def goes_on(h):
    """Until the state has settled near its bounds."""
    return td.mean(h * h) < 0.8


def through_python(w, x):
    """The last state and the number of steps: the graph is as long as this run."""
    h, steps = td.zeros(x.shape), 0
    while goes_on(h) and steps < MOST_STEPS:
        h, steps = step(h, w, x), steps + 1
    return h, steps


def through_while_loop(w, x):
    """The same as one node of the graph."""

    def body(carry):
        h, steps = carry
        return step(h, w, x), steps + 1

    return td.while_loop(lambda carry: goes_on(carry[0]), body, (td.zeros(x.shape), 0), max_steps=MOST_STEPS)


def main():
    """For inputs of several sizes: (steps, loss, size of the gradient) both ways."""
    td.random.seed(0)
    w = td.Variable(0.1 * td.random.normal((8, 8)) + 2 * td.eye(8), name="w")
    direction = td.random.normal((8,))
    found = []
    for scale in (0.02, 0.1, 0.4, 1.6):
        row = []
        for run in (through_python, through_while_loop):
            h, steps = run(w, scale * direction)
            loss = td.sum(h * td.arange(8))
            slope = td.gradients(loss, w)
            row.append((int(steps), loss.item(), td.sqrt(td.sum(slope * slope)).item()))
        found.append(row)
        (steps, loss, size), again = row
        said = f"{steps:2} steps, loss {loss:8.4f}, gradient {size:8.4f}"
        print(f"input {scale:4}: {said}; as a loop {again[0]:2} steps")
    return found


if __name__ == "__main__":
    main()
