"""Training on a loader: the same bits when it is resumed with other workers, on arrays of either kind."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle import data, nn, optim, train

IMAGES = np.random.default_rng(0).integers(0, 256, (45, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(45) % 3


def flat(batch):
    return batch[0].reshape(len(batch[0]), -1).astype(np.float32) / 255, batch[1]


def trained(folder, steps=15, resume=False, **workers):
    net = nn.Dense(36, 3, first=0.01)
    batches = (
        data.arrays(IMAGES, LABELS)
        .shuffle(seed=3)
        .augment(data.RandomCrop(6, padding=2), data.RandomFlip(), seed=4)
        .batch(8)
        .map(flat)
    )
    trainer = train.Trainer(net, nn.cross_entropy, optim.Adam(net.parameters(), 0.01), folder=folder)
    with batches.loader(**workers) as loader:
        trainer.fit(loader, steps=steps, resume=resume)
    return net.weight.numpy()


def test_resumed_in_the_middle_of_a_pass_with_other_workers(tmp_path):
    whole = trained(tmp_path / "whole", threads=0)
    assert np.array_equal(trained(tmp_path / "ahead", threads=3, device="cpu"), whole)
    half = trained(tmp_path / "halves", 8, threads=2)
    assert not np.array_equal(half, whole)
    again = trained(tmp_path / "halves", resume=True, threads=1, processes=1, device="cpu")
    assert np.array_equal(again, whole)


def test_a_step_takes_the_loaders_memory_and_leaves_it_alone():
    kept = np.arange(12, dtype=np.float32).reshape(4, 3)
    loader = data.source([0]).map(lambda _: kept).loader(device="cpu", threads=0)
    (array,) = list(loader)
    step = td.compile(lambda x: x * 2 + 1)
    assert step(array).tolist() == (kept * 2 + 1).tolist()
    array += 5  # moves the handle, not the memory
    assert array[0, 0].item() == 5 and kept.tolist() == np.arange(12.0).reshape(4, 3).tolist()
