"""A training run in a process of its own, which kills itself (SIGKILL) where it is told to; it prints what it
came to. Noise, a partial last batch, batch statistics, averages, a schedule, early stopping: all that a
resumed run must go on with.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys

import numpy as np

import treadle as td
from treadle import nn, optim, train


def kill_at(what: str, number: int) -> None:
    """Die in the n-th call of os.fsync, os.rename or os.replace, before it does anything."""
    real, calls = getattr(os, what), [0]

    def watched(*args, **keywords):
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **keywords)

    setattr(os, what, watched)


class Drawing(train.Callback):
    """Remembers numbers that it draws from the generator that all share."""

    def __init__(self):
        self.drawn = []

    def epoch_ended(self, trainer):
        self.drawn.append(td.random.uniform(()).item())

    def state(self):
        return {"drawn": self.drawn}

    def load_state(self, state):
        self.drawn = state["drawn"]


def main(folder: str, kind: str, where: str, number: int) -> None:
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(70, 6)).astype("float32")
    y = (x[:, 0] > x[:, 1]).astype("int64") + (x[:, 2] > 0)
    td.random.seed(int(kind == "other seed"))
    net = nn.Sequential(nn.Dense(6, 12), nn.BatchNorm(12), td.relu, nn.Dropout(0.3), nn.Dense(12, 3))
    opt = optim.Adam(
        net.parameters(), optim.cosine(0.02, 30), accumulate=2, ema=optim.EMA(net.parameters(), 0.9)
    )
    td.random.seed(5)
    drawing, stopping = Drawing(), train.EarlyStopping("validation/loss", patience=9)
    trainer = train.Trainer(
        net, nn.cross_entropy, opt, metrics=["accuracy", "confusion"], folder=folder, seed=3,
        callbacks=[
            drawing, stopping, train.Checkpoints(every=train.every(steps=3), best="validation/accuracy")
        ],
    )  # fmt: skip
    if where == "step":

        def die(trainer):
            if trainer.step == number:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.callbacks.append(train.every(steps=1)(die))
    elif where == "interrupt":

        def interrupt(trainer):
            if trainer.step == number:
                os.kill(os.getpid(), signal.SIGINT)

        trainer.callbacks.append(train.every(steps=1)(interrupt))
    elif where != "none":
        kill_at(where, number)
    data = (x, y)
    if kind == "loader":
        pipeline = td.data.arrays(x, y).shuffle(1).map(lambda row, g: (row[0] + g.normal(), row[1]), seed=2)
        data = pipeline.batch(16).loader(threads=0)
    trainer.fit(
        data, epochs=4, batch=None if kind == "loader" else 16, validation=(x[:33], y[:33]), resume=True
    )
    everything = {**net.state(), **{f"opt.{k}": v for k, v in opt.state().items()}}
    print(
        json.dumps(
            {
                "bits": {
                    k: hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest()
                    for k, v in everything.items()
                },
                "rows": trainer.history.rows,
                "latest": trainer.latest,
                "drawn": drawing.drawn,
                "best": [stopping.best.value, stopping.step, stopping.bad],
                "step": trainer.step,
                "stopped": trainer.stopped,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
