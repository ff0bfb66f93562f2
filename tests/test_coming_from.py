"""Other systems' names lead to ours, ours are nobody else's, and the page shows the table as it is."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from treadle.coming_from import KEPT, TABLE, advice_for_attribute, advice_for_keyword, as_markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from.md"


@pytest.fixture
def td():
    """The public namespace."""
    treadle = pytest.importorskip("treadle")
    if not hasattr(treadle, "__all__"):
        pytest.skip("treadle has no public names yet")
    return treadle


@pytest.mark.parametrize(
    ("owner", "name", "ours"),
    [
        ("module", "cat", "td.concat"),
        ("module", "unsqueeze", "td.expand_dims"),
        ("module", "reduce_sum", "td.sum"),
        ("module", "arctan", "td.atan"),
        ("module", "conv2d", "td.conv"),
        ("array", "view", "td.reshape"),
        ("array", "unsqueeze", "td.expand_dims"),
        ("array", "detach", "td.stop_gradient"),
        ("array", "cuda", 'x.to("cuda")'),
        ("module", "cuda", 'td.device("cuda")'),
        ("nn", "Linear", "td.nn.Dense"),
        ("nn", "conv2d", "td.conv"),
        ("optim", "Adagrad", "td.optim.AdaGrad"),
        ("network", "state_dict", "net.state()"),
        ("network", "half", "net.compute_dtype"),
        ("optimizer", "lr", "opt.rate"),
    ],
)
def test_attributes_of_other_systems_name_ours(owner, name, ours):
    advice = advice_for_attribute(owner, name)
    assert advice is not None and ours in advice and f"`{name}`" in advice


def test_the_systems_are_named():
    assert advice_for_attribute("module", "arctan") == "for NumPy/PyTorch/JAX's `arctan` write `td.atan`"


@pytest.mark.parametrize(
    ("name", "ours"), [("dim", "axis="), ("keepdim", "keepdims="), ("ddof", "correction=")]
)
def test_keyword_arguments_of_other_systems_name_ours(name, ours):
    assert f"write `{ours}`" in advice_for_keyword(name)


def test_a_near_miss_suggests_the_nearest_of_the_names_given():
    assert advice_for_attribute("module", "sofmax", ["exp", "softmax"]) == "did you mean `td.softmax`?"
    assert advice_for_attribute("array", "reshap", ["reshape", "shape"]) == "did you mean `x.reshape`?"
    assert advice_for_keyword("axes", ["axis", "keepdims"]) == "did you mean `axis=`?"


def test_the_table_comes_before_near_misses():
    assert "td.concat" in advice_for_attribute("module", "cat", ["cut", "car"])


def test_a_name_like_nothing_has_no_advice():
    assert advice_for_attribute("module", "xyzzy", ["exp", "softmax"]) is None
    assert advice_for_attribute("array", "xyzzy") is None
    assert advice_for_keyword("xyzzy", ["axis"]) is None


def test_unknown_and_attributes_do_not_mix():
    assert advice_for_keyword("cat") is None
    assert advice_for_attribute("module", "keepdim") is None


def test_each_name_has_one_row_a_place_and_each_row_says_something():
    assert len({(row.where, row.name) for row in TABLE}) == len(TABLE)
    for row in TABLE:
        assert row.systems and row.write and "|" not in row.write and row.write.count("`") % 2 == 0, row


def test_the_page_is_fresh_and_shows_every_row():
    page = as_markdown()
    assert PAGE.read_text(encoding="utf-8") == page, "docs/coming-from.md is out of date: run ./dev generate"
    assert page.count("\n| `") == len(TABLE)


def test_no_name_of_ours_has_a_second_spelling(td):
    spelt_twice = {row.name for row in TABLE if row.where == "module"} & set(td.__all__)
    assert not spelt_twice
    methods = {row.name for row in TABLE if row.where == "array" and hasattr(td.Array, row.name)}
    assert not methods
    for where, owner in (("network", td.nn.Module), ("optimizer", td.optim.Optimizer)):
        assert not {row.name for row in TABLE if row.where == where and hasattr(owner, row.name)}


def test_all_that_the_table_advises_exists(td):
    advised = {name for row in TABLE for name in re.findall(r"\btd\.(\w+(?:\.\w+)?)", row.write)}
    advised.update(name for name, _ in KEPT)

    def exists(name):
        owner, _, last = name.rpartition(".")
        return hasattr(getattr(td, owner) if owner else td, last)

    assert not {name for name in advised if not exists(name)}


@pytest.mark.parametrize(
    ("owner", "name", "message"),
    [
        ("nn", "Linear", "treadle.nn has no 'Linear': for PyTorch's `Linear` write `td.nn.Dense`"),
        ("nn", "Sequental", "treadle.nn has no 'Sequental': did you mean `td.nn.Sequential`?"),
        ("linalg", "detr", "treadle.linalg has no 'detr': did you mean `td.linalg.det`?"),
        ("random", "randn", "treadle.random has no 'randn': for PyTorch's `randn` write `td.random.normal`"),
        ("data", "xyzzy", "treadle.data has no 'xyzzy'"),
    ],
)
def test_unknown_names_of_a_namespace(td, owner, name, message):
    with pytest.raises(AttributeError) as caught:
        getattr(getattr(td, owner), name)
    assert str(caught.value).splitlines()[0] == message


def test_unknown_attributes_of_networks_and_optimizers(td):
    net = td.nn.Sequential(td.nn.Dense(2, 3))
    adam = td.optim.Adam(net.parameters(), 0.1)
    for what, name, message in (
        (
            net,
            "state_dict",
            "[Sequential] there is no attribute 'state_dict': for PyTorch/Keras's `state_dict` write",
        ),
        (net, "paramters", "[Sequential] there is no attribute 'paramters': did you mean `net.parameters`?"),
        (net[0], "wieght", "[Dense] there is no attribute 'wieght': did you mean `net.weight`?"),
        (net, "xyzzy", "[Sequential] there is no attribute 'xyzzy'"),
        (
            adam,
            "zero_grad",
            "[Adam] there is no attribute 'zero_grad': for PyTorch's `zero_grad` write nothing:",
        ),
    ):
        with pytest.raises(AttributeError) as caught:
            getattr(what, name)
        assert str(caught.value).startswith(message)
    with pytest.raises(AttributeError, match=r"write `opt.rate`"):
        adam.lr = 0.5
    assert copy.deepcopy(net)[0].weight.shape == (2, 3) and not hasattr(net, "_nothing")
