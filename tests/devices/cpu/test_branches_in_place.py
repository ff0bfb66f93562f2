"""Branches that may leave variables as they are: what is not changed is not copied, and nothing is
overwritten that is still needed.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import treadle as td

SHAPE = (40, 40)
FIRST = {name: np.random.default_rng(i).normal(size=SHAPE).astype("float32") for i, name in enumerate("abcd")}
CASES = {
    # name: (what is assigned where the predicate holds, and where it does not, how many stay in their memory)
    # Of a branch within, the branch around does not see what it leaves as it is.
    "one way": (lambda a, b, c, d: (a + 1, b * c, c, d), lambda a, b, c, d: (a, b, c, d), 4),
    "both ways, in turn": (lambda a, b, c, d: (a + d, b, c, d), lambda a, b, c, d: (a, b - c, c, d * 2), 4),
    "what another result reads": (
        lambda a, b, c, d: (b * 2, a * 2, c + a, d),
        lambda a, b, c, d: (a, b, c, d),
        4,
    ),
    "swapped": (lambda a, b, c, d: (b, a, d, c), lambda a, b, c, d: (a, b, c, d), 4),
    "one value twice": (lambda a, b, c, d: (a, a, a, a), lambda a, b, c, d: (a, b, c, d), 4),
    "moved on": (lambda a, b, c, d: (b + 1, c, d, a), lambda a, b, c, d: (a, b, c, d), 4),
    "products": (lambda a, b, c, d: (a @ a, b @ c, a @ c + c, d), lambda a, b, c, d: (a, b, c, d), 4),
    "transposed": (lambda a, b, c, d: (a.T, b + c.T, c, d), lambda a, b, c, d: (a, b, c, d.T), 4),
    "no way": (lambda a, b, c, d: (a + 1, b, c, d), lambda a, b, c, d: (a - 1, b, c, d), 3),
    "sums": (
        lambda a, b, c, d: (a - a.sum(axis=0), a / (1 + b * b), c - td.mean(c, axis=1, keepdims=True), a + d),
        lambda a, b, c, d: (a, b, c, d),
        4,
    ),
}


def nested(true, false):
    def way(a, b, c, d):
        return td.cond(a.sum() > 1e9, lambda: (a, b, c, d), lambda: true(a, b, c, d))

    return way, false


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("change", [lambda t, f: (t, f), nested], ids=["plain", "nested"])
def test_variables_that_branches_change(name, change):
    true, false, stay = CASES[name]
    if change is nested:
        stay -= {"both ways, in turn": 2, "transposed": 1, "no way": 0}.get(name, 0)
    expected = {n: td.asarray(v) for n, v in FIRST.items()}
    w = {n: td.Variable(v, name=n) for n, v in FIRST.items()}

    @td.compile
    def step(holds):
        values = td.cond(holds > 0, *change(true, false), *[+x for x in w.values()])
        total = sum(x.sum() for x in w.values())
        with td.assignments():
            for variable, value in zip(w.values(), values, strict=True):
                variable.assign(value)
        return total

    program = step.program(td.asarray(1.0))
    assert sum(leaf is not None for leaf in program.donations) == stay
    kept = None
    for holds in (1.0, -1.0, -1.0, 1.0):
        total = sum(float(x.sum()) for x in expected.values())
        expected = dict(zip(expected, (true if holds > 0 else false)(*expected.values()), strict=True))
        places = [variable.cell.current.buffer.address for variable in w.values()]
        held = w["a"].numpy() if kept is None else None
        assert float(step(td.asarray(holds))) == pytest.approx(total, rel=1e-3, abs=0.02)
        for n, value in expected.items():
            np.testing.assert_allclose(w[n].numpy(), value.numpy(), rtol=1e-3, atol=1e-3, err_msg=n)
        if held is not None:  # what somebody holds is not overwritten
            np.testing.assert_array_equal(held, FIRST["a"])
            kept = held
        elif stay == 4:
            assert [v.cell.current.buffer.address for v in w.values()][1:] == places[1:]
        expected = {n: td.asarray(v.numpy() / 4) for n, v in expected.items()}
        for n, v in w.items():
            v.assign(v / 4)
            td.evaluate()
            expected[n] = td.asarray(v.numpy().copy())


def test_random_branches():
    """Results that are operands in any order, or made of them, against the references."""
    numbers = np.random.default_rng(0)
    forms = [lambda x, y: x, lambda x, y: x + y, lambda x, y: x @ y, lambda x, y: x * 0.5, lambda x, y: y.T]
    for trial in range(12):
        picks = numbers.integers(0, 3, (2, 3, 2)).tolist()
        kinds = numbers.integers(0, len(forms), (2, 3)).tolist()

        def way(side, kinds=kinds, picks=picks):
            return lambda *x: [
                forms[kind](x[i], x[j]) for kind, (i, j) in zip(kinds[side], picks[side], strict=True)
            ]

        values = [numbers.normal(size=(17, 17)).astype("float32") for _ in range(3)]
        for holds, stays in itertools.product((1.0, -1.0), (True, False)):
            w = [td.Variable(v) for v in values]
            other = way(1) if not stays else lambda *x: list(x)

            @td.compile
            def step(holds, w=w, other=other, way=way):
                found = td.cond(holds > 0, way(0), other, *[+v for v in w])
                with td.assignments():
                    for variable, value in zip(w, found, strict=True):
                        variable.assign(value)

            step(td.asarray(holds))
            expected = (way(0) if holds > 0 else other)(*[td.asarray(v) for v in values])
            for variable, value in zip(w, expected, strict=True):
                np.testing.assert_allclose(
                    variable.numpy(),
                    value.numpy(),
                    rtol=1e-4,
                    atol=1e-4,
                    err_msg=str((trial, holds, kinds, picks)),
                )
