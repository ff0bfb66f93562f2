"""Writes pytorch.npz: what PyTorch's layers and losses give, and their gradients. Run with PyTorch 2.13."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

found = {}


def wave(*shape, phase=0.0):
    return np.sin(np.arange(np.prod(shape), dtype="float32") * 0.7 + phase).reshape(shape)


def layer(name, module, *shape):
    """Parameters set to waves; output and gradients of sum(output * wave) by the input and parameters."""
    for i, parameter in enumerate(module.parameters()):
        parameter.data = torch.tensor(wave(*parameter.shape, phase=i + 1.0))
    x = torch.tensor(wave(*shape), requires_grad=True)
    y = module(x)
    y = y[0] if isinstance(y, tuple) else y
    (y * torch.tensor(wave(*y.shape, phase=0.5))).sum().backward()
    found[f"{name}.y"], found[f"{name}.dx"] = y.detach().numpy(), x.grad.numpy()
    for path, parameter in module.named_parameters():
        found[f"{name}.d.{path}"] = parameter.grad.numpy()
    for path, buffer in module.named_buffers():
        if buffer.ndim:
            found[f"{name}.s.{path}"] = buffer.numpy()


layer("dense", nn.Linear(4, 3), 5, 4)
layer("conv1", nn.Conv1d(2, 4, 3, padding=1, stride=2), 2, 2, 7)
layer("conv2", nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), 2, 4, 6, 5)
layer("conv3", nn.Conv3d(2, 3, 2), 1, 2, 3, 4, 3)
layer("transposed1", nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1), 2, 3, 5)
layer("transposed2", nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), 2, 4, 3, 4)
layer("batch_norm", nn.BatchNorm2d(3), 4, 3, 2, 2)
layer("layer_norm", nn.LayerNorm((3, 4)), 2, 3, 4)
layer("group_norm", nn.GroupNorm(2, 4), 2, 4, 3, 3)
layer("instance_norm", nn.InstanceNorm2d(3), 2, 3, 4, 4)
layer("lrn", nn.LocalResponseNorm(4, alpha=0.5, beta=0.75, k=2.0), 2, 6, 3, 3)
layer("max_pool", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 2, 3, 8, 7)
layer("average_pool", nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), 2, 3, 8, 6)
layer("average_uncounted", nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), 2, 3, 8, 6)
layer("adaptive_average", nn.AdaptiveAvgPool2d((3, 5)), 2, 3, 8, 7)
layer("adaptive_max", nn.AdaptiveMaxPool2d(3), 2, 3, 8, 7)
layer("prelu", nn.PReLU(3), 2, 3, 4)
for name in (
    "leaky_relu",
    "elu",
    "selu",
    "silu",
    "softplus",
    "mish",
    "relu6",
    "hardsigmoid",
    "hardswish",
    "glu",
):
    function = getattr(F, name)
    x = torch.tensor(4 * wave(3, 8), requires_grad=True)
    y = function(x)
    y.sum().backward()
    found[f"{name}.y"], found[f"{name}.dx"] = y.detach().numpy(), x.grad.numpy()
mha = nn.MultiheadAttention(8, 2, batch_first=True)
for i, parameter in enumerate(mha.parameters()):
    parameter.data = torch.tensor(0.3 * wave(*parameter.shape, phase=i + 1.0))
x = torch.tensor(wave(2, 5, 8))
mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
found["heads.y"] = mha(x, x, x, attn_mask=mask, need_weights=False)[0].detach().numpy()
for path, parameter in mha.named_parameters():
    found[f"heads.p.{path}"] = parameter.detach().numpy()

scores, labels = 2 * wave(6, 4), np.array([0, 3, 1, 2, 2, 0])
probabilities = np.abs(wave(6, 4, phase=2.0)) + 0.1
probabilities /= probabilities.sum(1, keepdims=True)
other = wave(6, 4, phase=1.0)
t, lab, p, o = map(torch.tensor, (scores, labels, probabilities, other))
LOSSES = {
    "squared_error": lambda t: F.mse_loss(t, o),
    "absolute_error": lambda t: F.l1_loss(t, o, reduction="sum"),
    "huber": lambda t: F.huber_loss(t, o, delta=0.7),
    "hinge": lambda t: F.multi_margin_loss(t, lab, reduction="sum") * 4,
    "cross_entropy": lambda t: F.cross_entropy(t, lab),
    "smoothed": lambda t: F.cross_entropy(t, lab, label_smoothing=0.1),
    "ignoring": lambda t: F.cross_entropy(t, lab, ignore_index=2),
    "soft": lambda t: F.cross_entropy(t, p, label_smoothing=0.1),
    "binary": lambda t: F.binary_cross_entropy_with_logits(t, p),
    "kl": lambda t: F.kl_div(F.log_softmax(t, 1), p, reduction="batchmean"),
    "triplet": lambda t: F.triplet_margin_loss(t, o, p, margin=0.5),
}
for name, loss in LOSSES.items():
    x = torch.tensor(scores, requires_grad=True)
    y = loss(x)
    y.backward()
    found[f"{name}.y"], found[f"{name}.dx"] = y.detach().numpy(), x.grad.numpy()
np.savez_compressed(Path(__file__).with_name("pytorch.npz"), **found)
