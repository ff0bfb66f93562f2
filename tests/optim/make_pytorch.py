"""Writes pytorch.npz: what PyTorch's optimizers make of two weights in 20 steps. Run with PyTorch 2.13."""

from pathlib import Path

import numpy as np
import torch

W = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
X = np.cos(np.arange(24, dtype="float32")).reshape(8, 3)
Y = np.sin(np.arange(32, dtype="float32")).reshape(8, 4)
MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "decayed": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01),
    "centered": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "adam": lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05),
}
found = {}
for name, maker in MAKERS.items():
    w, b = torch.tensor(W, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = maker([w, b])
    for _ in range(20):
        optimizer.zero_grad()
        ((torch.tensor(X) @ w + b - torch.tensor(Y)) ** 2).mean().backward()
        optimizer.step()
    found[f"{name}.w"], found[f"{name}.b"] = w.detach().numpy(), b.detach().numpy()
np.savez(Path(__file__).with_name("pytorch.npz"), **found)
