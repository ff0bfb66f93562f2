"""`treadle bench`: tiny networks of ours, against peers made for the test that are right, wrong, or fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from treadle.bench import contenders, workloads
from treadle.bench.contenders import Contender
from treadle.bench.rotation import ContenderFailed, Process
from treadle.cli import main

FAKE = Path(__file__).with_name("fake_peer.py")
TINY = {
    "two-layer": {"x": (4, 12), "y": (4, 6), "options": {"inputs": 12, "hidden": 5, "outputs": 6}},
    "lenet": {"x": (2, 1, 28, 28), "y": (2,)},
    "lstm": {"x": (2, 3, 4), "y": (2, 3, 5), "options": {"inputs": 4, "width": 5}},
    "gpt": {
        "x": (2, 3), "y": (2, 3), "symbols": 7, "labels": 7,
        "options": {"vocabulary": 7, "context": 4, "layers": 1, "width": 8, "heads": 2},
    },
    "resnet18": {"x": (2, 3, 64, 64), "y": (2,), "labels": 5,
                 "options": {"depth": 18, "width": 4, "num_classes": 5}},
    "mobilenet-inference-1": {"x": (1, 3, 32, 32), "options": {"num_classes": 5}},
}  # fmt: skip
QUICK = ["--rounds", "2", "--seconds", "0.01", "--threads", "1"]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    for name, changes in TINY.items():
        monkeypatch.setitem(workloads.WORKLOADS, name, replace(workloads.WORKLOADS[name], **changes))


def fake(monkeypatch, *variants, **more):
    for variant in variants:
        peer = Contender(f"fake-{variant}", FAKE, variant, **more)
        monkeypatch.setitem(contenders.CONTENDERS, peer.name, peer)


def test_a_peer_beside_ours(monkeypatch, tmp_path, capsys):
    fake(monkeypatch, "right")
    file = tmp_path / "found.json"
    assert main(["bench", "two-layer", "--peers", "fake-right", *QUICK, "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "two-layer ReLU net" in shown and "x of fake-right (wanted: 2.2)" in shown
    found = json.loads(file.read_text())
    assert found["rounds"] == 2 and found["threads"] == 1 and found["machine"]["cores"] > 0
    assert {"python", "treadle", "numpy"} <= set(found["versions"])
    (workload,) = found["workloads"]
    assert workload["flops"] == 2 * 4 * (12 * 5 + 5 * 6) * 3 - 2 * 4 * 12 * 5  # no gradient of the inputs
    assert workload["fastest_peer"] == "fake-right" and workload["failed"] == {}
    ours, peer = (workload["contenders"][name] for name in ("treadle", "fake-right"))
    assert workload["ratio"] == pytest.approx(peer["median_ms"] / ours["median_ms"], abs=1e-3)
    assert ours["peak_share"] == pytest.approx(ours["gflop_per_s"] / found["peak_gflops"], abs=0.01)
    assert ours["first_cold_s"] > 0 and ours["first_cached_s"] > 0 and ours["peak_mib"] > 10
    assert peer["first_cold_s"] > 0 and peer["first_cached_s"] is None
    assert ours["numbers"] == pytest.approx(peer["numbers"], rel=1e-4) and len(ours["numbers"]) == 3
    assert ours["numbers"][2] < ours["numbers"][0]


def test_peers_that_fail_do_not_stop_the_rest(monkeypatch, tmp_path, capsys):
    fake(monkeypatch, "dies", "wrong", "right")
    words = ["--peers", "fake-dies", "fake-wrong", "fake-right", *QUICK, "--json", "-"]
    assert main(["bench", "two-layer", *words, "--caches", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    (workload,) = json.loads(out)["workloads"]
    assert set(workload["contenders"]) == {"treadle", "fake-right"}
    failed = workload["failed"]
    assert failed["fake-dies"] == "fake-dies ended with status 3\n    out of paper"
    assert failed["fake-wrong"].startswith("fake-wrong computes something else: ")
    for reason in failed.values():
        assert f"left out: {reason.splitlines()[0]}" in err


def test_a_process_that_hangs_is_ended(tmp_path):
    workload = workloads.WORKLOADS["two-layer"]
    paths = {name: str(tmp_path / f"{name}.npz") for name in ("batch", "values")}
    np.savez(paths["batch"], **workload.batch())
    np.savez(paths["values"], **{"hidden.weight": np.ones((5, 12)), "output.weight": np.ones((6, 5))})
    job = {"side": str(FAKE), "make": "prepare", "variant": "hangs", "workload": workload.as_json(),
           "threads": 1, **paths}  # fmt: skip
    process = Process("fake-hangs", job, {}, 300.0)
    process.patience_s = 0.1
    with pytest.raises(ContenderFailed, match=r"fake-hangs did not answer in 0\.1 s"):
        process.ask({"seconds": 0.01})
    process.end()


@pytest.mark.parametrize("name", [name for name in TINY if name != "two-layer"])
def test_our_side_of_every_network(name, tmp_path, capsys):
    caches = ["--caches", str(tmp_path)]
    assert main(["bench", name, "--peers", "treadle-nhwc", *QUICK, *caches, "--json", "-"]) == 0
    (workload,) = json.loads(capsys.readouterr().out)["workloads"]
    images = len(workloads.WORKLOADS[name].x) == 4
    assert list(workload["contenders"]) == ["treadle", "treadle-nhwc"][: 1 + images]
    assert workload["failed"] == {} and workload["ratio"] is None and workload["flops"] > 0
    assert workload["contenders"]["treadle"]["first_cold_s"] is None


def test_a_missing_peer_is_left_out_with_what_installs_it(monkeypatch, tmp_path, capsys):
    fake(monkeypatch, "right", packages=("no_such_package",))
    words = ["--peers", "fake-right", *QUICK, "--caches", str(tmp_path)]
    assert main(["bench", "two-layer", *words]) == 0
    assert "fake-right is left out: pip install no_such_package" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["resnt18"], "there is no workload 'resnt18': did you mean resnet18"),
        (["lenet", "--peers", "pytorch"], "there is no peer 'pytorch': did you mean torch"),
        (["lenet", "--rounds", "0"], "--rounds 0: expected a positive number"),
    ],
)
def test_wrong_use(words, says, capsys):
    assert main(["bench", *words]) == 1
    assert says in capsys.readouterr().err


def test_the_list_and_beginnings(capsys):
    assert main(["bench", "res", "--list"]) == 0
    shown = capsys.readouterr().out
    assert (
        "resnet50-inference-8" in shown and "vgg16" not in shown and "against: treadle-nhwc, torch" in shown
    )
