"""The memory planner: values alive together do not overlap, all are aligned, and nothing is wasted that a sum
of sizes would not waste.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.compiler.memory import ALIGNMENT, Span, place

SPANS = st.lists(
    st.builds(
        lambda nbytes, first, length: Span(nbytes, first, first + length),
        st.integers(0, 5000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=40,
)


def rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def together(a: Span, b: Span) -> bool:
    return a.first <= b.last and b.first <= a.last


def peak(spans: list[Span]) -> int:
    """The most bytes that are alive at one step: no plan needs less."""
    steps = range(1 + max((span.last for span in spans), default=0))
    return max(sum(rounded(s.nbytes) for s in spans if s.first <= step <= s.last) for step in steps)


@given(SPANS)
def test_spans_alive_together_do_not_overlap(spans: list[Span]):
    offsets, _ = place(spans)
    for (a, at), (b, bt) in itertools.combinations(zip(spans, offsets, strict=True), 2):
        if together(a, b) and a.nbytes and b.nbytes:
            assert at + a.nbytes <= bt or bt + b.nbytes <= at


@given(SPANS)
def test_offsets_are_aligned_and_within_the_arena(spans: list[Span]):
    offsets, total = place(spans)
    assert len(offsets) == len(spans)
    for span, offset in zip(spans, offsets, strict=True):
        assert offset % ALIGNMENT == 0
        assert offset >= 0 and offset + span.nbytes <= total


@given(SPANS)
def test_the_arena_is_between_the_peak_and_the_sum(spans: list[Span]):
    _, total = place(spans)
    assert peak(spans) <= total <= sum(rounded(max(span.nbytes, 1)) for span in spans)


@given(SPANS)
def test_the_plan_depends_on_the_spans_alone(spans: list[Span]):
    assert place(spans) == place(list(spans))


def test_nothing_needs_nothing():
    assert place([]) == ([], 0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_values_one_after_another_share_their_memory(count: int):
    offsets, total = place([Span(1000, 2 * i, 2 * i + 1) for i in range(count)])
    assert (offsets, total) == ([0] * count, 1024)


def test_a_chain_needs_two_places():
    """Every step reads the last value and writes the next."""
    _, total = place([Span(4096, i, i + 1) for i in range(10)])
    assert total == 2 * 4096


def test_a_gap_is_used():
    spans = [Span(640, 0, 9), Span(1280, 0, 3), Span(640, 0, 9), Span(1280, 5, 9)]
    _, total = place(spans)
    assert total == 640 + 1280 + 640
