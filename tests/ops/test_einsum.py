"""Sums of products in index notation, against numpy.einsum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from numeric import check_gradients, given, symbolic, value

from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.ops.einsum import einsum

random = np.random.default_rng(0)
SIZES = {"i": 2, "j": 3, "k": 4, "l": 5, "b": 2, "h": 3}

CASES = [
    "ij->ji", "ij->", "ij->j", "ii->i", "ii->", "ii", "iij->j", "ij", "ji", "i,i->", "i,j->ij", "ij,jk->ik",
    "ij,jk", "ij,kj->ki",
    "bij,bjk->bik", "bhik,bhjk->bhij", "ij,ij->ij", "ij,ij->i", "ij,jk,kl->il", "ij,jk,kl,li->", "i,ij,j->",
    "ijk,jk->", "ij,k->ijk",
    "iij,jk->ik", "ijj,jii->ij", "->", ",i->i", "ij,j", "lk,ji,jk->li", " i j , j k -> k i ",
]  # fmt: skip


def operands(subscripts):
    parts = subscripts.replace(" ", "").split("->")[0].split(",")
    return [random.normal(size=tuple(SIZES[letter] for letter in part)) for part in parts]


@pytest.mark.parametrize("subscripts", CASES)
def test_einsum_is_numpys(subscripts):
    arrays = operands(subscripts)
    expected = np.einsum(subscripts, *arrays)
    found = einsum(subscripts, *map(given, arrays))
    assert found.shape == expected.shape
    np.testing.assert_allclose(value(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "subscripts, shapes",
    [
        ("...ij,...jk->...ik", [(6, 1, 2, 3), (5, 3, 4)]), ("...i->...", [(4, 3, 2)]),
        ("i...->...i", [(2, 3, 4)]),
        ("...,...", [(3, 1), (1, 4)]), ("...i,i", [(4, 3), (3,)]), ("...ii->...i", [(4, 3, 3)]),
        ("i...j,j->i...", [(2, 5, 3), (3,)]),
        ("ij,ij->ij", [(1, 3), (2, 3)]), ("ij,jk->ik", [(2, 1), (3, 4)]),
    ],
)  # fmt: skip
def test_ellipsis_and_broadcasting(subscripts, shapes):
    arrays = [random.normal(size=shape) for shape in shapes]
    expected = np.einsum(subscripts, *arrays)
    found = einsum(subscripts, *map(given, arrays))
    assert found.shape == expected.shape
    np.testing.assert_allclose(value(found), expected, rtol=1e-10, atol=1e-12)


@examples(st.data())
def test_random_subscripts(data):
    parts = data.draw(st.lists(st.text("ijkl", max_size=4), min_size=1, max_size=4))
    letters = sorted(set("".join(parts)))
    output = "".join(data.draw(st.permutations(letters)))[: data.draw(st.integers(0, len(letters)))]
    subscripts = ",".join(parts) + "->" + output
    arrays = operands(subscripts)
    np.testing.assert_allclose(
        value(einsum(subscripts, *map(given, arrays))), np.einsum(subscripts, *arrays), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "subscripts", ["ij,jk->ik", "iij,jk->ik", "ij,jk,kl->il", "i,i->", "bij,bjk->bki", "ijj,jii->ij"]
)
def test_gradients(subscripts):
    check_gradients(lambda *nodes: einsum(subscripts, *nodes), *operands(subscripts))


def test_integers_keep_their_dtype():
    x = random.integers(0, 9, size=(3, 3)).astype(np.int16)
    found = value(einsum("ij,jk->", given(x), given(x)))
    assert found.dtype == np.int16
    assert found == np.einsum("ij,jk->", x, x)


def test_symbolic_sizes():
    batch = Dimension(["batch"])
    assert einsum("bij,jk->bik", symbolic((batch, 3, 4)), symbolic((4, 5))).shape == (batch, 3, 5)


def test_a_chain_is_contracted_cheaply():
    """(A B) v would take a product of two matrices; A (B v) takes none."""
    matrices = [given(random.normal(size=(100, 100))) for _ in range(2)]
    y = einsum("ij,jk,k->i", *matrices, given(random.normal(size=100)))
    assert all(node.shape[-2:] != (100, 100) for node in ordered([y]) if node.op.name == "matmul")


@pytest.mark.parametrize(
    "subscripts, shapes, error, message",
    [
        ("ij,jk->ik", [(2, 3)], ArgumentError, "names 2 arrays, but 1 were given"),
        ("ij->ij", [(2, 3, 4)], ArgumentError, r"'ij' names 2 dimensions, but arrays\[0\] has 3"),
        ("...ijk->ij", [(2, 3)], ArgumentError, r"names 3 dimensions, but arrays\[0\] has 2"),
        ("ij->ik", [(2, 3)], ArgumentError, "'k' of the result is in no array's subscripts"),
        ("ij->ii", [(2, 3)], ArgumentError, "'i' is twice in the result"),
        ("i1->i", [(2, 3)], ArgumentError, "something other than letters"),
        ("...i->i", [(2, 3)], ArgumentError, "put ... into the result"),
        (
            "ij,jk->ik",
            [(2, 3), (4, 5)],
            ShapeError,
            r"'j' is 3 before and 4 in arrays\[1\], of shape \(4, 5\)",
        ),
        ("ii->i", [(2, 3)], ShapeError, r"'i' is 2 before and 3 in arrays\[0\]"),
    ],
)
def test_refusals(subscripts, shapes, error, message):
    with pytest.raises(error, match=message):
        einsum(subscripts, *(given(np.zeros(shape)) for shape in shapes))


def test_bool_is_refused():
    with pytest.raises(DTypeError, match="expected a numeric dtype"):
        einsum("i->", given(np.ones(3, bool)))
