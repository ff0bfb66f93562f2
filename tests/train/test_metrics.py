"""Metrics against their definitions, over batches of unequal sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import treadle as td
from treadle import nn, train
from treadle.errors import ArgumentError, DTypeError, ShapeError

numbers = np.random.default_rng(0)
SCORES = numbers.normal(size=(103, 7)).astype("float32")
SCORES[numbers.random(103) < 0.2, 3] = 1.0
LABELS = numbers.integers(0, 7, 103)
PARTS = (0, 40, 43, 103)
BATCHES = [(SCORES[a:b], LABELS[a:b]) for a, b in itertools.pairwise(PARTS)]


class Same(nn.Module):
    def forward(self, x):
        return x


def measured(metrics, batches=BATCHES, loss=None):
    return train.Evaluation(Same(), loss, metrics)(batches)


def probabilities():
    e = np.exp(SCORES.astype(float) - SCORES.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def area(scores, positive):
    """By the definition: over all pairs."""
    differences = scores[positive][:, None] - scores[~positive][None]
    return np.mean((differences > 0) + 0.5 * (differences == 0))


def test_metrics_are_exact_over_unequal_batches():
    found = measured(
        {
            "accuracy": "accuracy",
            "top5": "top5",
            "top2": train.Accuracy(2),
            "confusion": train.Confusion(),
            "auc": train.AUC(),
            "perplexity": train.Perplexity(),
            "largest": lambda outputs, targets: td.max(outputs, axis=1),
            "first": train.Mean(lambda outputs, targets: td.mean(outputs[:, 0])),
        },
        loss=nn.cross_entropy,
    )
    guessed = SCORES.argmax(axis=1)
    ranks = (np.take_along_axis(SCORES, LABELS[:, None], 1) < SCORES).sum(axis=1)
    surprise = -np.log(probabilities()[np.arange(103), LABELS])
    assert found["accuracy"] == (guessed == LABELS).mean()
    assert found["top5"] == (ranks < 5).mean()
    assert found["top2"] == (ranks < 2).mean()
    confusion = np.zeros((7, 7), "int64")
    np.add.at(confusion, (LABELS, guessed), 1)
    assert np.array_equal(found["confusion"], confusion)
    areas = [area(probabilities()[:, c].astype("float32"), c == LABELS) for c in range(7)]
    assert found["auc"] == pytest.approx(np.mean(areas), abs=1e-3)
    assert found["loss"] == pytest.approx(surprise.mean(), rel=1e-6)
    assert found["perplexity"] == pytest.approx(np.exp(surprise.mean()), rel=1e-6)
    assert found["largest"] == pytest.approx(SCORES.max(axis=1).mean(), rel=1e-6)
    assert found["first"] == pytest.approx(SCORES[:, 0].mean(), rel=1e-5)


def test_an_evaluation_begins_anew():
    evaluation = train.Evaluation(Same(), None, ["accuracy", "auc"])
    first = evaluation(BATCHES)
    assert evaluation(BATCHES) == first
    assert evaluation.programs == 3


def test_two_classes():
    ties = np.round(SCORES[:, 0], 1)
    positive = LABELS > 3
    batches = [(ties[a:b], positive[a:b].astype("int64")) for a, b in itertools.pairwise(PARTS)]
    found = measured({"auc": "auc", "accuracy": train.Accuracy(threshold=0.0)}, batches)
    assert found["auc"] == pytest.approx(area(ties, positive), abs=1e-12)
    assert found["accuracy"] == ((ties >= 0) == positive).mean()
    pairs = [(np.stack([0 * x, x], axis=1), y) for x, y in batches]
    assert measured(["auc"], pairs)["auc"] == found["auc"]
    assert math.isnan(measured(["auc"], [(ties, np.ones(103, "int64"))])["auc"])


def test_guesses_that_are_no_finite_scores():
    labels = np.zeros(4, "int64")
    scores = np.array(
        [[1, 2, 3, -np.inf], [3, 2, 1, -np.inf], [np.nan, 0, 0, 0], [-np.inf, 0, 0, 0]], "float32"
    )
    assert measured({"top2": train.Accuracy(2)}, [(scores, labels)])["top2"] == 0.25
    # Of equal scores the first is guessed first, as if it were the only guess.
    same, all_labels = np.zeros((4, 4), "float32"), np.arange(4)
    for k in (1, 2, 3):
        assert measured({"top": train.Accuracy(k)}, [(same, all_labels)])["top"] == k / 4
    assert math.isnan(measured(["auc"], [(scores[1:, 0], np.array([1, 0, 1]))])["auc"])


def test_labels_that_are_left_out_and_probabilities():
    padded = np.where(LABELS == 2, -1, LABELS)
    found = measured(
        {"accuracy": train.Accuracy(ignore=-1), "perplexity": train.Perplexity(ignore=-1)}, [(SCORES, padded)]
    )
    kept = padded >= 0
    assert found["accuracy"] == (SCORES.argmax(axis=1) == LABELS)[kept].mean()
    surprise = -np.log(probabilities()[np.arange(103), LABELS])[kept]
    assert found["perplexity"] == pytest.approx(np.exp(surprise.mean()), rel=1e-6)
    wanted = np.eye(7, dtype="float32")[LABELS]
    assert measured(["accuracy"], [(SCORES, wanted)]) == measured(["accuracy"], [(SCORES, LABELS)])


@pytest.mark.parametrize(
    ("metrics", "error", "text"),
    [
        (["acuracy"], ArgumentError, "there is no metric 'acuracy'; there are accuracy"),
        (["accuracy", "accuracy"], ArgumentError, "there twice"),
        ({"loss": "accuracy"}, ArgumentError, "measured always"),
        ([3], ArgumentError, "no name, no Metric and no function"),
    ],
)
def test_metrics_that_are_none(metrics, error, text):
    with pytest.raises(error, match=text):
        train.Evaluation(Same(), None, metrics)


@pytest.mark.parametrize(
    ("metric", "targets", "error", "text"),
    [
        ("accuracy", LABELS[:, None], ShapeError, r"\[Accuracy\] outputs have shape \(103, 7\)"),
        ("confusion", LABELS.astype("float32"), DTypeError, r"\[Confusion\] targets are float32"),
        (train.Accuracy(threshold=0.0), LABELS, ShapeError, "must have one shape"),
        ("auc", LABELS[:50], ShapeError, r"\[AUC\] outputs have shape"),
    ],
)
def test_targets_that_do_not_fit(metric, targets, error, text):
    with pytest.raises(error, match=text):
        measured({"m": metric}, [(SCORES, targets)])


def test_sums_have_one_shape():
    class Growing(train.Metric):
        def batch(self, outputs, targets):
            return [outputs[:, 0]]

        def result(self, *totals):
            return float(totals[0].sum())

    with pytest.raises(ShapeError, match="has one shape for batches of any size"):
        measured({"growing": Growing()})


def test_one_score_is_always_the_largest():
    with pytest.raises(ShapeError, match=r"\(4, 1\) are one score an example.*Accuracy\(threshold=0\)"):
        train.Accuracy().batch(td.ones((4, 1)), td.ones((4, 1)))
