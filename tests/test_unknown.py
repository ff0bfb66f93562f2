"""Other systems' keywords: the error says what to write, and errors from inside a function are left alone."""

from __future__ import annotations

import inspect

import pytest

import treadle as td
from treadle.errors import DTypeError, KeywordUnknown
from treadle.unknown import advising


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda x: td.sum(x, dim=0), r"\[sum\] there is no keyword dim=: for PyTorch's `dim=` write `axis=`"),
        (lambda x: x.mean(keepdim=True), r"\[mean\].* write `keepdims=`"),
        (lambda x: td.exp(x, out=x), r"\[exp\] there is no keyword out="),
        (lambda x: td.max(x, axs=0), "did you mean `axis=`"),
    ],
)
def test_unknown_keywords_are_answered_with_ours(call, said):
    with pytest.raises(KeywordUnknown, match=said) as caught:
        call(td.ones((2, 3)))
    assert isinstance(caught.value, TypeError)
    assert "test_unknown.py" in str(caught.value)


def test_signatures_and_other_errors_stay_as_they_are():
    assert "axis" in inspect.signature(td.sum).parameters
    with pytest.raises(DTypeError, match="astype"):
        td.exp(td.arange(3))

    @advising
    def wrong_inside(*, axis: int) -> None:
        raise TypeError(f"my own, at {axis}")

    with pytest.raises(TypeError, match="my own, at 3"):
        wrong_inside(axis=3)
    with pytest.raises(TypeError, match="missing"):
        td.concat()
