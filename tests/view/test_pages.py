"""The files: well-formed, self-contained, escaped, with groups that fold and titles that say what
is there.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from importlib import import_module

import pytest

import treadle as td
from treadle.errors import ArgumentError
from treadle.view import View, array_html, program_html
from treadle.view.html import page
from treadle.view.picture import picture
from treadle.view.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "rect", "path"}


class Elements(HTMLParser):
    """The elements of a page as (tag, attributes); checks that they are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.fixture
def drawn(net):
    return picture([net.loss.node, *[update.node for update in net.updates]])


def test_svg_is_xml_with_a_box_a_node_and_a_title_each(drawn):
    root = ElementTree.fromstring(svg(drawn))
    boxes = [g for g in root.iter(f"{NAMESPACE}g") if "box" in g.get("class", "").split()]
    assert len(boxes) == len(drawn.boxes)
    for element, box in zip(boxes, drawn.boxes, strict=True):
        assert box.role in element.get("class", "").split()
        assert element.findtext(f"{NAMESPACE}title") == box.title
    assert root.findtext(f"{NAMESPACE}title") == "computational graph"


def test_pages_refer_to_nothing_outside(drawn):
    text = page(drawn)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    assert not [attributes for tag, attributes in Elements(text).found if {"src", "href"} & set(attributes)]
    assert svg(drawn).replace(NAMESPACE[1:-1], "").count("http") == 0


def test_pages_have_a_group_for_every_scope_and_a_script_that_folds_them(drawn):
    elements = Elements(page(drawn))
    groups = [a for tag, a in elements.found if tag == "g" and a.get("class") == "group"]
    assert len(groups) == len(drawn.groups)
    inner = groups[drawn.groups.index(("gradients", "layer1"))]
    assert inner["data-in"] == str(drawn.groups.index(("gradients",)))
    boxes = [a for tag, a in elements.found if tag == "g" and "data-node" in a]
    for attributes, box in zip(boxes, drawn.boxes, strict=True):
        assert attributes["data-in"] == (str(drawn.groups.index(box.group)) if box.group else "")
        assert attributes["tabindex"] == "0"
    assert {a["data-do"] for tag, a in elements.found if tag == "button"} == {
        "fold",
        "unfold",
        "in",
        "out",
        "fit",
    }
    assert "aria-expanded" in "".join(elements.texts["script"])


def test_every_edge_names_its_ends(drawn):
    elements = Elements(page(drawn))
    ends = [
        (int(a["data-from"] or -1), int(a["data-to"] or -1))
        for tag, a in elements.found
        if a.get("class") == "edge"
    ]
    assert ends == drawn.edges


def test_the_legend_names_the_roles_that_occur(drawn):
    text = page(drawn)
    said = re.findall(r"</svg>(\w+) <small>(\d+)</small>", text)
    assert [role for role, _ in said] == ["input", "variable", "forward", "gradient", "update"]


def test_light_and_dark_readers_are_served(drawn):
    assert "prefers-color-scheme: dark" in svg(drawn)
    assert "prefers-color-scheme: dark" in page(drawn)


def test_names_scopes_and_lines_are_escaped():
    x = td.placeholder((2,), name='<script>alert("&")</script>')
    with td.scope("<b>&amp;</b>"):
        y = x * 3.5 + x  # <i> & "quotes"
    drawn = picture([y.node])
    for text in (page(drawn), View(drawn)._repr_html_(), svg(drawn)):
        assert "<script>alert" not in text and "<b>" not in text and "<i>" not in text
    root = ElementTree.fromstring(svg(drawn))
    assert '# <i> & "quotes"' in "".join(root.itertext())
    assert '<script>alert("&")</script>' in [text.text for text in root.iter(f"{NAMESPACE}text")]


def test_long_labels_are_cut_and_their_titles_are_not():
    x = td.placeholder((2,), name="n" * 200)
    root = ElementTree.fromstring(svg(picture([x.node])))
    labels = [text.text or "" for text in root.iter(f"{NAMESPACE}text")]
    assert max(map(len, labels)) < 50
    assert "n" * 200 in "".join(root.itertext())


def test_big_graphs_open_folded(drawn):
    x = td.placeholder((2,), name="x")
    y = x
    for i in range(200):
        with td.scope(f"layer{i // 10}"):
            y = td.exp(y)
    assert 'data-fold="1"' in page(picture([y.node]))
    assert 'data-fold="0"' in page(drawn)


def test_a_graph_of_two_thousand_nodes_is_drawn():
    x = td.placeholder((8, 8), name="x")
    h, ws = x, []
    for i in range(90):
        with td.scope(f"layer{i}"):
            ws.append(td.Variable(td.zeros((8, 8)), name=f"w{i}"))
            h = td.tanh(h @ ws[-1]) + h
    updates = [td.update(w, w - 0.1 * g) for w, g in zip(ws, td.gradients(h.sum(), ws), strict=True)]
    drawn = picture([update.node for update in updates])
    assert len(drawn.boxes) > 1000
    assert len(ElementTree.fromstring(svg(drawn)).findall(f"{NAMESPACE}g")) >= len(drawn.boxes)


def test_show_writes_each_kind_of_file(tmp_path, net):
    for name, start in (
        ("graph.html", "<!doctype html>"),
        ("graph.svg", "<svg "),
        ("graph.TXT", "x = placeholder"),
    ):
        assert td.show([net.loss, *net.updates], path=tmp_path / name) is None
        assert (tmp_path / name).read_text("utf-8").startswith(start)
    with pytest.raises(ArgumentError, match=r"ends in '\.png'; pictures are \.html, \.svg, \.txt"):
        td.show(net.loss, path=tmp_path / "graph.png")


def test_show_prints_groups_as_headings(capsys, net):
    td.show([net.loss, *net.updates])
    lines = capsys.readouterr().out.splitlines()
    assert "layer1:" in lines and "gradients:" in lines
    (line,) = [line for line in lines if "maximum(" in line]
    assert line.startswith("  %") and "float32[4, 6]" in line and "forward" in line and "conftest.py:" in line


def test_show_in_a_notebook_returns_what_displays_itself(monkeypatch, capsys, net):
    monkeypatch.setattr(import_module("treadle.view.show"), "in_notebook", lambda: True)
    view = td.show(net.loss)
    assert view is not None
    assert capsys.readouterr().out == ""
    assert view._repr_html_().startswith("<iframe sandbox")
    (frame,) = [attributes for tag, attributes in Elements(view._repr_html_()).found if tag == "iframe"]
    assert Elements(frame["srcdoc"] or "").found[0] == ("html", {"lang": "en"})
    assert "placeholder" in repr(view)


def test_show_refuses_what_holds_no_graph():
    with pytest.raises(ArgumentError, match="there is no array in"):
        td.show([])
    with pytest.raises(ArgumentError, match="a str is no graph"):
        td.show("loss")
    with pytest.raises(ArgumentError, match="only functions made by compile take example arguments"):
        td.show(td.placeholder((), name="x"), 3)


def test_arrays_and_programs_have_notebook_displays():
    shown = array_html(td.asarray([[1.0, 2.0], [3.0, 4.5]]))
    assert "float32[2, 2] on " in shown and "4.5" in shown
    x = td.placeholder(("<n>", 2), name="x")
    assert "of a static graph" in array_html(x * 2) and "<n>" not in array_html(x * 2)
    w = td.Variable([1.0, 2.0], name="w")
    shown = program_html(import_module("treadle.evaluate").planned([(w * 3.5 + 1).node]))
    assert "<iframe" in shown and "passes and kernels" in shown and "arena" in shown
