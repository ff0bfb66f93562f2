"""The reader of PyTorch's files: right values from whole ones, and nothing but clear errors from others."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from treadle import models, nn
from treadle.errors import FormatError
from treadle.formats.pickles import Unpickler

HERE = Path(__file__).parent
WHOLE = ["values.pth", "values-protocol-4.pth", "values-before-1.6.pth"]
BASE = np.arange(12, dtype="float32")
EXPECTED = {
    "matrix": BASE.reshape(3, 4),
    "transposed": BASE.reshape(3, 4).T,
    "part": BASE[5:8],
    "half": np.array([0.5, -2], "float16"),
    "brain": np.array([1.5, 3], ml_dtypes.bfloat16),
    "counts": np.array([[1, -2]]),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3), "float32"),
    "scalar": np.array(7),
    "parameter": np.array([[1], [2]], "float32"),
}


@pytest.mark.parametrize("file", WHOLE)
def test_values(file):
    found = models.read_weights(HERE / file)
    assert list(found) == list(EXPECTED)
    for name, array in found.items():
        assert array.dtype == EXPECTED[name].dtype, name
        np.testing.assert_array_equal(array, EXPECTED[name])
        assert array.size == 0 or not array.flags.writeable


def test_a_checkpoints_state_dict_loads_into_layers():
    net = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm(2))
    models.load_pytorch(net, models.read_weights(HERE / "checkpoint.pth"))
    np.testing.assert_allclose(net[0].weight.numpy(), np.sin(np.arange(6.0)).reshape(2, 3).T, rtol=1e-6)
    np.testing.assert_allclose(net[1].bias.numpy(), np.sin([3.0, 4.0]), rtol=1e-6)


def test_code_is_never_run(tmp_path):
    with pytest.raises(
        FormatError, match=r"data.pkl, byte \d+: it asks for torch.nn.modules.container.Sequential"
    ):
        models.read_weights(HERE / "whole-module.pth")

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    for protocol in range(6):
        path = tmp_path / f"evil{protocol}.pth"
        path.write_bytes(pickle.dumps({"w": Evil()}, protocol))
        with pytest.raises(FormatError, match="byte"):
            models.read_weights(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("file", WHOLE)
def test_every_cut_is_told(file, tmp_path):
    data = (HERE / file).read_bytes()
    path = tmp_path / "cut.pth"
    for length in {*range(0, len(data), 7), len(data) - 1}:
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match="byte"):
            models.read_weights(path)


@pytest.mark.parametrize("file", WHOLE)
def test_damage_gives_values_or_a_format_error(file, tmp_path):
    data = (HERE / file).read_bytes()
    path = tmp_path / "damaged.pth"
    told = 0
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        try:
            models.read_weights(path)
        except FormatError:
            told += 1
    assert told > 100


F = "ctorch\nFloatStorage\n"


def _tensor_pickle(*arguments, count=4):
    """The pickle of {"w": _rebuild_tensor_v2(storage, *arguments)}, by hand: PyTorch need not be here."""

    def number(value):
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    sizes = [b"(" + b"".join(map(number, values)) + b"t" for values in arguments[1:]]
    storage = b"(U\x07storage" + F.encode() + b"U\x010U\x03cpu" + number(count) + b"tQ"
    arguments = storage + number(arguments[0]) + b"".join(sizes) + b"\x89" + b"N"
    return b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def _zip(pickled, storage=b"\0" * 16, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", storage)
    return out.getvalue()


BAD = {
    "beyond its storage": _zip(_tensor_pickle(2, (3,), (1,))),
    "beyond its storage ": _zip(_tensor_pickle(0, (1 << 40,), (0,))),
    "larger than any memory": _zip(_tensor_pickle(0, (1 << 50, 1 << 50), (0, 0))),
    "sizes and strides are none": _zip(_tensor_pickle(0, (2,), (-1,))),
    "4000 of float32 are claimed": _zip(_tensor_pickle(0, (4,), (1,), count=4000)),
    "is compressed": _zip(_tensor_pickle(0, (4,), (1,)), compression=zipfile.ZIP_DEFLATED),
    "no tensors by name": _zip(pickle.dumps({"a": 1}, 2)),
    "entries data.pkl": _zip(b"").replace(b"data.pkl", b"data.pkx"),
    "a key is a tuple": _zip(b"\x80\x02})Ns."),
    "asks for os.system": _zip(b"\x80\x02cos\nsystem\n(U\x04truetR."),
    "called that is no function": _zip(b"\x80\x02U\x01a)R."),
    "used before it is there": _zip(b"\x80\x02h\x05."),
    "protocol 9": _zip(b"\x80\x09N."),
    "a mark is missing": _zip(b"\x80\x02Nt."),
    "ends with 2 values": _zip(b"\x80\x02NN."),
    "without its bytes": _zip(b"\x80\x02" + F.encode() + b")R."),
    "no file of PyTorch's weights": pickle.dumps([1, 2], 2),
    "neither a safetensors": b"GIF89a......",
    "is none that weights need": _zip(b"\x80\x02I12\n."),
}


@pytest.mark.parametrize("told", BAD)
def test_foreign_and_malicious_files(told, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(BAD[told])
    with pytest.raises(FormatError, match=told.strip()) as error:
        models.read_weights(path)
    assert "byte" in str(error.value)


def test_a_deep_pickle_is_no_crash():
    deep = b"\x80\x02)" + b"\x85" * 500_000 + b"."
    assert isinstance(Unpickler(deep, "deep", {}).load(), tuple)
    with pytest.raises(FormatError, match="a key is a tuple"):
        Unpickler(b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.", "deep", {}).load()


def test_other_bytes_and_what_is_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError):
        models.read_weights(tmp_path / "none.pth")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(FormatError, match="begins with nothing"):
        models.read_weights(tmp_path / "empty")
