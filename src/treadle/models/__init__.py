"""Classic networks by name, with torchvision's names for their weights, and what fine-tuning them needs.

`load(name)` makes a network, `load(name, pretrained=True)` one with the published weights.
"""

from treadle.formats.weights import read_weights
from treadle.models.character_lstm import CharacterLSTM
from treadle.models.gpt import GPT
from treadle.models.heads import replace_head
from treadle.models.imagenet import Preprocessing, preprocess
from treadle.models.mobilenet import MobileNetV2
from treadle.models.pytorch_names import load_pytorch
from treadle.models.registry import load, names, options, preprocessing
from treadle.models.turing_machine import NeuralTuringMachine
from treadle.models.weights import folder

__all__ = [
    "GPT",
    "CharacterLSTM",
    "MobileNetV2",
    "NeuralTuringMachine",
    "Preprocessing",
    "folder",
    "load",
    "load_pytorch",
    "names",
    "options",
    "preprocess",
    "preprocessing",
    "read_weights",
    "replace_head",
]
