"""Writes recurrent.npz: what PyTorch's recurrent layers give, and their gradients. Run with PyTorch 2.13."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

found = {}
LENGTHS = [2, 5, 3]


def wave(*shape, phase=0.0):
    return np.sin(np.arange(np.prod(shape), dtype="float32") * 0.7 + phase).reshape(shape)


def layer(name, module, lengths):
    for i, parameter in enumerate(module.parameters()):
        parameter.data = torch.tensor(wave(*parameter.shape, phase=i + 1.0))
    x = torch.tensor(wave(3, 5, 2), requires_grad=True)
    first = [torch.tensor(0.5 * wave(4, 3, 4, phase=k), requires_grad=True) for k in range(2)]
    first = first if isinstance(module, nn.LSTM) else first[:1]
    given = tuple(first) if len(first) > 1 else first[0]
    if lengths:
        packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
        y, last = module(packed, given)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=5)
    else:
        y, last = module(x, given)
    last = last if isinstance(last, tuple) else (last,)
    total = (y * torch.tensor(wave(*y.shape, phase=0.5))).sum()
    for k, part in enumerate(last):
        total = total + (part * torch.tensor(wave(*part.shape, phase=1.5 + k))).sum()
        found[f"{name}.last{k}"] = part.detach().numpy()
    total.backward()
    found[f"{name}.y"], found[f"{name}.dx"] = y.detach().numpy(), x.grad.numpy()
    for k, part in enumerate(first):
        found[f"{name}.dfirst{k}"] = part.grad.numpy()
    for path, parameter in module.named_parameters():
        found[f"{name}.d.{path}"] = parameter.grad.numpy()


for kind in ("RNN", "LSTM", "GRU"):
    for lengths in (False, True):
        module = getattr(nn, kind)(2, 4, num_layers=2, bidirectional=True, batch_first=True)
        layer(kind + ".lengths" * lengths, module, lengths)
np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **found)
