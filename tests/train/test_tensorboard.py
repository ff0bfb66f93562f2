"""Events for TensorBoard: the records' frames and checksums, and the messages' fields, read by a reader of
the tests' own; by TensorBoard's, where it is installed.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from watched import Run

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, ShapeError
from treadle.train.event_file import EventFile, crc32c, masked_crc
from treadle.train.tensorboard import TensorBoard
from treadle.train.wire import float_field, integer_field, varint


def fields(data):
    """The fields of a message: (number, value) with integers, raw 4 and 8 bytes, or bytes."""
    stream = io.BytesIO(data)
    found = []
    while stream.tell() < len(data):
        number, kind = divmod(read_varint(stream), 8)
        value = (
            read_varint(stream) if kind == 0 else stream.read({1: 8, 5: 4}.get(kind) or read_varint(stream))
        )
        found.append((number, value))
    return found


def read_varint(stream):
    value = shift = 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


def one(message, number):
    (value,) = [value for n, value in message if n == number]
    return value


def every(message, number):
    return [value for n, value in message if n == number]


def events_of(folder):
    """All events of a folder's files, in order; frames and checksums are checked."""
    found = []
    for path in sorted(folder.iterdir()):
        assert path.name.startswith("events.out.tfevents.")
        data, place = path.read_bytes(), 0
        while place < len(data):
            length, check = struct.unpack_from("<QI", data, place)
            assert check == masked_crc(data[place : place + 8])
            body = data[place + 12 : place + 12 + length]
            assert struct.unpack_from("<I", data, place + 12 + length) == (masked_crc(body),)
            found.append(fields(body))
            place += 16 + length
    return found


def summaries(folder):
    """{tag: [(step, value message)]}"""
    found = {}
    for event in events_of(folder):
        for summary in every(event, 5):
            for value in every(fields(summary), 1):
                message = fields(value)
                found.setdefault(one(message, 1).decode(), []).append((one(event, 2), message))
    return found


def scalar(message):
    return struct.unpack("<f", one(message, 2))[0]


def doubles(data):
    return np.frombuffer(data, "<f8")


def test_checksums_are_the_standards():
    # RFC 3720, B.4: all zeros, all ones, and the usual check of a CRC.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


def test_integers_and_floats():
    assert varint(300) == b"\xac\x02" and len(varint(-1)) == 10
    assert integer_field(2, 150) == b"\x10\x96\x01"
    assert float_field(2, 1e300) == b"\x15" + struct.pack("<f", np.inf)


def test_scalars_and_the_file_itself(tmp_path):
    with EventFile(tmp_path / "runs") as events:
        events.scalars(7, {"loss": 0.5, "validation/accuracy": 0.25})
    first, second = events_of(tmp_path / "runs")
    assert one(first, 3) == b"brain.Event:2"
    assert one(second, 2) == 7 and struct.unpack("<d", one(second, 1))[0] > 1.7e9
    found = summaries(tmp_path / "runs")
    assert [(step, scalar(message)) for step, message in found["loss"]] == [(7, 0.5)]
    assert scalar(found["validation/accuracy"][0][1]) == 0.25


def test_histograms(tmp_path):
    values = np.array([1.0, 2.0, 2.0, 4.0, np.nan, np.inf], np.float32)
    with EventFile(tmp_path) as events:
        events.histogram(3, "weights", values)
        events.histogram(3, "nothing", [np.nan])
    found = summaries(tmp_path)
    assert list(found) == ["weights"]
    message = fields(one(found["weights"][0][1], 5))
    low, high, count, total, squares = (doubles(one(message, n))[0] for n in range(1, 6))
    assert (low, high, count, total, squares) == (1, 4, 4, 9, 25)
    limits, counts = doubles(one(message, 6)), doubles(one(message, 7))
    assert len(limits) == len(counts) == 30 and limits[-1] == 4
    assert counts[0] == 1 and counts.sum() == 4


def test_images_are_whole_pngs(tmp_path):
    cv2 = pytest.importorskip("cv2")
    numbers = np.random.RandomState(0)
    images = {
        "grey": numbers.uniform(size=(5, 7)),
        "colour": numbers.randint(0, 256, (4, 6, 3), np.uint8),
        "see-through": numbers.randint(0, 256, (3, 2, 4), np.uint8),
    }
    with EventFile(tmp_path) as events:
        for name, image in images.items():
            events.image(1, name, image)
    for name, [(_, message)] in summaries(tmp_path).items():
        image = images[name]
        message = fields(one(message, 4))
        assert [one(message, n) for n in (1, 2, 3)] == [*image.shape[:2], (*image.shape, 1)[2]]
        found = cv2.imdecode(np.frombuffer(one(message, 4), np.uint8), cv2.IMREAD_UNCHANGED)
        wanted = (
            np.rint(image * 255) if image.dtype.kind == "f" else image[..., [2, 1, 0, 3][: image.shape[2]]]
        )
        np.testing.assert_array_equal(found, wanted)


def test_the_graph_has_groups_shapes_and_lines(tmp_path):
    net = nn.Sequential(nn.Dense(3, 4), td.relu, nn.Dense(4, 2))
    x = td.placeholder(("batch", 3), name="x")
    with EventFile(tmp_path) as events:
        events.graph(net(x))
    graph = fields(one(events_of(tmp_path)[1], 4))
    nodes = {one(node, 1).decode(): node for node in map(fields, every(graph, 1))}
    assert {"x", "Sequential/0/matmul", "Sequential/2/add"} <= set(nodes)
    for node in nodes.values():
        assert {name.decode() for name in every(node, 3)} <= set(nodes)
    attributes = {one(fields(a), 1).decode(): fields(one(fields(a), 2)) for a in every(nodes["x"], 5)}
    (shape,) = every(fields(one(attributes["_output_shapes"], 1)), 7)
    sizes = [one(fields(size), 1) for size in every(fields(shape), 2)]
    assert sizes == [2**64 - 1, 3]  # -1 for what is not known, as two's complement
    assert one(attributes["dtype"], 6) == 1
    assert b"test_tensorboard.py" in one(attributes["line"], 2)
    groups = {name.rsplit("/", 1)[0] for name in nodes if "/" in name}
    assert not groups & set(nodes)


def test_a_run_and_its_continuation(tmp_path):
    net = nn.Dense(2, 2)
    board = TensorBoard(
        steps=2, images={"weight": lambda trainer: np.zeros((2, 2))}, graph=net(td.ones((1, 2)))
    )
    run = Run(board, folder=tmp_path, model=net).begin()
    run.steps_on(4)
    run.end_epoch({"accuracy": 0.5}, loss=0.75)
    run.end()
    folder = tmp_path / "tensorboard"
    found = summaries(folder)
    assert [step for step, _ in found["loss"]] == [2, 4]
    assert [(step, scalar(message)) for step, message in found["training/loss"]] == [(4, 0.75)]
    assert [step for step, _ in found["validation/accuracy"]] == [4]
    assert {"bias", "weight", "rate"} <= set(found)

    Run(TensorBoard(), folder=tmp_path, model=net, step=4).begin().end()
    *_, version, restart = events_of(folder)
    assert one(version, 3) == b"brain.Event:2"
    assert one(restart, 2) == 5 and fields(one(restart, 7)) == [(1, 1)]


def test_wrong_pictures_and_places(tmp_path):
    with EventFile(tmp_path) as events:
        with pytest.raises(ShapeError, match=r"a picture of shape \(2, 3, 5\): expected \[height, width\]"):
            events.image(1, "x", np.zeros((2, 3, 5)))
        with pytest.raises(ArgumentError, match="a picture of int64: expected uint8"):
            events.image(1, "x", np.zeros((2, 3), np.int64))
    with pytest.raises(ArgumentError, match="no place for tensorboard: give TensorBoard a path or"):
        Run(TensorBoard()).begin()


def test_tensorboard_reads_them(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    x = td.placeholder(("batch", 3), name="x")
    with EventFile(tmp_path) as events:
        for step in range(1, 6):
            events.scalars(step, {"loss": 1 / step})
        events.histogram(3, "weights", np.arange(100.0))
        events.image(3, "picture", np.zeros((4, 6, 3), np.uint8))
        events.graph(nn.Dense(3, 2)(x))
    with EventFile(tmp_path, restart=4) as events:
        events.scalars(4, {"loss": 0.0})
    found = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [
        (1, 1.0), (2, 0.5), (3, np.float32(1 / 3)), (4, 0.0),
    ]  # fmt: skip
    (histogram,) = found.Histograms("weights")
    assert histogram.histogram_value.num == sum(histogram.histogram_value.bucket) == 100
    (image,) = found.Images("picture")
    assert (image.width, image.height) == (6, 4)
    assert {"x", "Dense/matmul"} <= {node.name for node in found.Graph().node}
