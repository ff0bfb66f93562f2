"""Noise in training that is averaged out in use: one net, without any and with each kind, on little data.

    python examples/8_noise_in_training.py [--epochs N] [--images N] [--folder WHERE] [--figure noise.png]

Trains the same small residual net on a part of Fashion-MNIST without anything against overfitting, with
dropout, DropConnect, stochastic depth, batch-norm, random crops and flips (averaged over views in the test),
and weight decay; draws the curves of training and test accuracy, which needs Matplotlib.
"""

import argparse

import treadle as td
from treadle import nn, optim, train
from treadle.datasets import fashion_mnist

BATCH, WIDTH = 50, 16


class Block(nn.Module):
    """Two convolutions beside the identity, with batch-norm and stochastic depth where asked."""

    def __init__(self, norm, depth):
        layers = []
        for _ in range(2):
            layers += [nn.Conv(WIDTH, WIDTH, 3, padding=1), *[nn.BatchNorm(WIDTH)] * norm, td.relu]
        inner = nn.Sequential(*layers)
        self.inner = nn.StochasticDepth(inner, depth) if depth else inner
        self.stochastic = bool(depth)

    def forward(self, x):
        return self.inner(x) if self.stochastic else x + self.inner(x)


def net(norm=False, dropout=0.0, connect=0.0, depth=0.0, moved=False):
    """The net with one kind of noise; the kinds are independent of one another."""
    hidden = nn.Dense(7 * 7 * WIDTH, 128)
    whole = nn.Sequential(
        *[nn.RandomFlip(), nn.RandomShift(2)] * moved,
        nn.Conv(1, WIDTH, 3, padding=1),
        td.relu,
        nn.MaxPool(2),
        Block(norm, depth),
        nn.MaxPool(2),
        Block(norm, depth),
        lambda x: td.reshape(x, (x.shape[0], -1)),
        nn.DropConnect(hidden, connect) if connect else hidden,
        td.relu,
        nn.Dropout(dropout),
        nn.Dense(128, 10),
    )
    return nn.Views(whole, nn.standard_views(shift=1)) if moved else whole


KINDS = {
    # what: (options of the net, weight decay)
    "nothing": ({}, 0.0),
    "dropout": ({"dropout": 0.5}, 0.0),
    "DropConnect": ({"connect": 0.5}, 0.0),
    "stochastic depth": ({"depth": 0.5}, 0.0),
    "batch-norm": ({"norm": True}, 0.0),
    "crops and flips": ({"moved": True}, 0.0),
    "weight decay": ({}, 0.5),
}


def main(data, epochs=40, kinds=KINDS, show=print):
    """Train the net with each kind; the runs' rows (one an epoch) by kind."""
    images, labels, test_images, test_labels = data
    mean, std = images.mean(), images.std()
    images, test_images = (images - mean) / std, (test_images - mean) / std
    steps = epochs * -(-len(images) // BATCH)
    runs = {}
    for kind, (options, decay) in kinds.items():
        td.random.seed(0)
        model = net(**options)
        trainer = train.Trainer(
            model,
            nn.cross_entropy,
            optim.AdamW(model.parameters(), optim.cosine(2e-3, steps), weight_decay=decay),
            metrics=["accuracy"],
        )
        held = test_images, test_labels
        history = trainer.fit((images, labels), epochs=epochs, batch=BATCH, validation=held)
        # Accuracy in training is measured with the noise; this is without.
        trained = trainer.evaluate((images, labels))["accuracy"]
        runs[kind] = history.rows
        best = max(row["validation/accuracy"] for row in history.rows)
        last = history.rows[-1]["validation/accuracy"]
        show(f"{kind:17s} training {trained:.1%}  test {last:.1%} (best {best:.1%})", flush=True)
    return runs


def draw(runs, path):
    """A panel for each kind: accuracy in training (with the noise) and in the test, beside those of none."""
    from matplotlib import pyplot

    bare = runs["nothing"]
    figure, panels = pyplot.subplots(2, 4, figsize=(13, 6), sharex=True, sharey=True, layout="constrained")
    panels = panels.ravel()
    for panel, (kind, rows) in zip(panels, runs.items()):
        for name, style in (("training/accuracy", "--"), ("validation/accuracy", "-")):
            for curve, colour in ((bare, "0.7"), (rows, "tab:blue")):
                points = [(row["epoch"], row[name]) for row in curve]
                panel.plot(*zip(*points), style, color=colour, linewidth=1.3)
        panel.set(title=kind, ylim=(0.6, 1.01))
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="accuracy")
    panels[-1].axis("off")
    lines = [pyplot.Line2D([], [], color=c, linestyle=s) for c in ("tab:blue", "0.7") for s in ("--", "-")]
    names = ["in training", "test", "in training, with nothing", "test, with nothing"]
    panels[-1].legend(lines, names, loc="center")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", help="where the four files are, if not where packages put them")
    parser.add_argument("--figure", help="a file to draw the curves into")
    chosen = parser.parse_args()
    images, labels, test_images, test_labels = fashion_mnist(chosen.folder)
    some = images[: chosen.images], labels[: chosen.images], test_images[:2000], test_labels[:2000]
    runs = main(some, chosen.epochs)
    if chosen.figure:
        draw(runs, chosen.figure)
