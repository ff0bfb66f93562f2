"""Writes the files of weights that the tests read. Run with PyTorch 2.13."""

from collections import OrderedDict
from pathlib import Path

import torch

here = Path(__file__).parent
base = torch.arange(12, dtype=torch.float32)
values = OrderedDict(
    matrix=base.reshape(3, 4),
    transposed=base.reshape(3, 4).T,
    part=base[5:8],
    half=torch.tensor([0.5, -2.0], dtype=torch.float16),
    brain=torch.tensor([1.5, 3.0], dtype=torch.bfloat16),
    counts=torch.tensor([[1, -2]], dtype=torch.int64),
    flags=torch.tensor([True, False]),
    nothing=torch.zeros(0, 3),
    scalar=torch.tensor(7),
    parameter=torch.nn.Parameter(torch.tensor([[1.0], [2.0]])),
)
torch.save(values, here / "values.pth")
torch.save(values, here / "values-protocol-4.pth", pickle_protocol=4)
torch.save(values, here / "values-before-1.6.pth", _use_new_zipfile_serialization=False)
net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
for i, parameter in enumerate(net.parameters()):
    parameter.data = torch.sin(torch.arange(parameter.numel()) + i).reshape(parameter.shape)
torch.save({"epoch": 3, "state_dict": net.state_dict()}, here / "checkpoint.pth")
torch.save(net, here / "whole-module.pth")
