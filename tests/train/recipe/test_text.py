"""TOML with places: where keys stand, overrides, and what is written reads back."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import FormatError
from treadle.train.recipe.text import lines_of, parsed_override, read_toml, toml_text, with_overrides

TEXT = """\
# a comment = 1
[model]  # [not.this]
name = "x"

[data]
"kind" = 'idx'
batch=3
[data.augment]
flip = true
"""


def test_lines():
    assert lines_of(TEXT) == {
        ("model",): 2, ("model", "name"): 3, ("data",): 5, ("data", "kind"): 6, ("data", "batch"): 7,
        ("data", "augment"): 8, ("data", "augment", "flip"): 9,
    }  # fmt: skip


def test_reading(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(TEXT)
    values, places = read_toml(path)
    assert values["data"]["augment"] == {"flip": True}
    assert places["data", "batch"] == f"{path}, line 7"
    path.write_text("[data\nbatch = 3")
    with pytest.raises(FormatError, match=r"a\.toml is no TOML file: .*line 1"):
        read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(FormatError, match="no TOML file"):
        read_toml(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.b=1", (("a", "b"), 1)),
        ("a.b = 1e-3", (("a", "b"), 1e-3)),
        ("a.b=true", (("a", "b"), True)),
        ("a.b=[1, 2]", (("a", "b"), [1, 2])),
        ("a.b=some text", (("a", "b"), "some text")),
        ('a.b.c="1"', (("a", "b", "c"), "1")),
    ],
)
def test_overrides(text, wanted):
    assert parsed_override(text) == wanted


@pytest.mark.parametrize("text", ["a=1", "a.b", ".b=1", ""])
def test_overrides_that_are_none(text):
    with pytest.raises(FormatError, match=r"expected section\.key=value"):
        parsed_override(text)


def test_overrides_leave_what_they_change_as_it_was():
    values = {"data": {"batch": 1, "augment": {"flip": True}}}
    overrides = [(("data", "augment", "shift"), 2), (("new", "key"), 3)]
    changed, places = with_overrides(values, {}, overrides)
    assert changed == {"data": {"batch": 1, "augment": {"flip": True, "shift": 2}}, "new": {"key": 3}}
    assert values == {"data": {"batch": 1, "augment": {"flip": True}}}
    assert places["new", "key"] == "--set new.key=3"
    with pytest.raises(FormatError, match=r"--set data\.batch\.x=1: batch is no section"):
        with_overrides(values, {}, [(("data", "batch", "x"), 1)])


plain = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)  # fmt: skip
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
values = st.one_of(plain, st.lists(plain))
section = st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values)), min_size=1)


@given(st.dictionaries(keys, section))
def test_what_is_written_reads_back(sections):
    assert tomllib.loads(toml_text(sections)) == sections


def test_what_cannot_be_written():
    with pytest.raises(FormatError, match="a complex cannot be written into a recipe"):
        toml_text({"a": {"b": 1j}})
