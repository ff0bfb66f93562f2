"""What recipes name: models, optimizers, schedules, losses. Tables of names, and how each is made."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import treadle as td
from treadle import nn, optim
from treadle.errors import ArgumentError
from treadle.train.recipe.options import closest

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "adagrad": optim.AdaGrad,
    "rmsprop": optim.RMSProp,
}
NO_KEYS = ("parameters", "loss_scale")
"""Arguments of optimizers that are no plain values."""

SCHEDULES: dict[str, tuple[Callable[..., Any], str]] = {
    "cosine": (optim.cosine, "rate"),
    "linear": (optim.linear, "rate"),
    "steps_down": (optim.steps_down, "rate"),
    "one_cycle": (optim.one_cycle, "highest"),
    "constant": (lambda rate: rate, "rate"),
    "plateau": (optim.Plateau, "optimizer"),
}
"""Functions, and which of their arguments is the optimizer's rate, or the optimizer. Where they take `steps`,
all of the run are meant if the recipe does not say.
"""

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": nn.cross_entropy,
    "hinge": nn.hinge,
    "squared_error": nn.squared_error,
    "absolute_error": nn.absolute_error,
    "huber": nn.huber,
    "binary_cross_entropy": nn.binary_cross_entropy,
}
PLAIN = (bool, int, float, str)
"""Types of defaults that say of which type an option is."""
OF_CLASSES = ("cross_entropy", "hinge")
"""Losses of labels: accuracy is measured with them if nothing else is asked for."""

MODELS: dict[str, str] = {"digits": "treadle.train.digits:Digits"}
"""Where the models are that have a name here, besides those of `td.models`."""


def found(name: str, folder: Path) -> Callable[..., Any]:
    """What makes the model of a name: of one that `td.models` knows, of ``module:Class``, or of
    ``file.py:Class`` with a path from a folder.

    Raises:
        ArgumentError: there is no such name, module, file or class.
    """
    where, colon, what = MODELS.get(name, name).partition(":")
    if not colon:
        return _registered(name)
    if where.endswith(".py"):
        module = _from_file((folder / where).resolve())
    else:
        try:
            module = import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not where.startswith(error.name):
                raise
            raise ArgumentError(
                f"there is no module {where!r}; a file of one's own is named as file.py:{what}"
            ) from None
    made = getattr(module, what, None)
    if not callable(made):
        raise ArgumentError(f"{where} has no {what!r} that makes a model")
    return made


def _registered(name: str) -> Callable[..., Any]:
    """`models.load` of a name, with the network's own options as its arguments."""
    known = td.models.names()
    if name not in known:
        raise ArgumentError(
            f"there is no model {name!r}{closest(name, [*MODELS, *known])}; one of your own is named as "
            "file.py:Class"
        )
    options = {"pretrained": False, **td.models.options(name)}
    kinds = {"pretrained": "bool | Path"}
    parameters = [
        Parameter(
            key, Parameter.KEYWORD_ONLY, default=default,
            annotation=kinds.get(key, type(default).__name__ if isinstance(default, PLAIN) else "Any"),
        )
        for key, default in options.items()
    ]  # fmt: skip

    def load(**keys: Any) -> nn.Module:
        return td.models.load(name, **keys)

    load.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return load


def _from_file(path: Path) -> Any:
    """The module in a file. It is known under its path, so that it is loaded once."""
    name = f"treadle_recipe:{path}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{path} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def make_optimizer(name: str, keys: Mapping[str, Any], model: nn.Module, rate: Any) -> optim.Optimizer:
    """An optimizer of a model's parameters; ``ema`` is the decay of an average."""
    settings = dict(keys)
    if "ema" in settings:
        settings["ema"] = optim.EMA(model.parameters(), settings["ema"])
    if model.compute_dtype is td.float16:
        settings["loss_scale"] = optim.LossScale()
    if rate is not None:
        settings["rate"] = rate
    return OPTIMIZERS[name](model.parameters(), **settings)


def make_schedule(name: str, keys: Mapping[str, Any], rate: float, steps: int, warm_up: int) -> Any:
    """A rate, as a number or a function of steps, in a run of so many."""
    function, argument = SCHEDULES[name]
    settings: dict[str, Any] = {argument: rate}
    if "steps" in inspect.signature(function).parameters:
        settings["steps"] = max(1, steps - warm_up)
    made = function(**{**settings, **keys})
    return optim.warm_up(warm_up, made) if warm_up else made


def make_loss(name: str, keys: Mapping[str, Any]) -> Callable[[Any, Any], td.Array]:
    """A loss of outputs and targets; with one output an example it is compared without that dimension."""
    function = LOSSES[name]

    def loss(outputs: td.Array, targets: td.Array) -> td.Array:
        if name not in OF_CLASSES:
            targets = td.astype(targets, outputs.dtype)
            if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
                outputs = td.squeeze(outputs, axis=-1)
        return function(outputs, targets, **keys)

    return loss
