"""Graphs that travel: what was saved computes, differentiates and trains as before; damage is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import random_graphs
from formats import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import RECIPES
from safetensors import safe_open

import treadle as td
from treadle.array import Array
from treadle.errors import ArgumentError, FeedError, FormatError, StateError
from treadle.graph.dimension import Dimension, solve
from treadle.graphfile import container, upgrades
from treadle.graphfile.load import LoadedFunction
from treadle.graphfile.signature import Signature
from treadle.graphfile.writer import Writer
from treadle.structure import SLOT

X = graphs.X
T = np.array([[0.5, -0.5], [0.25, 1.0]], np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "graph.treadle"


def dense(path):
    graphs.dense(path)
    return td.load(path)


# -- the same numbers


def test_a_loaded_graph_trains_as_the_code_does(path):
    w = td.Variable(np.arange(6, dtype=np.float32).reshape(3, 2) / 10)
    b = td.Variable(td.zeros(2))

    @td.compile
    def step(x, t, rate):
        loss = td.mean(td.square(td.tanh(x @ w + b) - t))
        gw, gb = td.gradients(loss, [w, b])
        w.assign(w - rate * gw)
        b.assign(b - rate * gb)
        return loss

    loaded = dense(path)
    train = loaded["train"]
    compiled = td.compile(train)
    x, t, rate = td.placeholder((2, 3)), td.placeholder((2, 2)), td.placeholder(())
    static = td.function([x, t, rate], train(x, t, rate)["loss"])
    for call in (lambda *a: train(*a)["loss"], lambda *a: compiled(*map(td.asarray, a))["loss"], static) * 2:
        expected = float(step(td.asarray(X), td.asarray(T), 0.1))
        assert float(call(X, T, np.float32(0.1))) == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(loaded.variables["w"].numpy(), w.numpy(), rtol=1e-6)
    assert int(loaded.variables["count"]) == 6
    assert not loaded.variables["count"].trainable
    assert loaded.variables["w"].cell.layout == (1, 0)


def test_gradients_go_through_in_every_style(path):
    predict = dense(path)["predict"]
    x = td.asarray(X)

    def gradient(value):
        return td.gradients(td.sum(predict(value) ** 2.0), value)

    one = gradient(x)
    np.testing.assert_allclose(td.compile(gradient)(x).numpy(), one.numpy(), rtol=1e-6)
    p = td.placeholder(("n", 3))
    np.testing.assert_allclose(td.function([p], gradient(p))(X).numpy(), one.numpy(), rtol=1e-6)
    twice = td.gradients(td.sum(gradient(x)), x)
    assert np.abs(twice.numpy()).max() > 0.01
    td.sum(predict(x)).backward()
    assert predict(x).requires_grad
    with td.no_grad():
        assert not predict(x).requires_grad


def test_sizes_stay_open(path):
    loaded = dense(path)
    assert loaded["predict"](np.ones((7, 3), np.float32)).shape == (7, 2)
    p = td.placeholder(("many", 3))
    assert loaded["predict"](p).shape == (Dimension(["many"]), 2)
    with pytest.raises(FeedError, match=r"\[train\] t is float32\[batch, 2\], batch = 2; it was given"):
        loaded["train"](X, np.zeros((3, 2), np.float32), 0.1)


def test_a_function_of_a_door_keeps_its_updates_and_the_names_of_its_inputs(path):
    total = td.Variable(1.0, name="total")
    x = td.placeholder((), name="x")
    td.save(path, td.function([x], [total * 2, total + x], updates=[(total, total + x)]))
    loaded = td.load(path)
    assert [v.item() for v in loaded(2.0)] == [2.0, 3.0]
    assert [v.item() for v in loaded(x=3.0)] == [6.0, 6.0]
    assert float(loaded.variables["total"]) == 6.0
    assert float(total) == 1.0


def test_every_signature_of_a_compiled_function_is_kept(path):
    @td.compile
    def scaled(x, *, flipped=False):
        y = x * 2
        return td.flip(y) if flipped else y

    with pytest.raises(ArgumentError, match="no signature yet"):
        td.save(path, scaled)
    scaled(td.asarray([1.0, 2.0]))
    scaled(td.asarray([1.0, 2.0]), flipped=True)
    td.save(path, scaled, td.placeholder(("n",), dtype=td.int64))
    loaded = td.load(path)
    assert len(loaded["scaled"].signatures) == 3
    assert loaded([1.0, 2.0]).tolist() == [2.0, 4.0]
    assert loaded([1.0, 2.0], flipped=True).tolist() == [4.0, 2.0]
    assert loaded(np.arange(3)).tolist() == [0, 2, 4]
    with pytest.raises(FeedError, match="fit none of its signatures"):
        loaded(td.ones((2, 2)))


def test_nested_arguments_and_results(path):
    def mixed(pair, options, names):
        a, b = pair
        return {"sum": [a + b["x"]], "same": (options["k"], None, names)}

    td.save(path, mixed, (td.ones(2), {"x": td.ones(2)}), {"k": 3, "on": True}, ("a", 2 + 1j))
    found = td.load(path)((td.ones(2), {"x": td.ones(2)}), {"on": True, "k": 3}, ("a", 2 + 1j))
    assert found["sum"][0].tolist() == [2.0, 2.0]
    assert found["same"] == (3, None, ("a", 2 + 1j))
    with pytest.raises(ArgumentError, match="a object cannot be written"):
        td.save(path, lambda x, mode: x, td.ones(2), object())


def test_saving_again_keeps_what_was_learned(path, tmp_path):
    loaded = dense(path)
    loaded["train"](X, T, 0.1)
    td.save(tmp_path / "again", loaded)
    again = td.load(tmp_path / "again")
    np.testing.assert_array_equal(again.variables["w"].numpy(), loaded.variables["w"].numpy())
    np.testing.assert_array_equal(again["predict"](X).numpy(), loaded["predict"](X).numpy())
    td.save(tmp_path / "one", loaded["predict"], freeze=True)
    frozen = td.load(tmp_path / "one")
    assert not frozen.variables
    np.testing.assert_allclose(frozen(X).numpy(), loaded["predict"](X).numpy(), rtol=1e-6)
    with pytest.raises(ArgumentError, match="freeze=True"):
        td.save(tmp_path / "two", loaded["train"], freeze=True)


def test_variables_of_one_name_are_told_apart(path):
    a, b = td.Variable(1.0, name="w"), td.Variable(2.0, name="w")
    td.save(path, lambda: a * 10 + b)
    loaded = td.load(path)
    assert list(loaded.variables) == ["w", "w.2"]
    assert loaded().item() == 12.0
    assert loaded.variables["w.2"].name == "w"


def test_random_numbers_are_those_of_the_function_run_by_run(path):
    before = td.random.get_state()

    @td.compile
    def noisy(x):
        return x + td.random.uniform((3,), key=td.random.key(3))

    td.save(path, noisy, td.zeros(3))
    assert td.random.get_state() == before
    loaded, again = td.load(path), td.load(path)
    draws = [loaded([0.0, 0.0, 0.0]).tolist() for _ in range(3)]
    assert draws == [noisy(td.zeros(3)).tolist() for _ in range(3)]
    assert draws == [again(td.zeros(3)).tolist() for _ in range(3)]
    assert draws[0] != draws[1]


def test_rules_and_regions_of_gradients_travel(path):
    graphs.noise(path)
    x = td.asarray(X)
    y = td.load(path)(x)
    z = np.exp(X)
    np.testing.assert_allclose(
        td.gradients(y.sum(), x).numpy(), 2.0 + np.cos(z) * z, rtol=1e-5
    )  # fmt: skip


def test_a_rule_of_open_sizes(path):
    w = td.Variable(3.0, name="w")

    @td.custom_vjp
    def doubled(x):
        return x * 2

    @doubled.rule
    def rule(g, y, x):
        return (g * w + td.ones(x.shape) * td.sum(x) + y,)

    td.save(path, doubled, td.placeholder(("n",)))
    loaded = td.load(path)
    x = td.asarray([1.0, 2.0, 3.0])
    assert td.gradients(loaded(x).sum(), x).tolist() == [11.0, 13.0, 15.0]
    ys = td.vmap(lambda row: td.gradients(loaded(row).sum(), row))(td.stack([x, x]))
    assert ys.tolist() == [[11.0, 13.0, 15.0]] * 2


def test_a_rule_that_needs_values_cannot_be_saved(path):
    @td.custom_vjp
    def f(x):
        return x * 2

    @f.rule
    def rule(g, y, x):
        return (g * x.sum().item(),)

    with pytest.raises(ArgumentError, match="gradient rule of the custom_vjp made at"):
        td.save(path, f, td.ones(2))
    assert not path.exists()


def test_no_grad_stays(path):
    def half(x):
        with td.no_grad():
            y = x * 2
        return x + y

    td.save(path, half, td.ones(2))
    x = td.asarray([1.0, 2.0])
    assert td.gradients(td.load(path)(x).sum(), x).tolist() == [1.0, 1.0]


def test_lines_scopes_and_roles_travel_as_text(path):
    loaded = dense(path)
    text = loaded["train"].text()
    assert "train(x: float32[batch, 3], t: float32[batch, 2], rate: float)" in text
    assert "graphs.py:" in text
    with td.scope("outer"):
        node = loaded["predict"](X).node
    assert node.scope == ("outer", "layer") and "tanh" in str(node.line)
    assert "w: float32[3, 2]" in repr(loaded)


def test_on_another_device(path):
    graphs.dense(path)
    loaded = td.load(path, device="reference")
    assert loaded.variables["w"].device == "reference"
    y = loaded["predict"](X)
    assert y.device == "reference"
    np.testing.assert_allclose(y.numpy(), td.load(path)["predict"](X).numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["dense", "noise"])
def test_without_the_code_that_made_it(path, name):
    graphs.GRAPHS[name](path)
    script = "import sys, numpy as np, treadle as td\nf = td.load(sys.argv[1])\n"
    script += f"f = f['predict'] if {name == 'dense'} else f\n"
    script += "print(f(np.ones((2, 3), np.float32)).numpy().tobytes().hex())"
    out = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    here = td.load(path)
    f = here["predict"] if name == "dense" else here
    found = np.frombuffer(bytes.fromhex(out.stdout.strip()), np.float32)
    np.testing.assert_allclose(found, f(np.ones((2, 3), np.float32)).numpy().ravel(), rtol=1e-6)


@settings(max_examples=25)
@given(RECIPES)
def test_random_graphs_and_their_gradients(tmp_path_factory, recipe):
    outputs = random_graphs.build(recipe)[0] + list(random_graphs.with_gradients(recipe))
    expected = [Array(node).numpy() for node in random_graphs.build(recipe)[0]]
    writer = Writer({"f": [Signature((), ((), {}), [], [SLOT] * len(outputs), outputs, {})]}, False)
    file = tmp_path_factory.mktemp("graph") / "g"
    write(file, writer.document, writer.tensors)
    found = td.load(file)()
    assert len(found) == len(outputs)
    for value, wanted in zip(found, expected, strict=False):
        np.testing.assert_array_equal(value.numpy(), wanted)


# -- golden files


@pytest.mark.parametrize("file", sorted(graphs.HERE.glob("*.treadle")), ids=lambda file: file.name)
def test_files_of_every_version_are_read(file):
    loaded = td.load(file)
    name = file.name.split(".")[0]
    if name == "dense":
        z = np.tanh(X @ (np.arange(6, dtype=np.float32).reshape(3, 2) / 10))
        np.testing.assert_allclose(loaded["predict"](X).numpy(), z, rtol=1e-5)
        assert loaded["train"](X, T, 0.1)["loss"].item() == pytest.approx(
            float(np.mean((z - T) ** 2)), rel=1e-5
        )
        assert int(loaded.variables["count"]) == 1
    elif name == "dtypes":
        found = loaded()
        assert len(found) == 15
        for dtype, value in found.items():
            assert str(value.dtype) == dtype
            assert value.numpy().astype(complex).tolist() == [1, 1, 0]
    elif name == "loops":
        # The second row's sum of sizes is 1.4, those of the others are above 1.5.
        xs = td.asarray(np.array([[1, 0.2, -0.7], [0.5, 0.5, 0.4], [-1, -1, 0]], np.float32))
        last, sums = loaded(xs)
        rows = [1.9 * np.array([0.5, 0.2, -0.5]), [-0.5, -0.5, -0.4], 2 * np.array([-0.5, -0.5, 0])]
        np.testing.assert_allclose(last.numpy(), np.sum(rows, 0), rtol=1e-5)
        np.testing.assert_allclose(sums.numpy(), np.cumsum(np.sum(rows, 1)), rtol=1e-5, atol=1e-6)
        slopes = np.repeat([[2 * 1.9], [-1], [2 * 2.0]], 3, 1)
        slope = td.grad(lambda x: loaded(x)[0].sum())
        for gradient in (slope, td.compile(slope)):
            np.testing.assert_allclose(gradient(xs).numpy(), slopes, rtol=1e-5)
    else:
        draws = td.random.normal((2, 3), key=td.random.key(7)).numpy()
        expected = np.clip(X, -0.5, 0.5) + np.sin(np.exp(X)) + X + draws
        np.testing.assert_allclose(loaded(X).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_there_is_a_golden_file_of_every_graph_in_this_version():
    assert {file.name for file in graphs.HERE.glob(f"*.{upgrades.VERSION}.treadle")} == {
        f"{name}.{upgrades.VERSION}.treadle" for name in graphs.GRAPHS
    }


def test_an_older_document_is_upgraded_step_by_step(path, monkeypatch):
    graphs.dense(path)
    tensors, document = parts(path)
    for node in document["nodes"]:
        node["operation"] = node.pop("op")

    def rename(old):
        return {**old, "nodes": [{"op": n["operation"], **n} for n in old["nodes"]]}

    now = upgrades.VERSION
    monkeypatch.setattr(upgrades, "VERSION", now + 2)
    monkeypatch.setitem(upgrades.UPGRADES, now, rename)
    monkeypatch.setitem(upgrades.UPGRADES, now + 1, lambda old: old)
    write(path, document, tensors)
    assert td.load(path)["predict"](X).shape == (2, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{graph0 0}", "", "custom_vjp has none"),
        ("{graph0 0}", "{graph7 0}", "'graph7' is not defined"),
        ("{graph0 0}", "{graph0 1}", "are no outputs of a rule"),
        ("{graph0 0}", "{graph0 0 0}", "not as many cotangents"),
        ("%5 = ", "%5 ! ", "is no node"),
    ],
)
def test_a_damaged_rule_in_a_loop_is_refused(path, old, new, message):
    graphs.loops(path)
    tensors, document = parts(path)
    (body,) = [n["attributes"]["body"] for n in document["nodes"] if n["op"] == "loop"]
    assert old in body["graph"] and " detached" in body["graph"]
    body["graph"] = body["graph"].replace(old, new)
    write(path, document, tensors)
    with pytest.raises(FormatError, match=message):
        td.load(path)


def test_other_readers_see_the_tensors(path):
    graphs.dense(path)
    with safe_open(path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("w"), np.arange(6, dtype=np.float32).reshape(3, 2) / 10)
        assert json.loads(file.metadata()["graph"])["kind"] == "treadle graph"


# -- what is refused


def parts(path):
    with open(path, "rb") as file:
        opened = container.Container(path, file)
        document = json.loads(opened.metadata[container.DOCUMENT])
        tensors = {name: opened.read(name, entry.type) for name, entry in opened.entries.items()}
    return tensors, document


def write(path, document, tensors):
    text = json.dumps(document)
    metadata = {
        "format": upgrades.KIND,
        container.DOCUMENT: text,
        container.HASH: container.text_digest(text),
    }
    container.write(path, tensors, metadata)


def at(document, *keys):
    for key in keys[:-1]:
        document = document[key]
    return document, keys[-1]


def put(value, *keys):
    def change(document):
        inside, key = at(document, *keys)
        inside[key] = value

    return change


def first(document, op):
    return next(i for i, node in enumerate(document["nodes"]) if node["op"] == op)


def changed(op, value, *keys):
    return lambda document: put(value, "nodes", first(document, op), *keys)(document)


def dropped(*keys):
    def change(document):
        inside, key = at(document, *keys)
        del inside[key]

    return change


DAMAGES = [
    (put(99, "version"), r"in version 99 of the format; this Treadle reads versions 1 to \d+: install"),
    (put("1", "version"), "'version' is '1'; expected an integer"),
    (put(0, "version"), "there is no version 0"),
    (changed("tanh", "tanhh", "op"), r"node \d+, tanhh: there is no op 'tanhh': if it is one of yours"),
    (changed("tanh", [999], "inputs"), "there is no node 999 before"),
    (changed("tanh", [-1], "inputs"), "there is no node -1 before"),
    (changed("tanh", [True], "inputs"), "there is no node True before"),
    (changed("tanh", [0, 1], "inputs"), "does not take these inputs and attributes"),
    (changed("tanh", ["float32", [3]], "type"), r"it gives float32\[batch, 2\], the file says float32\[3\]"),
    (changed("tanh", ["float31", [3]], "type"), "'float31' is no dtype"),
    (changed("tanh", ["float32", [-3]], "type"), "-3 is no size"),
    (changed("permute_dims", [0, 0], "attributes", "axes"), "axes=.* is not an order"),
    (changed("permute_dims", [0, "x"], "attributes", "axes"), "does not take these inputs"),
    (changed("permute_dims", {"axis": 0}, "attributes"), "its attributes are"),
    (changed("permute_dims", {"code": "import os"}, "attributes", "axes"), "is no attribute"),
    (changed("sum", [7], "attributes", "axes"), "are no axes"),
    (changed("constant", "one", "attributes", "value"), "'one' is no float32"),
    (changed("read", "nothing", "variable"), "there is no variable 'nothing'"),
    (changed("read", "b", "variable"), "it gives"),
    (put({}, "functions"), "there is no function in it"),
    (put([], "functions", "predict"), "function 'predict': it has no signature"),
    (put([0, 1], "functions", "predict", 0, "inputs"), "an input is no placeholder|not as many inputs"),
    (put([], "functions", "predict", 0, "outputs"), "it has not as many outputs"),
    (put([["w", 0]], "functions", "predict", 0, "updates"), "is .* and updated with"),
    (put({"eval": "1"}, "functions", "predict", 0, "result"), "is no argument"),
    (put("0" * 64, "variables", "w", "sha256"), "the tensor 'w' is damaged"),
    (put(["float32", [3, 3]], "variables", "w", "type"), r"tensor 'w' is float32\[3, 2\]; the graph takes"),
    (put([0, 0], "variables", "w", "layout"), "is no order of its dimensions"),
    (put([[]], "lines"), r"\[\] is no line"),
    (dropped("variables", "b"), "there is no variable 'b'|belong to nothing"),
    (dropped("nodes"), "there is no 'nodes'"),
    (lambda document: document.clear(), "there is no 'version'"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[message[:40] for _, message in DAMAGES])
def test_a_damaged_graph_is_refused(path, damage, message):
    graphs.dense(path)
    tensors, document = parts(path)
    damage(document)
    write(path, document, tensors)
    with pytest.raises(FormatError, match=message) as found:
        td.load(path)
    assert path.name in str(found.value)


def test_a_missing_and_an_extra_tensor(path):
    graphs.dense(path)
    tensors, document = parts(path)
    write(path, document, {name: array for name, array in tensors.items() if name != "b"})
    with pytest.raises(FormatError, match="there is no tensor 'b'"):
        td.load(path)
    write(path, document, {**tensors, "more": X})
    with pytest.raises(FormatError, match=r"the tensors \['more'\] belong to nothing"):
        td.load(path)


def header(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


BYTES = [
    (b"", "0 bytes are no safetensors file"),
    (b"\x93NUMPY\x01\x00v\x00{'descr'", "this is no safetensors file"),
    (b"PK\x03\x04" + bytes(60), "the header is 67324752 bytes long, the file ends after 64"),
    (header(b"{}"), "none of td.save"),
    (header(b"[]"), "the header is no object"),
    (header(b"{'a'"), "byte 9: the header is no JSON"),
    (header(b'{"a\xff"'), "byte 11: the header is no UTF-8"),
    (header(b"[" * 100_000), "no JSON"),
    (header(b'{"a": 1, "a": 2}'), "a name twice"),
    (
        header(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', bytes(4)),
        "does not take the 4",
    ),
    (
        header(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(4)),
        "the file is cut off",
    ),
    (header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', bytes(9)), "goes on to byte"),
    (header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', bytes(8)), "or a gap is"),
    (header(b'{"a": {"dtype": "F99", "shape": [], "data_offsets": [0, 4]}}', bytes(4)), "no dtype 'F99'"),
    (header(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4)), "are no sizes"),
    (
        header(
            b'{"a": {"dtype": "F32", "shape": [4000000000, 4000000000], "data_offsets": [0, 4]}}', bytes(4)
        ),
        "does not take",
    ),
    (header(b'{"__metadata__": {"a": 1}}'), "no object of strings"),
]


@pytest.mark.parametrize(("data", "message"), BYTES, ids=[message for _, message in BYTES])
def test_foreign_files_are_refused(path, data, message):
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        td.load(path)


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        td.load(path)


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_bit_or_a_lost_end_never_goes_unseen(tmp_path_factory, data):
    whole = (graphs.HERE / "dense.1.treadle").read_bytes()
    file = tmp_path_factory.mktemp("damaged") / "g"
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        damaged = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    file.write_bytes(damaged)
    try:
        loaded = td.load(file)
    except FormatError:
        return
    # White space of the header, or the name under which something is not looked for.
    np.testing.assert_array_equal(
        loaded["predict"](X).numpy(), td.load(graphs.HERE / "dense.1.treadle")["predict"](X).numpy()
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.sampled_from(["w", "float32", "add", "read"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["size", "dtype", "array", "tuple", "type", "op"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def places(value, found, path=()):
    """The paths of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((*path, key))
        places(item, found, (*path, key))
    return found


DOCUMENTS = {name: parts(graphs.HERE / f"{name}.{upgrades.VERSION}.treadle") for name in graphs.GRAPHS}
PLACES = {name: places(document, []) for name, (_, document) in DOCUMENTS.items()}


@settings(max_examples=200)
@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_no_document_breaks_the_reader(tmp_path_factory, name, data):
    """Anything in the place of anything, signed anew: it is refused, or it is a graph."""
    tensors, document = DOCUMENTS[name]
    document = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 2))):
        inside, key = at(document, *data.draw(st.sampled_from(places(document, []) or [("version",)])))
        inside[key] = data.draw(JSON)
    file = tmp_path_factory.mktemp("fuzzed") / "g"
    write(file, document, tensors)
    try:
        loaded = td.load(file)
    except FormatError:
        return
    assert all(isinstance(function, LoadedFunction) for function in loaded.functions.values())
    repr(loaded)


def test_where_saving_and_loading_are_refused(path):
    graphs.dense(path)

    @td.compile
    def loads():
        return td.load(path)(td.ones((2, 3)))

    with pytest.raises(StateError, match="inside a compiled function"):
        loads()

    @td.compile
    def saves(x):
        td.save(path, lambda y: y, x)
        return x

    with pytest.raises(ArgumentError, match="inside a compiled function"):
        saves(td.ones(2))
    with pytest.raises(ArgumentError, match="choose one"):
        td.load(path)(X)
    with pytest.raises(ArgumentError, match="there is no function 'nothing'"):
        td.load(path)["nothing"]
    with pytest.raises(ArgumentError, match="a int cannot be saved"):
        td.save(path, 3)
    with pytest.raises(ArgumentError, match="takes no example"):
        td.save(path, td.load(path)["predict"], X)


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    graphs.dense(path)
    before = path.read_bytes()

    def fails(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(container.os, "replace", fails)
    with pytest.raises(OSError, match="full"):
        td.save(path, lambda x: x, td.ones(3))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# -- sizes


@pytest.mark.parametrize(
    ("wanted", "given", "sizes"),
    [
        (("n", 3), (5, 3), {"n": 5}),
        (("n", "n"), (5, 4), None),
        (("n", "m", "n*m"), (2, 3, 6), {"n": 2, "m": 3}),
        (("2*n",), (6,), {"n": 3}),
        (("2*n",), (5,), None),
        (("n", "m"), ("m", "n"), {"n": Dimension(["m"]), "m": Dimension(["n"])}),
        (("n",), ("2*k",), {"n": Dimension(["k"], 2)}),
        ((3,), (4,), None),
    ],
)
def test_sizes_are_solved_for(wanted, given, sizes):
    def sized(shape):
        return [
            Dimension(
                [s for s in size.split("*") if not s.isdigit()], int(size[0]) if size[0].isdigit() else 1
            )
            if isinstance(size, str)
            else size
            for size in shape
        ]

    found: dict = {}
    assert solve(sized(wanted), sized(given), found) is (sizes is not None)
    if sizes is not None:
        assert found == sizes


def test_a_network_in_the_path_s_place():
    with pytest.raises(
        ArgumentError, match=r"path is a Dense; expected save\(path, function\).*net.state\(\)"
    ):
        td.save(td.nn.Dense(2, 3), "net")
