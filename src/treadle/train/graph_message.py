"""A graph as TensorFlow's `GraphDef`, which TensorBoard draws: nodes in groups by module and scope."""

from __future__ import annotations

import re
from typing import Any

from treadle.train.wire import bytes_field, integer_field
from treadle.view.picture import Box, picture
from treadle.view.show import targets

TYPE_NUMBERS = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "complex64": 8, "int64": 9,
    "bool": 10, "bfloat16": 14, "uint16": 17, "complex128": 18, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip
"""TensorFlow's `DataType`."""
TYPE = re.compile(r"(\w+)\[([^\]]*)\]")
OTHER = re.compile(r"[^A-Za-z0-9_.\-]+")


def graph_message(x: Any, args: Any = ()) -> bytes:
    """The `GraphDef` of what `td.show` takes."""
    drawn = picture(*targets(x, args))
    names = _names(drawn.boxes)
    nodes = [bytes_field(1, _node(box, names[i], names)) for i, box in enumerate(drawn.boxes)]
    return b"".join([*nodes, bytes_field(4, integer_field(1, 1))])


def _names(boxes: list[Box]) -> list[str]:
    """Paths that are unique, none of which is a group's: a group may be called like a leaf in it."""
    groups = {_path(box.group[:depth]) for box in boxes for depth in range(1, len(box.group) + 1)}
    taken: set[str] = set(groups)
    found = []
    for box in boxes:
        own = box.name if box.leaf else box.op
        first = name = _path((*box.group, own))
        count = 1
        while name in taken:
            count += 1
            name = f"{first}_{count}"
        taken.add(name)
        found.append(name)
    return found


def _path(parts: tuple[str, ...]) -> str:
    return "/".join(OTHER.sub("_", part).lstrip("_-.") or "node" for part in parts)


def _node(box: Box, name: str, names: list[str]) -> bytes:
    inputs = [bytes_field(3, names[i]) for i in box.inputs]
    texts = {"role": box.role, "attributes": box.attributes, "line": box.line}
    values = {key: bytes_field(2, text) for key, text in texts.items() if text}
    types = TYPE.findall(box.type)
    if types:
        values["_output_shapes"] = bytes_field(
            1, b"".join(bytes_field(7, _shape(sizes)) for _, sizes in types)
        )
        values["dtype"] = integer_field(6, TYPE_NUMBERS.get(types[0][0], 0))
    pairs = [bytes_field(5, bytes_field(1, key) + bytes_field(2, value)) for key, value in values.items()]
    return b"".join([bytes_field(1, name), bytes_field(2, box.op), *inputs, *pairs])


def _shape(sizes: str) -> bytes:
    """A `TensorShapeProto` of ``2, 3, batch``; a size that is not known is -1."""
    each = [size.strip() for size in sizes.split(",") if size.strip()]
    return b"".join(bytes_field(2, integer_field(1, int(n) if n.isdigit() else -1)) for n in each)
