"""The programs in examples/ run, and give the numbers they are there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from treadle import nn

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MORE = ("4_least_squares.py", "5_spectral_filter.py")
WILD = "6_data_dependent_length.py"
TWO_LAYER = sorted(EXAMPLES.glob("2_two_layer_*.py"))


def imported(path):
    spec = spec_from_file_location(f"example_{path.stem}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here():
    tested = {"1_small_graph.py", "3_linear_hinge.py", WILD, *MORE, *(path.name for path in TWO_LAYER)}
    tested |= {"7_fashion_mnist.py", "8_noise_in_training.py", "9_optimizers.py"}
    tested |= {"10_text.py", "11_copy_task.py", "12_transfer_learning.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


@pytest.fixture(scope="module")
def losses_by_hand():
    return imported(TWO_LAYER[0]).main()


def test_the_two_layer_network_learns(losses_by_hand):
    assert len(TWO_LAYER) == 5
    assert len(losses_by_hand) == 50
    assert all(after < before for before, after in pairwise(losses_by_hand))
    assert losses_by_hand[-1] < 0.1 * losses_by_hand[0]


@pytest.mark.parametrize("path", TWO_LAYER[1:], ids=lambda path: path.stem)
def test_two_layer_programs_print_the_same_losses(path, losses_by_hand, capsys):
    losses = imported(path).main()
    np.testing.assert_allclose(losses, losses_by_hand, rtol=1e-4)
    printed = [float(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(printed, losses, rtol=1e-5)


def test_a_length_that_depends_on_data_is_the_same_as_a_loop(capsys):
    rows = imported(EXAMPLES / WILD).main()
    for by_python, by_loop in rows:
        assert by_loop[0] == by_python[0]
        np.testing.assert_allclose(by_loop[1:], by_python[1:], rtol=1e-4)
    assert len({by_python[0] for by_python, _ in rows}) > 2
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_the_hinge_classifier_learns_the_digits(capsys):
    losses, accuracy = imported(EXAMPLES / "3_linear_hinge.py").main()
    # The score of every class is 0 at first: each of the 9 wrong ones costs 1.
    assert losses[0] == pytest.approx(9)
    assert losses[-1] < 0.3
    assert accuracy >= 0.96
    assert f"test accuracy {accuracy:.1%}" in capsys.readouterr().out


def test_the_frequency_of_waves_is_found():
    losses, frequency, coefficients = imported(EXAMPLES / MORE[0]).main()
    assert losses[-1] < 0.02 * losses[0] and frequency == pytest.approx(2, abs=0.02)
    np.testing.assert_allclose(coefficients, [1.5, -0.5, 0.3], atol=0.05)


def test_the_filter_passes_what_is_signal():
    losses, weights = imported(EXAMPLES / MORE[1]).main()
    assert losses[-1] < 0.25 * losses[0]
    assert weights[1:6].min() > 0.9 and np.abs(weights[6:]).max() < 0.1


def test_the_small_graph_three_ways():
    example = imported(EXAMPLES / "1_small_graph.py")
    c, grads = example.by_hand()
    for way in (example.define_then_run, example.define_by_run):
        found_c, found_grads = way()
        assert float(found_c) == pytest.approx(float(c), rel=1e-6)
        for found, grad in zip(found_grads, grads):
            np.testing.assert_allclose(np.asarray(found), grad, rtol=1e-6)


def test_the_small_graph_is_drawn(tmp_path):
    command = [sys.executable, str(EXAMPLES / "1_small_graph.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    values = [line.split("c = ")[1].split()[0] for line in run.stdout.splitlines()]
    assert len(values) == 3
    assert len(set(values)) == 1
    before, after = (
        (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        for name in ("small_graph", "small_graph_gradients")
    )
    assert "<svg" in before
    assert len(after) > len(before)


@pytest.fixture(scope="module")
def images():
    """What the examples for Fashion-MNIST take, in small: a bright row says which class it is."""
    numbers = np.random.default_rng(0)
    found = []
    for count in (256, 64):
        labels = numbers.integers(0, 10, count)
        images = numbers.uniform(0, 0.5, (count, 1, 28, 28)).astype("float32")
        images[np.arange(count), 0, 4 + 2 * labels] += 0.5
        found += [images, labels]
    return found


@pytest.mark.parametrize("net", ["cnn", "residual"])
def test_the_nets_for_clothes_train(net, images):
    history = imported(EXAMPLES / "7_fashion_mnist.py").main(net, epochs=1, data=images)
    assert history.step == 2 and np.isfinite(history.column("training/loss")[1]).all()
    assert 0 <= history.rows[-1]["validation/accuracy"] <= 1


def test_kinds_of_noise_train(images):
    example, lines = imported(EXAMPLES / "8_noise_in_training.py"), []
    kinds = {kind: example.KINDS[kind] for kind in ("nothing", "stochastic depth")}
    runs = example.main(images, epochs=2, kinds=kinds, show=lambda line, **_: lines.append(line))
    assert list(runs) == list(kinds) and len(lines) == len(runs)
    for rows in runs.values():
        assert rows[-1]["training/loss"] < rows[0]["training/loss"]


def test_optimizers_are_compared():
    lines = []
    found = imported(EXAMPLES / "9_optimizers.py").main(epochs=2, rates=(0.01,), show=lines.append)
    assert list(found) == ["SGD", "SGD with momentum", "Adam"] and len(lines) == 3
    last = {name: sum(losses[-45:]) for name, (_, losses, _) in found.items()}
    assert last["SGD with momentum"] < last["SGD"]


@pytest.mark.parametrize("net", ["lstm", "gpt"])
def test_a_text_is_learned(net):
    text = "the quick brown fox jumps over the lazy dog. " * 200
    perplexity, written = imported(EXAMPLES / "10_text.py").main(net, steps=8, text=text, sample=20)
    assert perplexity < len(set(text)) and len(written) == 21 and set(written) <= set(text)


def test_short_sequences_are_copied():
    lines = []
    errors = imported(EXAMPLES / "11_copy_task.py").main(200, lines.append, rate=1e-2, longest=1)
    assert set(errors) == {1, 2} and errors[1] < 3 and len(lines) == 2


def test_what_a_network_has_learned_is_tuned(images, monkeypatch):
    example = imported(EXAMPLES / "12_transfer_learning.py")
    monkeypatch.setattr(example, "SIZE", 32)
    net = example.models.load("mobilenet_v2", width=0.35)
    frozen = {path: w for path, w in net.state().items() if path.startswith("features.14.")}
    small = nn.Sequential(nn.GlobalAveragePool(), nn.Dense(3, 10))
    monkeypatch.setattr(example.models, "load", lambda name, **_: small)
    found = example.main([part[:50] for part in images], net, epochs=(2, 1), show=lambda line: None)
    assert set(found) == {"head", "tuned", "scratch"} and all(0 <= a <= 1 for a in found.values())
    state = net.state()
    assert frozen and all((state[path] == w).all() for path, w in frozen.items())
    assert state["classifier.1.weight"].shape == (1280, 10)
