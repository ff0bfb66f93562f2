"""Keys from signatures, values against annotations, and words for both."""

from __future__ import annotations

import pytest

from treadle import nn, optim
from treadle.train.recipe.options import Option, closest, fits, given, options_of, told


def test_keys_are_arguments():
    conv = options_of(nn.Conv)
    assert conv["inputs"] == Option("int", True) and conv["groups"] == Option("int", False)
    adam = options_of(optim.AdamW, without=("parameters", "loss_scale"))
    assert {"rate", "betas", "weight_decay", "clip_norm", "accumulate"} <= set(adam)
    assert not {"parameters", "loss_scale", "settings"} & set(adam)
    assert options_of(lambda x, **more: x) is None


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        (1, "int", True), (1.0, "int", False), (True, "int", False), (1, "float", True),
        ("a", "str", True), (False, "bool", True), (0, "bool", False), ("a", "int | str", True),
        (None, "int | None", True), ([1, 2], "tuple[int, int]", True), ([1], "tuple[int, int]", False),
        ([1, "a"], "Sequence[int]", False), ([[1, 2]], "list[tuple[int, int]]", True),
        ([], "list[str]", True),
        ([1, 2, 3], "tuple[int, ...]", True), (3, "int | Sequence[int]", True), ("x", "Any", True),
        ({"a": 1}, "int", False), ([1], "list", True),
    ],
)  # fmt: skip
def test_values_fit_or_not(value, annotation, wanted):
    assert fits(value, annotation) is wanted


def test_words():
    assert told("float | None") == "a number"
    assert told("int | Sequence[int]") == "a whole number or a list: a whole number"
    assert told("tuple[int, ...]") == "a list: a whole number"
    assert told("Path | None") == "a path"
    assert given("fast") == "'fast' is text" and given(True) == "true is true or false"
    assert given(2.5) == "2.5 is a number" and given({"a": 1}).endswith("is a section")
    assert closest("rat", ["rate", "name"]) == ": did you mean 'rate'? There are rate, name"
    assert closest("xyz", ["rate", "name"]) == ". There are rate, name"
