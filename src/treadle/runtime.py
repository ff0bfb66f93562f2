"""What users ask of the machinery around arrays: devices, evaluation, memory, explanation, scopes, threads,
the program cache.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from treadle import config
from treadle import evaluate as _evaluate
from treadle.array import Array, as_node
from treadle.devices import registry
from treadle.graph.node import surrounded, surroundings


def evaluate(*arrays: Array) -> None:
    """Compute arrays now, together with everything that is pending, in one program.

    Args:
        arrays: what to compute; none runs the pending assignments alone.

    Raises:
        PlaceholderError: one of them depends on a placeholder.
    """
    _evaluate.evaluate([as_node(array) for array in arrays])


def device(name: str) -> AbstractContextManager[None]:
    """A block whose new arrays are on a device.

    Args:
        name: "cpu", or "reference" for NumPy node by node.

    Raises:
        DeviceError: there is no such device.
    """
    registry.find(name)
    return surrounded(device=name)


def devices() -> list[str]:
    """The names of the devices this build knows."""
    return list(registry.MAKERS)


def scope(name: str) -> AbstractContextManager[None]:
    """A block whose nodes carry a name: pictures fold them into one box.

    Args:
        name: what the box is called; scopes nest.
    """
    return surrounded(scope=(*surroundings.scope, name))


def debug(on: bool = True) -> AbstractContextManager[None]:
    """A block in which graphs run node by node with the references, so that an error names the node and the
    user's line.
    """
    return config.configured(debug=on)


def cache_info() -> dict[str, Any]:
    """The program cache: programs held, hits, and why the last programs had to be compiled."""
    programs = _evaluate.programs
    return {
        "programs": len(programs.programs),
        "most": programs.most,
        "hits": programs.hits,
        "misses": list(programs.misses),
    }


def memory(*arrays: Array) -> dict[str, int]:
    """The bytes that computing arrays will need, by kind (inputs, outputs, arena), without computing them."""
    return _evaluate.planned([as_node(array) for array in arrays]).memory()


def explain(*arrays: Array) -> str:
    """What computing arrays runs: the graph after each compiler pass with the pass's time, the calls, and
    the kernels' code.
    """
    return _evaluate.planned([as_node(array) for array in arrays]).explain()


def num_threads() -> int:
    """How many threads a program uses."""
    from treadle.devices.cpu import threads

    return threads.num_threads()


def set_num_threads(count: int) -> None:
    """Use that many threads from the next program on; results do not depend on it."""
    from treadle.devices.cpu import threads

    threads.set_num_threads(count)
