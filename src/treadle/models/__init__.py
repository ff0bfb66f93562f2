"""Classic networks by name, with torchvision's names for their weights, and what fine-tuning them needs.

`load(name)` makes a network, `load(name, pretrained=True)` one with the published weights.
"""

from treadle.formats.weights import read_weights
from treadle.models.alexnet import AlexNet, AlexNet2012
from treadle.models.character_lstm import CharacterLSTM
from treadle.models.efficientnet import EfficientNetLite0
from treadle.models.googlenet import GoogLeNet, with_auxiliary
from treadle.models.gpt import GPT
from treadle.models.heads import replace_head
from treadle.models.imagenet import Preprocessing, preprocess
from treadle.models.lenet import LeNet5
from treadle.models.mobilenet import MobileNetV2
from treadle.models.pytorch_names import load_pytorch
from treadle.models.registry import load, names, options, preprocessing
from treadle.models.resnet import ResNet
from treadle.models.turing_machine import NeuralTuringMachine
from treadle.models.two_layer import TwoLayer
from treadle.models.vgg import VGG
from treadle.models.weights import folder

__all__ = [
    "GPT",
    "VGG",
    "AlexNet",
    "AlexNet2012",
    "CharacterLSTM",
    "EfficientNetLite0",
    "GoogLeNet",
    "LeNet5",
    "MobileNetV2",
    "NeuralTuringMachine",
    "Preprocessing",
    "ResNet",
    "TwoLayer",
    "folder",
    "load",
    "load_pytorch",
    "names",
    "options",
    "preprocess",
    "preprocessing",
    "read_weights",
    "replace_head",
    "with_auxiliary",
]
