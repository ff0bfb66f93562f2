"""SGD, SGD with momentum, and Adam on one net: loss and test accuracy over the steps, in one plot.

    python examples/9_optimizers.py [--epochs N] [--figure optimizers.png]

Every optimizer begins from the same first values and sees the same batches of the 1,437 training digits; each
has the best of a few constant rates, by its last loss. The plot needs Matplotlib.
"""

import argparse

import treadle as td
from treadle import nn, optim, train
from treadle.datasets import digits

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
OPTIMIZERS = {
    "SGD": lambda parameters, rate: optim.SGD(parameters, rate),
    "SGD with momentum": lambda parameters, rate: optim.SGD(parameters, rate, momentum=0.9),
    "Adam": lambda parameters, rate: optim.Adam(parameters, rate),
}


def run(make, rate, epochs):
    """Losses of all steps, and the trainer's rows (one an epoch)."""
    images, labels, test_images, test_labels = digits()
    td.random.seed(0)
    model = nn.Sequential(
        nn.Conv(1, 16, 3, padding=1),
        td.relu,
        nn.MaxPool(2),
        lambda x: td.reshape(x, (x.shape[0], -1)),
        nn.Dense(256, 64),
        td.relu,
        nn.Dense(64, 10),
    )
    losses = []
    noted = train.every(steps=1)(lambda trainer: losses.append(trainer.latest["loss"]))
    trainer = train.Trainer(
        model, nn.cross_entropy, make(model.parameters(), rate), metrics=["accuracy"], callbacks=[noted]
    )
    history = trainer.fit((images, labels), epochs=epochs, batch=32, validation=(test_images, test_labels))
    return losses, history.rows


def main(epochs=6, rates=RATES, show=print):
    """By optimizer: the best rate, its losses, its rows."""
    found = {}
    for name, make in OPTIMIZERS.items():
        runs = {}
        for rate in rates:
            try:
                runs[rate] = run(make, rate, epochs)
            except td.errors.NumericsError:
                continue  # it has diverged
        rate = min(runs, key=lambda rate: sum(runs[rate][0][-45:]))
        losses, rows = runs[rate]
        found[name] = rate, losses, rows
        show(
            f"{name:18s} rate {rate:<6g} loss {sum(losses[-45:]) / 45:.4f} in the last epoch, "
            f"test accuracy {rows[0]['validation/accuracy']:.1%} after the first, "
            f"{rows[-1]['validation/accuracy']:.1%} after the last"
        )
    return found


def smoothed(values, width=15):
    """Means over the last `width` values."""
    return [sum(part := values[max(0, i - width + 1) : i + 1]) / len(part) for i in range(len(values))]


def draw(found, path):
    """Loss, smoothed over 15 steps, and test accuracy."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, (rate, losses, rows) in found.items():
        left.semilogy(range(1, len(losses) + 1), smoothed(losses), label=f"{name}, rate {rate:g}")
        points = [(row["step"], row["validation/accuracy"]) for row in rows]
        right.plot(*zip(*points), "o-", label=name)
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="test accuracy")
    left.legend()
    for panel in (left, right):
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--figure", help="a file to draw the curves into")
    chosen = parser.parse_args()
    found = main(chosen.epochs)
    if chosen.figure:
        draw(found, chosen.figure)
