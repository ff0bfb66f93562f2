"""Writes pytorch.npz: what PyTorch's optimizers make of two weights in 20 steps, the rates of its schedules,
the scale of losses that meet infinities, and losses under autocast. Run with PyTorch 2.13.
"""

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
    "nesterov decayed": lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "adagrad decayed": lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01),
    "rmsprop momentum": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9, momentum=0.5, weight_decay=0.1),
    "centered": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "centered alone": lambda p: torch.optim.RMSprop(p, 0.01, centered=True, eps=1e-4),
    "adam": lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.01),
    "adam betas": lambda p: torch.optim.Adam(p, 0.05, betas=(0.5, 0.9), eps=1e-3),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.05, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05),
    "adamw decayed": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.3, amsgrad=True),
    "groups": lambda p: torch.optim.Adam(
        [{"params": [p[0]], "lr": 0.02}, {"params": [p[1]], "weight_decay": 0.2}], 0.05
    ),
}
CLIPS = {
    "clip norm": lambda p: torch.nn.utils.clip_grad_norm_(p, 0.1),
    "clip value": lambda p: torch.nn.utils.clip_grad_value_(p, 0.05),
}
SCHEDULES = {
    "steps": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [5, 12], 0.3),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, 0.01),
    "linear": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, 15),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=20, cycle_momentum=False),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=2),
}
MEASURED = [
    1.0,
    0.9,
    0.9,
    0.91,
    0.9,
    0.95,
    0.7,
    0.7,
    0.7,
    0.7,
    0.7,
    0.7,
    0.7,
    0.69,
    0.68,
    0.7,
    0.7,
    0.7,
    0.7,
    0.1,
]


def weights():
    return [torch.tensor(W, requires_grad=True), torch.zeros(4, requires_grad=True)]


def gradients(parameters, x=X, y=Y):
    w, b = parameters
    ((torch.tensor(x) @ w + b - torch.tensor(y)) ** 2).mean().backward()


found = {}
for name, maker in {
    **MAKERS,
    **dict.fromkeys(CLIPS, lambda p: torch.optim.SGD(p, 0.5, momentum=0.5)),
}.items():
    parameters = weights()
    optimizer = maker(parameters)
    for _ in range(20):
        optimizer.zero_grad()
        gradients(parameters)
        if name in CLIPS:
            CLIPS[name](parameters)
        optimizer.step()
    found[f"{name}.w"], found[f"{name}.b"] = (p.detach().numpy() for p in parameters)

for name, maker in SCHEDULES.items():
    optimizer = torch.optim.SGD(weights(), 0.5)
    schedule = maker(optimizer)
    rates = []
    for value in MEASURED:
        optimizer.step()
        if name != "plateau":
            rates.append(optimizer.param_groups[0]["lr"])
        schedule.step(*([value] if name == "plateau" else []))
        if name == "plateau":
            rates.append(optimizer.param_groups[0]["lr"])
    found[f"schedule {name}"] = np.array(rates, "float32")

module = torch.nn.ParameterList(weights())
averaged = torch.optim.swa_utils.AveragedModel(
    module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
)
averaged.n_averaged += 1  # so that the mean begins at the first values, not after the first step
optimizer = torch.optim.Adam(module.parameters(), 0.05)
for _ in range(20):
    optimizer.zero_grad()
    gradients(list(module.parameters()))
    optimizer.step()
    averaged.update_parameters(module)
found["ema.w"], found["ema.b"] = (p.detach().numpy() for p in averaged.module.parameters())

# The scale of losses, with infinities in the inputs of some steps.
parameters = weights()
optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
scales = []
for step in range(20):
    optimizer.zero_grad()
    x = X.copy()
    x[0, 0] = np.inf if step in (1, 2, 7, 11) else x[0, 0]
    w, b = parameters
    scaler.scale(((torch.tensor(x) @ w + b - torch.tensor(Y)) ** 2).mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    scales.append(scaler.get_scale())
found["scales"] = np.array(scales, "float32")
found["scaled.w"], found["scaled.b"] = (p.detach().numpy() for p in parameters)

# Losses of a small network under autocast, from weights that are made from numbers alone.
first = np.cos(np.arange(3 * 16, dtype="float32")).reshape(3, 16)
last = np.sin(np.arange(16 * 4, dtype="float32")).reshape(16, 4) / 4
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 16), torch.nn.LayerNorm(16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(first.T.copy()))
        net[3].weight.copy_(torch.tensor(last.T.copy()))
        net[0].bias.zero_()
        net[3].bias.zero_()
    labels = torch.tensor(np.arange(8) % 4)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16, growth_interval=4)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = torch.nn.functional.cross_entropy(net(torch.tensor(X)), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    found[f"losses {str(dtype)[6:]}"] = np.array(losses, "float32")
    found[f"losses {str(dtype)[6:]} scale"] = np.array(scaler.get_scale(), "float32")
np.savez(Path(__file__).with_name("pytorch.npz"), **found)
