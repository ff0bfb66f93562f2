"""Branches and loops in every style: values, gradients to second order, random numbers, mistakes."""

from __future__ import annotations

import numeric
import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.array import Array
from treadle.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    PlaceholderError,
    ShapeError,
    StateError,
)
from treadle.graph.graph import ordered
from treadle.graph.text import graph_text, parse_graph
from treadle.ops.record import OPS


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def evaluated(structure):
    """Arrays of NumPy in place of arrays, and everything computed in one program."""
    found = []

    def collect(item):
        if isinstance(item, Array):
            found.append(item)
        elif isinstance(item, (list, tuple, dict)):
            for part in item.values() if isinstance(item, dict) else item:
                collect(part)

    def looked_at(item):
        if isinstance(item, Array):
            return item.numpy()
        if isinstance(item, dict):
            return {k: looked_at(v) for k, v in item.items()}
        return type(item)(map(looked_at, item)) if isinstance(item, (list, tuple)) else item

    collect(structure)
    td.evaluate(*found)
    return looked_at(structure)


def by_references(function, *arrays):
    with td.device("reference"):
        return evaluated(function(*map(td.asarray, arrays)))


def compiled_at_once(function, *arrays):
    with config.configured(check=True):
        return evaluated(function(*map(td.asarray, arrays)))


def by_session(function, *arrays):
    inputs = [td.placeholder(a.shape, a.dtype.name) for a in arrays]
    with td.Session() as session:
        return evaluated(session.run(function(*inputs), dict(zip(inputs, arrays, strict=True))))


def by_compile(function, *arrays):
    return evaluated(td.compile(function)(*map(td.asarray, arrays)))


STYLES = [by_references, compiled_at_once, by_session, by_compile]


@pytest.fixture(params=STYLES, ids=lambda style: style.__name__)
def run(request, monkeypatch):
    """A function's values in one of the styles."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    return request.param


def close(found, expected, rtol=2e-5):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            close(found[key], expected[key], rtol)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            close(a, b, rtol)
    else:
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
        assert np.shape(found) == np.shape(expected)


# -- values


def test_a_scan_carries_and_stacks(run):
    xs = numbers(6, 3)
    w = numbers(3, 3, seed=1)

    def forward(xs, w):
        def step(carry, x):
            h = td.tanh(x + carry["h"] @ w)
            return {"h": h, "n": carry["n"] + 1}, (h * 2, {"sum": h.sum()})

        return td.scan(step, {"h": td.zeros(3), "n": 0}, xs)

    h, doubled, sums = np.zeros(3, np.float32), [], []
    for x in xs:
        h = np.tanh(x + h @ w)
        doubled.append(2 * h)
        sums.append(h.sum())
    carry, (ys, rest) = run(forward, xs, w)
    close(carry, {"h": h, "n": 6})
    close((ys, rest), (np.array(doubled), {"sum": np.array(sums)}))


def test_a_reversed_scan_begins_with_the_last_slice(run):
    xs = numbers(5)

    def suffixes(xs):
        return td.scan(lambda s, x: (s + x, s + x), 0.0, xs, reverse=True)

    total, sums = run(suffixes, xs)
    close((total, sums), (xs.sum(), xs[::-1].cumsum()[::-1]))


def test_zero_iterations_leave_the_carry(run):
    def none(xs):
        carry, ys = td.scan(lambda c, x: (c * 2, x + c), 3.0, xs)
        last = td.while_loop(lambda c: c > 5, lambda c: c - 1, carry)
        bounded = td.while_loop(lambda c: c > 0, lambda c: c - 1, carry, max_steps=0)
        return carry, ys, last, bounded, td.gradients(carry + bounded, xs, unconnected="zero")

    carry, ys, last, bounded, slope = run(none, np.zeros((0, 2), np.float32))
    close((carry, last, bounded), (3.0, 3.0, 3.0))
    assert ys.shape == (0, 2) and slope.shape == (0, 2)


def test_carries_may_change_places_and_be_stacked_as_they_are(run):
    def fibonacci(start):
        return td.scan(lambda c, _: ((c[1], c[0] + c[1]), c[0]), (start, start + 1), length=10)

    (a, b), ys = run(fibonacci, np.array(0, np.int64))
    expected = [0, 1]
    while len(expected) < 12:
        expected.append(expected[-1] + expected[-2])
    close((a, b, ys), (expected[10], expected[11], np.array(expected[:10])))
    assert ys.dtype == np.int64


def test_a_map_stacks(run):
    xs = numbers(4, 3)
    squares, sums = run(lambda xs: td.map(lambda x: (x * x, x.sum()), xs), xs)
    close((squares, sums), (xs * xs, xs.sum(1)))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_loops_of_every_kind_of_dtype(run, dtype):
    start = np.array([1, 0, 1]).astype(td.dtypes.as_dtype(dtype).numpy)
    xs = np.stack([start, start[::-1], start])

    def both(start, xs):
        flip = td.logical_not if dtype == "bool" else lambda x: x + x
        carry, ys = td.scan(lambda c, x: (flip(c), td.where(c == x, x, flip(x))), start, xs)
        first = td.while_loop(lambda c: c[1] < 3, lambda c: (flip(c[0]), c[1] + 1), (start, 0))
        return carry, ys, first[0]

    carry, ys, last = run(both, start, xs)
    expected = start
    stacked = []
    for x in xs:
        change = np.logical_not if dtype == "bool" else lambda v: v + v
        stacked.append(np.where(expected == x, x, change(x)))
        expected = change(expected)
    np.testing.assert_array_equal(carry, expected)
    np.testing.assert_array_equal(last, expected)
    np.testing.assert_array_equal(ys, np.stack(stacked))
    assert ys.dtype == start.dtype


def test_a_while_loop_runs_as_often_as_its_values_say(run):
    def collatz(n):
        def step(carry):
            n, steps = carry
            even = n % 2 == 0
            return td.where(even, n // 2, 3 * n + 1), steps + 1

        return td.while_loop(lambda c: c[0] != 1, step, (n, 0))

    for start, steps in ((27, 111), (6, 8), (1, 0)):
        assert run(collatz, np.array(start, np.int64))[1] == steps
    limited = run(
        lambda n: td.while_loop(lambda c: c[0] != 1, lambda c: (c[0] + 1, c[1] + 1), (n, 0), 7), np.array(5)
    )
    close(limited, (12, 7))


def test_only_the_branch_that_is_chosen_is_computed(run):
    def forward(x, table):
        far = td.astype(x, td.int64) + 100
        return td.cond(x > 0, lambda: table[far].sum(), lambda: table[0] * x)

    table = numbers(3)
    close(run(forward, np.array(-2.0, np.float32), table), table[0] * -2)
    with pytest.raises(td.errors.IndexingError):
        run(forward, np.array(2.0, np.float32), table)


def test_branches_take_operands_and_what_is_around(run):
    def forward(x, w):
        y = td.cond(
            x.sum() > 0, lambda a: {"y": a["x"] @ w, "n": 1}, lambda a: {"y": a["x"], "n": 2}, {"x": x}
        )
        return y, td.cond(x.sum() <= 0, lambda a: (a, a * 2), lambda a: (a, a), x)

    w = numbers(3, 3, seed=2)
    for sign in (1, -1):
        x = sign * np.abs(numbers(3))
        chosen, pair = run(forward, x, w)
        close(chosen, {"y": x @ w if sign > 0 else x, "n": 1 if sign > 0 else 2})
        close(pair, (x, x if sign > 0 else 2 * x))


def test_a_python_bool_just_chooses():
    assert td.cond(True, lambda x: x, lambda x: 1 / 0, "anything") == "anything"
    assert td.cond(np.bool_(False), lambda: 1, lambda: "b") == "b"


def test_loops_and_branches_nest(run):
    xs = numbers(4, 3)

    def forward(xs):
        def outer(c, row):
            inner, ys = td.scan(lambda c, x: (td.cond(x > 0, lambda: c + x, lambda: c * 0.5), c), c, row)
            halved = td.while_loop(lambda v: td.abs(v) > 1, lambda v: v / 2, inner)
            return halved, ys

        return td.scan(outer, 1.0, xs)

    c, stacks = np.float32(1), []
    for row in xs:
        ys = []
        for x in row:
            ys.append(c)
            c = c + x if x > 0 else c * np.float32(0.5)
        while abs(c) > 1:
            c = c / 2
        stacks.append(ys)
    close(run(forward, xs), (c, np.array(stacks)))


def test_variables_are_read_inside(run):
    w = td.Variable(numbers(3, 3), name="w")
    x = numbers(5, 3, seed=3)

    def forward(x):
        h, _ = td.scan(lambda h, x: (td.tanh(h @ w + x), None), td.zeros(3), x)
        return h, td.gradients(h.sum(), w)

    h = np.zeros(3, np.float32)
    for row in x:
        h = np.tanh(h @ w.numpy() + row)
    found, slope = run(forward, x)
    close(found, h)
    hand = td.zeros(3)
    for i in range(5):
        hand = td.tanh(hand @ w + td.asarray(x[i]))
    close(slope, td.gradients(hand.sum(), w).numpy())


def test_training_with_a_scan_inside_is_like_training_without():
    x, wanted = numbers(4, 2, 3), numbers(2, 3, seed=9)

    def trained(unrolled: bool):
        w = td.Variable(0.3 * numbers(3, 3, seed=5))
        losses = []
        for _ in range(5):
            h = td.zeros((2, 3))
            if unrolled:
                for i in range(4):
                    h = td.tanh(td.asarray(x[i]) + h @ w)
            else:
                h, _ = td.scan(lambda h, x: (td.tanh(x + h @ w), None), h, td.asarray(x))
            loss = td.mean(td.square(h - td.asarray(wanted)))
            w.assign(w - 0.1 * td.gradients(loss, w))
            losses.append(loss.item())
        return losses

    close(trained(False), trained(True))
    assert trained(False)[-1] < trained(False)[0]


# -- gradients


def wrapped(function):
    """A function of arrays as one of nodes whose result is one number."""

    def of_nodes(*nodes):
        return function(*map(Array, nodes)).sum().node

    return of_nodes


GRADIENTS = {
    "a scan": lambda x, w: td.scan(lambda h, x: (td.tanh(x + h @ w), h * h), x[0], x)[1],
    "a reversed scan": lambda x, w: td.scan(lambda h, x: (td.sin(x * h) @ w, x), x[0], x, reverse=True)[0],
    "carries that are swapped": lambda x, w: td.scan(
        lambda c, x: ((c[1], c[0] @ w * x), None), (x[0], x[1]), x
    )[0][0],
    "only the stacks": lambda x, w: td.scan(lambda n, x: (n + 1, td.exp(x @ w)), 0, x)[1],
    "a map": lambda x, w: td.map(lambda row: td.log(1 + row * row) @ w, x),
    "a while loop": lambda x, w: td.while_loop(
        lambda c: td.sum(c * c) < 50, lambda c: td.sin(c @ w) + 1.5 * c, x[0], max_steps=20
    ),
    "a branch": lambda x, w: td.cond(x.sum() > 0, lambda a: td.exp(a @ w), lambda a: a * w.sum() * a, x)
    + td.cond(x.sum() <= 0, lambda: x, lambda: x * w.sum() * x),
    "a branch in a loop": lambda x, w: td.scan(
        lambda h, x: (td.cond(x[0] > 0, lambda: td.sin(h @ w) * x, lambda: h + x * h), h), x[0], x
    )[1],
    "a loop in a loop": lambda x, w: td.scan(
        lambda h, row: td.scan(lambda h, v: (td.tanh(h @ w + v), h.sum()), h, row), x[0], x
    )[1],
    "a loop in a branch": lambda x, w: td.cond(
        x.sum() < 100, lambda: td.scan(lambda h, x: (td.tanh(h @ w) * x, None), x[0], x)[0], lambda: x[0]
    ),
    "what is the same in every iteration": lambda x, w: td.scan(
        lambda h, x: (h * 0.9 + td.exp(w).sum() * x, None), x[0], x
    )[0],
    "a checkpoint inside": lambda x, w: td.scan(
        lambda h, x: (td.checkpoint(lambda h, x, w: td.tanh(h @ w + x), h, x, w), None), x[0], x
    )[0],
    "gradients inside": lambda x, w: td.scan(
        lambda h, x: (h - 0.1 * td.gradients((td.tanh(h @ w) * x).sum(), h), None), x[0], x
    )[0],
    "products before and after": lambda x, w: td.scan(
        lambda c, x: ((td.tanh(x @ w + c[0] @ w), c[1] + c[0] * x.sum()), td.sin(c[0] @ w)),
        (x[0], x[1]), x, reverse=True,
    )[1],
    "indices": lambda x, w: td.scan(lambda h, i: (h + x[i] * h, None), x[0], td.arange(3))[0],
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_to_second_order(name):
    x, w = numbers(4, 3, dtype="float64"), 0.5 * numbers(3, 3, seed=1, dtype="float64")
    numeric.check_gradients(wrapped(GRADIENTS[name]), x, w)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_in_native_code(name, run):
    x, w = numbers(4, 3), 0.5 * numbers(3, 3, seed=1)

    def slopes(x, w):
        first = td.gradients(GRADIENTS[name](x, w).sum(), [x, w], unconnected="zero")
        return first, td.gradients((first[0] * first[0]).sum(), [x, w], unconnected="zero")

    with td.device("reference"):
        expected = evaluated(slopes(td.asarray(x, dtype="float64"), td.asarray(w, dtype="float64")))
    if run is not by_references:
        close(run(slopes, x, w), expected, rtol=2e-3)


def test_gradients_by_hand_of_a_power():
    def power(x):
        return td.while_loop(lambda c: c < 100, lambda c: c * c, x, max_steps=10)

    x = td.asarray(3.0)
    assert td.grad(power)(x).item() == pytest.approx(8 * 3**7)
    assert td.grad(td.grad(power))(x).item() == pytest.approx(56 * 3**6)


def test_the_gradient_of_a_branch_does_not_see_the_other():
    def root(x):
        return td.cond(x > 0, lambda: td.sqrt(x), lambda: td.zeros(()) * x)

    assert td.grad(root)(td.asarray(0.0)).item() == 0.0


def test_an_unbounded_while_loop_has_no_gradient():
    x = td.asarray(3.0)
    with pytest.raises(GradientError, match=r"pass max_steps="):
        td.grad(lambda x: td.while_loop(lambda c: c < 100, lambda c: c * 2, x))(x)


def test_a_users_rule_inside_a_loop():
    @td.custom_vjp
    def doubled(x):
        return x * 2

    doubled.rule(lambda g, y, x: (g * 10 * x,))
    slope = td.grad(lambda x: td.scan(lambda c, _: (doubled(c), None), x, length=2)[0])(td.asarray(3.0))
    assert slope.item() == 10 * 6 * 10 * 3


def test_no_gradient_goes_through_what_is_stopped_inside():
    def forward(x):
        return td.scan(lambda c, _: (c + td.stop_gradient(c) * c, None), x, length=2)[0]

    # c1 = x + [x] x; c2 = c1 + [c1] c1: by x (1 + x)(1 + c1)
    assert td.grad(forward)(td.asarray(2.0)).item() == 3 * 7


# -- random numbers


def test_every_iteration_draws_anew(run):
    def draw(x):
        _, flat = td.scan(lambda c, _: (c, td.random.uniform((8,))), x, length=4)
        _, nested = td.scan(
            lambda c, _: (c, td.scan(lambda c, _: (c, td.random.uniform((8,))), c, length=3)[1]), x, length=2
        )
        last = td.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, td.random.uniform((8,))), (0, td.zeros(8))
        )
        return flat, nested, last[1]

    td.random.seed(5)
    flat, nested, last = run(draw, np.float32(0))
    rows = np.concatenate([flat, nested.reshape(6, 8), last[None]])
    assert len({row.tobytes() for row in rows}) == 11
    assert rows.min() >= 0 and rows.max() < 1
    td.random.seed(5)
    again = run(draw, np.float32(0))
    np.testing.assert_array_equal(again[0], flat)


def test_the_styles_draw_the_same(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    drawn = []
    for style in STYLES:
        td.random.seed(3)
        drawn.append(
            style(
                lambda x: td.scan(lambda c, _: (c, td.random.normal((4,))), x, length=3, reverse=True)[1],
                np.float32(0),
            )
        )
    for other in drawn[1:]:
        np.testing.assert_allclose(other, drawn[0], rtol=1e-5, atol=1e-6)


def test_a_checkpoint_replays_what_is_drawn_inside():
    x = td.asarray(numbers(6))

    def dropped(x):
        return td.scan(lambda c, _: (td.where(td.random.bernoulli(0.5, (6,)), c * 2, c), None), x, length=5)[
            0
        ]

    td.random.seed(1)
    plain = td.grad(lambda x: dropped(x).sum())(x)
    td.random.seed(1)
    again = td.grad(lambda x: td.checkpoint(dropped, x).sum())(x)
    np.testing.assert_array_equal(plain.numpy(), again.numpy())
    assert len(set(plain.tolist())) > 1


def test_a_door_draws_anew_in_every_run():
    step = td.compile(lambda x: td.scan(lambda c, _: (c + td.random.uniform(()), None), x, length=3)[0])
    assert len({step(td.asarray(0.0)).item() for _ in range(3)}) == 3


# -- sizes, text, doors


def test_symbolic_lengths_get_their_numbers():
    x = td.placeholder(("time", 3), name="x")
    last, sums = td.scan(lambda h, x: (td.tanh(h + x), h.sum()), td.zeros(3), x)
    slope = td.gradients(last.sum(), x)
    session = td.Session()
    for size in (1, 4, 7):
        value = numbers(size, 3)
        h = np.zeros(3, np.float32)
        for row in value:
            h = np.tanh(h + row)
        found = session.run([last, sums, slope], {x: value})
        close(found[0].numpy(), h)
        assert found[1].shape == (size,) and found[2].shape == (size, 3)


def test_a_loop_is_read_and_parsed_back():
    x = td.placeholder(("time", 3), name="x")
    h, _ = td.scan(
        lambda h, row: (td.cond(h > 0, lambda: h, lambda: td.map(td.sin, row).sum()), None), 1.0, x
    )
    outputs = [td.gradients(h, x).node]
    text = graph_text(outputs, elide=False, lines=False)

    def bind(node, bound):
        if node.op.name == "data":
            node.buffer = next(
                n for n in ordered(outputs) if n.op.name == "data" and n.type is node.type
            ).buffer

    parsed = parse_graph(text, OPS, bind)
    assert graph_text(parsed, elide=False, lines=False) == text
    assert "graph0:" in text and "loop(" in text and "cond(" in text
    assert [n.op for n in ordered(parsed)] == [n.op for n in ordered(outputs)]


def test_equal_bodies_are_one_program():
    before = td.cache_info()["hits"]
    x = numbers(40, 200)
    for _ in range(3):
        td.scan(lambda h, row: (td.tanh(h + row), None), td.zeros(200), td.asarray(x))[0].numpy()
    assert td.cache_info()["hits"] == before + 2


def test_a_loop_can_be_shown():
    x = td.placeholder((4,), name="x")
    y, _ = td.scan(lambda c, x: (c + x, None), 0.0, x)
    from treadle.view.picture import picture

    assert "loop" in [box.op for box in picture([y.node]).boxes]


# -- mistakes


def raises(kind, message):
    return pytest.raises(kind, match=message)


def test_a_carry_that_changes_is_named():
    x = td.zeros((3, 2))
    with raises(
        ShapeError,
        r"\[scan\] carry\['h'\]: goes in as float32\[2\], .*comes out as float32\[1, 2\], made at .*reshape",
    ):
        td.scan(lambda c, x: ({"h": td.reshape(c["h"], (1, 2))}, None), {"h": td.zeros(2)}, x)
    with raises(
        DTypeError, r"\[while_loop\] carry\[1\]: goes in as int64\[\].*comes out as float32\[\].*astype"
    ):
        td.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[0] * 0.5), (0, td.asarray(1)))
    with raises(
        ArgumentError,
        r"\[scan\] the structures differ: goes in as \(<array>, <array>\), comes out as <array>",
    ):
        td.scan(lambda c, x: (c[0], None), (td.zeros(2), 1), x)
    with raises(ArgumentError, r"\[scan\] function returns a Array; expected a pair \(carry, y\)"):
        td.scan(lambda c, x: c, td.zeros(2), x)


def test_branches_that_differ_are_named():
    x = td.asarray(1.0)
    with raises(
        ShapeError,
        r"\[cond\] the result\[0\]: true_function returns float32\[2\].*false_function returns float32\[3\]",
    ):
        td.cond(x > 0, lambda: (td.zeros(2),), lambda: (td.zeros(3),))
    with raises(DTypeError, r"true_function returns float32\[\].*false_function returns float64\[\]"):
        td.cond(x > 0, lambda: x * 1, lambda: td.astype(x, "float64"))
    with raises(ArgumentError, r"\[cond\] the structures differ"):
        td.cond(x > 0, lambda: [x], lambda: (x,))
    with raises(DTypeError, r"\[cond\] predicate is float32\[\]"):
        td.cond(x, lambda: 1, lambda: 2)
    with raises(ShapeError, r"\[cond\] predicate is bool\[2\]"):
        td.cond(td.zeros(2) > 0, lambda: 1, lambda: 2)


def test_a_number_takes_the_dtype_it_stands_beside():
    x = td.asarray(2.0, dtype="float64")
    assert td.cond(x > 0, lambda: x, lambda: 1).dtype == td.float64
    assert td.while_loop(lambda c: c < 0, lambda c: 1, x).dtype == td.float64


def test_slices_and_lengths_are_checked():
    def step(c, x):
        return c, x

    with raises(ShapeError, r"\[scan\] the first dimensions of xs differ: xs\[0\] has 3, xs\[1\] has 4"):
        td.scan(step, 0, (td.zeros(3), td.zeros(4)))
    with raises(ShapeError, r"\[map\] xs is 0-d"):
        td.map(lambda x: x, td.asarray(1.0))
    with raises(ArgumentError, r"\[scan\] length=4, but xs have 3 slices"):
        td.scan(step, 0, td.zeros(3), length=4)
    with raises(ArgumentError, r"\[scan\] there is no array in xs; pass length="):
        td.scan(step, 0)
    with raises(ArgumentError, r"\[scan\] carry is a str"):
        td.scan(step, "a", td.zeros(3))
    with raises(ArgumentError, r"\[while_loop\] max_steps=-1"):
        td.while_loop(lambda c: c < 1, lambda c: c, 0, max_steps=-1)
    with raises(DTypeError, r"\[while_loop\] condition returns True"):
        td.while_loop(lambda c: True, lambda c: c, 0)
    with raises(DTypeError, r"\[while_loop\] condition returns int64\[\]"):
        td.while_loop(lambda c: c, lambda c: c, 0)


def test_values_inside_are_not_known_while_a_function_is_called():
    def step(c, x):
        if x > 0:
            return c, x
        return c, -x

    with raises(
        PlaceholderError, r"the truth of an array is not known while td.scan calls its function.*td.cond"
    ):
        td.scan(step, 0, td.zeros(3))
    with raises(PlaceholderError, r"is not known while td.map calls its function"):
        td.map(lambda x: float(x), td.zeros(3))


def test_what_leaks_out_of_a_function_says_where_it_came_from():
    leaked = []
    td.map(lambda x: (leaked.append(x * 2), x)[1], td.zeros(3))
    with raises(
        PlaceholderError, r"was made inside a function that td.map called, at .*test_control_flow.py"
    ):
        leaked[0].numpy()


def test_variables_and_outer_arrays_are_not_changed_inside():
    w, total = td.Variable(1.0, name="w"), td.asarray(0.0)

    def assign(c, x):
        w.assign(x)
        return c, x

    def add(c, x):
        nonlocal total
        total += x
        return c, x

    with raises(StateError, r"\[assign\] w is assigned inside a function that td.scan runs"):
        td.scan(assign, 0, td.zeros(3))
    with raises(StateError, r"an array from outside is changed in place inside a function that td.scan runs"):
        td.scan(add, 0, td.zeros(3))
    assert (w.item(), total.item()) == (1.0, 0.0)


def test_an_index_out_of_range_inside_names_its_line(run):
    def forward(x, i):
        return td.scan(lambda c, j: (c + x[j], None), 0.0, i)[0]

    with raises(td.errors.IndexingError, r"(?s)out of range.*test_control_flow.py"):
        run(forward, numbers(3), np.array([0, 2, 7]))


# -- with vmap


def test_vmap_goes_over_loops_and_inside_them():
    x = numbers(3, 4)

    def sums(row):
        return td.scan(lambda c, v: (c + v, td.cond(v > 0, lambda: c, lambda: -c)), 0.0, row)

    last, stacks = td.vmap(sums)(td.asarray(x))
    close(last.numpy(), x.sum(1))
    before = np.concatenate([np.zeros((3, 1), np.float32), x.cumsum(1)[:, :-1]], axis=1)
    close(stacks.numpy(), np.where(x > 0, before, -before))
    inside = td.scan(lambda c, row: (c + td.vmap(lambda v: v * v)(row), None), td.zeros(4), td.asarray(x))[0]
    close(inside.numpy(), (x * x).sum(0))
    slopes = td.vmap(td.grad(lambda row: td.scan(lambda c, v: (c * v, None), 1.0, row)[0]))(td.asarray(x))
    close(slopes.numpy(), x.prod(1, keepdims=True) / x, rtol=1e-4)


# -- files


def test_loops_and_branches_travel(tmp_path):
    w = td.Variable(0.5 * numbers(3, 3), name="w")

    @td.compile
    def forward(x):
        h, _ = td.scan(
            lambda h, x: (td.cond(x[0] > 0, lambda: td.tanh(h @ w), lambda: h + x), None), td.zeros(3), x
        )
        return td.while_loop(lambda h: td.sum(h * h) < 10, lambda h: h * 2 + 1, h, max_steps=9)

    x = numbers(5, 3)
    expected = forward(x).numpy()
    td.save(tmp_path / "loop.treadle", forward)
    loaded = td.load(tmp_path / "loop.treadle")
    np.testing.assert_array_equal(loaded(x).numpy(), expected)
    slope = td.grad(lambda x: loaded(x).sum())(td.asarray(x))
    close(slope.numpy(), td.grad(lambda x: forward.function(x).sum())(td.asarray(x)).numpy())


def test_rules_and_values_without_history_travel_in_loops(tmp_path):
    def scaled(factor):
        @td.custom_vjp
        def double(x, other):
            return x * 2 + other

        double.rule(lambda g, y, x, other: (g * factor + td.ones(x.shape) * y, None))
        return double

    def total(x):
        # Two loops that are equal but for their rules, one inside a third.
        def inner(row, factor):
            return td.scan(lambda c, v: (c + scaled(factor)(v, c), None), td.zeros(2), row)[0]

        def step(c, row):
            with td.no_grad():
                mean = td.mean(row)
            return c + inner(row, 3.0) * mean + inner(row, 5.0), None

        return td.sum(td.scan(step, td.zeros(2), x)[0])

    x = td.asarray(numbers(3, 4, 2))
    for example in (x, td.placeholder(("outer", "inner", 2))):
        td.save(tmp_path / "rules.treadle", total, example)
        loaded = td.load(tmp_path / "rules.treadle")
        close(loaded(x).numpy(), total(x).numpy())
        wanted = td.grad(total)(x).numpy()
        close(td.grad(loaded.only())(x).numpy(), wanted)
        close(td.compile(td.grad(loaded.only()))(x).numpy(), wanted)
        # Again, from what was loaded; where it is loaded makes no difference.
        td.save(tmp_path / "again.treadle", loaded)
        with td.no_grad():
            again = td.load(tmp_path / "again.treadle")
        close(td.grad(again.only())(x).numpy(), wanted)


def test_what_a_file_cannot_keep_is_refused(tmp_path):
    w = td.Variable(2.0, name="w")

    @td.custom_vjp
    def same(x):
        return x * 1

    same.rule(lambda g, y, x: (g * w,))
    step = td.compile(lambda x: td.map(same, x))
    step(numbers(3))
    with raises(
        ArgumentError, r"\[save\] the gradient rule of the custom_vjp.*inside a loop.*takes read from"
    ):
        td.save(tmp_path / "rule.treadle", step)
    assert not list(tmp_path.iterdir())
