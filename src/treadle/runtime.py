"""What users ask of the machinery around arrays: devices, evaluation, memory, explanation, scopes, threads,
the program cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from treadle import config
from treadle import evaluate as _evaluate
from treadle.array import Array, as_node
from treadle.compiled import Compiled
from treadle.compiler.executable import Executable
from treadle.devices import registry
from treadle.errors import ArgumentError
from treadle.function import Function
from treadle.graph.node import surrounded, surroundings


def evaluate(*arrays: Array) -> None:
    """Compute arrays now, together with everything that is pending, in one program.

    Args:
        arrays: what to compute; none runs the pending assignments alone.

    Raises:
        PlaceholderError: one of them depends on a placeholder.
    """
    _evaluate.evaluate([as_node(array) for array in arrays])


def device(name: str, *, kernels: str | None = None) -> AbstractContextManager[None]:
    """A block whose new arrays are on a device. What is computed from arrays is computed where they are.

    Args:
        name: "cpu"; "cuda" or "opencl", "cuda:1" for the second; "reference" for NumPy node by node.
        kernels: "vendor" lets a GPU's libraries (cuBLASLt, cuDNN) run what they have kernels for, "generated"
            does without them; None: as it is around the block, "vendor" at first.

    Raises:
        DeviceError: there is no such device.
        ArgumentError: there are no such kernels.
    """
    found = registry.find(name).name
    if kernels not in (None, *config.KERNELS):
        raise ArgumentError(f"[device] kernels={kernels!r}; there are {', '.join(map(repr, config.KERNELS))}")
    return _on(found, kernels or config.options.kernels)


@contextmanager
def _on(device: str, kernels: str) -> Iterator[None]:
    with surrounded(device=device), config.configured(kernels=kernels):
        yield


def devices() -> list[str]:
    """The names of the devices that this machine has and Treadle can use: "cpu" and "reference" always;
    "cuda", "cuda:1" ..., "opencl", "opencl:1" ... where the extra of that name and a driver are installed.
    """
    return registry.names()


def device_memory(name: str) -> dict[str, int]:
    """Bytes of a device's memory: `total`, and `free` for programs to come. Of the host's what the system
    says.

    Args:
        name: one of `devices()`.

    Raises:
        DeviceError: there is no such device.

    >>> import treadle as td
    >>> found = td.device_memory("cpu")
    >>> 0 < found["free"] <= found["total"]
    True
    """
    free, total = registry.find(name).memory()
    return {"free": free, "total": total}


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


def check_numerics(on: bool = True) -> AbstractContextManager[None]:
    """A block in which a program that gives a NaN or an infinity raises, and leaves variables as they were.

    What programs give is looked at, values inside them are not; where something is not finite, the graph runs
    again node by node to find where that began.

    Args:
        on: False for a block inside such a block that is not checked.

    Raises:
        NumericsError: in the block: it names the op, forward or gradient, the user's line, and the ranges of
            what it was computed from.

    >>> import treadle as td
    >>> with td.check_numerics():
    ...     td.log(td.asarray([1.0, -1.0])).numpy()
    Traceback (most recent call last):
    ...
    treadle.errors.NumericsError: [check_numerics] log float32[2], forward, is the first value that is not ...
    """
    return config.configured(numerics=on)


def precision(name: str) -> AbstractContextManager[None]:
    """A block in which programs compute sums as they are written, or by the quickest algorithm.

    Results are deterministic either way; a program that runs under both is compiled for each. The environment
    variable TREADLE_PRECISION names what holds outside of blocks.

    Args:
        name: "fast", the default: 3x3 convolutions of float32 run by Winograd's algorithm where it is
            quicker, with about twice the error of the sums as they are written; "exact": nothing does.

    Raises:
        ValueError: there is no such precision.

    >>> import treadle as td
    >>> with td.precision("exact"):
    ...     print(td.sum(td.ones((8, 8))).item())
    64.0
    """
    return config.configured(precision=config.known_precision(name, "[precision] name"))


def cache_info() -> dict[str, Any]:
    """The program cache: programs held, hits, and why the last programs had to be compiled."""
    programs = _evaluate.programs
    return {
        "programs": len(programs.programs),
        "most": programs.most,
        "hits": programs.hits,
        "misses": list(programs.misses),
    }


def memory(*what: Any) -> dict[str, int]:
    """The bytes that a run will need, by kind (inputs, outputs, arena), before anything is computed.

    Args:
        what: arrays to be computed together; or a compiled function, or one of `function`, and the arguments
            of a call.

    Raises:
        PlaceholderError: an array depends on a placeholder: ask the session or function that runs it.

    >>> import treadle as td
    >>> td.memory(td.exp(td.ones((100, 100))))["outputs"]
    40000
    """
    return _program(what).memory()


def explain(*what: Any) -> str:
    """What a run does: the graph after each compiler pass with the pass's time, the calls, the kernels' code.

    Args:
        what: arrays to be computed together; or a compiled function, or one of `function`, and the arguments
            of a call.

    Raises:
        PlaceholderError: an array depends on a placeholder: ask the session or function that runs it.

    >>> import treadle as td
    >>> "exp" in td.explain(td.exp(td.ones((100, 100))))
    True
    """
    return _program(what).explain()


def _program(what: tuple[Any, ...]) -> Executable:
    """The program of arrays, or of a call of a function."""
    if what and isinstance(what[0], (Compiled, Function)):
        return what[0].program(*what[1:])
    return _evaluate.planned([as_node(array) for array in what])


def num_threads() -> int:
    """How many threads a program uses."""
    from treadle.devices.cpu import threads

    return threads.num_threads()


def set_num_threads(count: int) -> None:
    """Use that many threads from the next program on; results do not depend on it."""
    from treadle.devices.cpu import threads

    threads.set_num_threads(count)
