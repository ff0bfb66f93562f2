"""A small convolutional net, or a residual one, on the 70,000 images of Fashion-MNIST.

    python examples/7_fashion_mnist.py [--net cnn|residual] [--epochs N] [--folder WHERE-IT-IS]

Images are mirrored and moved at random in the step itself; the test accuracy is printed after every epoch.
"""

import argparse

import treadle as td
from treadle import nn, optim, train
from treadle.datasets import fashion_mnist

BATCH = 128


class ConvNormRelu(nn.Module):
    """A 3x3 convolution that keeps the size, batch-norm and ReLU."""

    def __init__(self, inputs, outputs):
        self.conv = nn.Conv(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm(outputs)

    def forward(self, x):
        return td.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two of them beside the identity."""

    def __init__(self, width):
        self.inner = nn.Sequential(ConvNormRelu(width, width), ConvNormRelu(width, width))

    def forward(self, x):
        return x + self.inner(x)


def flattened(x):
    return td.reshape(x, (x.shape[0], -1))


def small_cnn(width=32):
    return nn.Sequential(
        ConvNormRelu(1, width),
        ConvNormRelu(width, width),
        nn.MaxPool(2),
        ConvNormRelu(width, 2 * width),
        nn.MaxPool(2),
        flattened,
        nn.Dense(7 * 7 * 2 * width, 128),
        td.relu,
        nn.Dropout(0.3),
        nn.Dense(128, 10),
    )


def residual_net(width=32):
    return nn.Sequential(
        ConvNormRelu(1, width),
        ConvNormRelu(width, 2 * width),
        nn.MaxPool(2),
        Residual(2 * width),
        ConvNormRelu(2 * width, 4 * width),
        nn.MaxPool(2),
        Residual(4 * width),
        nn.AdaptiveMaxPool(1),
        flattened,
        nn.Dropout(0.2),
        nn.Dense(4 * width, 10),
    )


NETS = {
    # name: (what makes it, its epochs, what moves the images)
    "cnn": (small_cnn, 7, [nn.RandomFlip()]),
    "residual": (residual_net, 14, [nn.RandomFlip(), nn.RandomShift(2)]),
}


def main(net="cnn", epochs=None, data=None, callbacks=()):
    """Train a net; the history of the run."""
    make, usual, moves = NETS[net]
    epochs = epochs or usual
    images, labels, test_images, test_labels = fashion_mnist() if data is None else data
    mean, std = images.mean(), images.std()
    model = nn.Sequential(lambda x: (x - mean) / std, *moves, make())
    steps = epochs * -(-len(images) // BATCH)
    trainer = train.Trainer(
        model,
        lambda scores, labels: nn.cross_entropy(scores, labels, smoothing=0.05),
        optim.AdamW(model.parameters(), optim.one_cycle(4e-3, steps), weight_decay=0.02),
        metrics=["accuracy"],
        callbacks=callbacks,
    )
    return trainer.fit((images, labels), epochs=epochs, batch=BATCH, validation=(test_images, test_labels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=NETS, default="cnn")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--folder", help="where the four files are, if not where packages put them")
    chosen = parser.parse_args()
    shown = train.every(epochs=1)(
        lambda trainer: print(
            f"epoch {trainer.epoch}: loss {trainer.latest['training/loss']:.4f}, "
            f"test accuracy {trainer.latest['validation/accuracy']:.2%}",
            flush=True,
        )
    )
    history = main(chosen.net, chosen.epochs, chosen.folder and fashion_mnist(chosen.folder), [shown])
    print(history)
