"""A linear classifier of handwritten digits: multi-class hinge loss and L2 regularisation, gradient descent.

The loss is that of Weston and Watkins (1999): every wrong class should score 1 less than the right one.
"""

from __future__ import annotations

import treadle as td
from treadle.datasets import digits

CLASSES = 10
RATE = 0.05
REGULARISATION = 1e-4


def main(steps=300):
    train_images, train_labels, test_images, test_labels = digits()
    x = td.asarray(train_images.reshape(len(train_images), -1))
    labels = td.asarray(train_labels)
    w = td.Variable(td.zeros((x.shape[1], CLASSES)), name="w")
    b = td.Variable(td.zeros(CLASSES), name="b")

    @td.compile
    def step(x, labels):
        scores = x @ w + b
        right = td.one_hot(labels, CLASSES)
        right_score = td.sum(scores * right, axis=1, keepdims=True)
        margins = td.relu(scores - right_score + 1) * (1 - right)
        loss = td.mean(td.sum(margins, axis=1)) + REGULARISATION * td.sum(w * w)
        grad_w, grad_b = td.gradients(loss, [w, b])
        w.assign(w - RATE * grad_w)
        b.assign(b - RATE * grad_b)
        return loss

    losses = []
    for i in range(steps):
        losses.append(float(step(x, labels)))
        if i % 50 == 0 or i == steps - 1:
            print(f"step {i:3}   loss {losses[-1]:.4f}")

    scores = td.asarray(test_images.reshape(len(test_images), -1)) @ w + b
    accuracy = float(td.mean(td.astype(td.argmax(scores, axis=1) == td.asarray(test_labels), td.float32)))
    print(f"test accuracy {accuracy:.1%}")
    return losses, accuracy


if __name__ == "__main__":
    main()
