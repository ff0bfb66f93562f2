"""What is drawn of a graph: which boxes, in which roles and groups, and what is said of them."""

from __future__ import annotations

import treadle as td
from treadle.view.picture import picture
from treadle.view.show import targets


def drawn(x, *args):
    return picture(*targets(x, args))


def box_named(found, label):
    (box,) = [box for box in found.boxes if box.label == label]
    return box


def test_every_role_of_a_training_step_occurs(net):
    found = drawn([net.loss, *net.updates])
    assert found.roles == ["input", "variable", "forward", "gradient", "update"]
    assert {box.label for box in found.boxes if box.role == "input"} == {"x", "y"}
    assert {box.label for box in found.boxes if box.role == "variable"} == {"w1", "w2"}
    assert {"update w1", "update w2", "multiply(0.25, ·)"} <= {
        box.label for box in found.boxes if box.role == "update"
    }
    assert all(box.group[0] == "gradients" for box in found.boxes if box.role == "gradient")


def test_before_gradients_there_are_none(net):
    before, after = drawn(net.loss), drawn([net.loss, *net.gradients])
    assert "gradient" not in before.roles
    assert [box.text for box in after.boxes][: len(before.boxes)] == [box.text for box in before.boxes]
    assert sum(box.output for box in after.boxes) == 3


def test_groups_are_scopes_and_gradients_keep_them_inside(net):
    found = drawn([net.loss, *net.updates])
    assert {("layer1",), ("layer2",), ("loss",), ("sgd",), ("gradients",), ("gradients", "layer1")} <= set(
        found.groups
    )
    assert box_named(found, "maximum(·, 0)").group == ("layer1",)
    with td.scope("outer"), td.scope("inner"):
        y = net.x + net.x
    assert drawn(y).groups == [("outer",), ("outer", "inner")]


def test_updates_outside_any_scope_have_a_group():
    w, x = td.Variable([1.0, 2.0], name="w"), td.placeholder((2,), name="x")
    (g,) = td.gradients((w * x).sum(), [w])
    found = drawn(td.update(w, w - g))
    assert box_named(found, "update w").group == ("updates",)


def test_boxes_come_after_what_they_read(net):
    found = drawn([net.loss, *net.updates])
    assert found.edges
    assert all(u < v for u, v in found.edges)
    assert len(set(found.edges)) == len(found.edges)


def test_numbers_are_written_into_their_readers():
    x = td.placeholder((2, 3), name="x")
    found = drawn(td.where(x > 2.5, x, 0) / 3)
    labels = [box.label for box in found.boxes]
    assert "greater(·, 2.5)" in labels
    assert "where(·, ·, 0)" in labels
    assert "constant" not in found.roles


def test_a_number_that_is_asked_for_is_drawn():
    found = drawn(td.zeros((2,)))
    assert [box.label for box in found.boxes] == ["broadcast_to(0)"]
    assert found.boxes[0].output


def test_implied_broadcasts_are_left_out_and_others_are_not():
    x, b = td.placeholder((2, 3), name="x"), td.placeholder((3,), name="b")
    assert [box.label for box in drawn(x + b).boxes] == ["x", "b", "add"]
    assert "broadcast_to" in [box.label for box in drawn(td.broadcast_to(b, (2, 3))).boxes]


def test_one_version_of_a_variable_is_one_box_a_group():
    w, x = td.Variable([1.0], name="w"), td.placeholder((1,), name="x")
    found = drawn(w * x + w * 3.5)
    assert [box.label for box in found.boxes].count("w") == 1


def test_pending_assignments_are_updates():
    w = td.Variable([1.0, 2.0], name="w")
    w.assign(w * 3.5)
    found = drawn(w + 1)
    assert box_named(found, "assign w").role == "update"
    w.numpy()


def test_equal_names_are_told_apart():
    a, b = td.placeholder((2,), name="x"), td.placeholder((2,), name="x")
    assert [box.text for box in drawn(a + b).boxes][-1] == "%2 = add(x, x#2)"


def test_titles_say_shape_dtype_role_scope_and_line(net):
    title = box_named(drawn(net.h), "maximum(·, 0)").title
    assert "float32[4, 6]" in title
    assert "forward, an output" in title
    assert "in layer1" in title
    assert "conftest.py" in title and "td.maximum(x @ w1, 0)" in title


def test_symbolic_sizes_are_shown():
    x = td.placeholder(("batch", 784), name="x")
    assert drawn(x * 2).boxes[-1].type == "float32[batch, 784]"


def test_doors_show_the_updates_they_make():
    x, total = td.placeholder((), name="x"), td.Variable(0.0, name="total")
    door = td.function([x], total * 2, updates=[(total, total + x)])
    assert "update total" in [box.label for box in drawn(door).boxes]
    assert (
        box_named(drawn(td.function([x], [], updates=[(total, 2.5)])), "update total(2.5)").role == "update"
    )

    @td.compile
    def step(x, scale):
        total.assign(total + x * scale)
        return x * 2

    found = drawn(step, td.asarray([1.0, 2.0]).sum(), 3)
    assert "update total" in [box.label for box in found.boxes]
    assert "multiply(·, 3)" in [box.label for box in found.boxes]
    assert float(total) == 0.0


def test_updates_among_the_fetches_are_not_drawn_twice(net):
    door = td.function([net.x, net.y], [net.loss, *net.updates])
    assert [box.label for box in drawn(door).boxes].count("update w1") == 1


def test_loops_and_branches_show_what_they_do():
    w, xs = td.Variable([[0.5, -0.3], [0.2, 0.4]], name="w"), td.placeholder((6, 2), name="xs")

    def step(h, x):
        with td.scope("cell"):
            return td.tanh(h @ w + x * 2), None

    with td.scope("rnn"):
        h, _ = td.scan(step, td.zeros(2), xs)
    found = drawn(h)
    assert found.groups == [("rnn",), ("rnn", "loop"), ("rnn", "loop", "cell")]
    (tanh,) = [i for i, box in enumerate(found.boxes) if box.op == "tanh"]
    (loop,) = [i for i, box in enumerate(found.boxes) if box.op == "loop"]
    assert found.boxes[tanh].group == ("rnn", "loop", "cell") and (tanh, loop) in found.edges
    assert found.boxes[loop].attributes == "length=6, reverse=False"
    inside = {box.text.split(" = ")[1] for box in found.boxes if box.group == ("rnn", "loop")}
    assert {"carry(0)", "slice(xs)"} < inside
    both = drawn([h, td.gradients(h.sum(), w)])
    (backward,) = [box for box in both.boxes if box.op == "loop" and box.group[0] == "gradients"]
    assert backward.group[:2] == ("gradients", "rnn") and "reverse=True" in backward.attributes
    assert all(u < v for u, v in both.edges)


def test_conditions_branches_and_equal_graphs():
    def double(x):
        return td.while_loop(lambda c: c < 100, lambda c: c * 2, x)

    x, y = td.placeholder((), name="x"), td.placeholder((), name="y")
    found = drawn(td.cond(x > y, lambda: double(x), lambda: double(y)) + double(x))
    texts = [(box.group, box.text.split(" = ")[1]) for box in found.boxes]
    for branch, name, loop in (("true", "x", "loop"), ("false", "y", "loop#2")):
        for part in ("condition", "body"):
            assert (("cond", branch, loop, part), f"carry({name})") in texts
    # The same graph again, of another node, is drawn again.
    assert (("loop#3", "body"), "carry(x)") in texts
    assert [text for _, text in texts if text.startswith("cond(")] == ["cond(%2, %8, %14)"]
