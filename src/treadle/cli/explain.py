"""`treadle explain`: which programs a script, a saved graph or a recipe's training step runs, and what they
need; with `--profile`, how long their kernels take.
"""

from __future__ import annotations

import contextlib
import errno
import os
import runpy
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.compiler.executable import Executable
    from treadle.profiling import Profile

ROUNDS = 5


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    subject(parser)
    parser.add_argument("--passes", action="store_true", help="also the graph after each pass, and all code")
    parser.add_argument("--kernel", type=int, metavar="N", help="only the code of the kernel of that number")
    parser.add_argument("--program", type=int, metavar="N", help="only the program of that number")
    parser.add_argument("--profile", action="store_true", help="also the times of kernels")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the profile as a page, with the roofline")


def subject(parser: ArgumentParser) -> None:
    """The options that say what is run, here and for `treadle tune`."""
    parser.add_argument(
        "what",
        help="a Python file, which is run; a file of td.save, whose functions are called with zeros; a "
        "recipe's file or name, or a run's folder, of which one training step is made",
    )
    parser.add_argument("words", nargs="*", help="the Python file's own arguments, after --")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=NUMBER",
        help="what a saved graph's open size is (1); may be repeated",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Run it, and print."""
    call, rounds = step_of(options.what, options.words, options.size)
    found, programs = _looked_at(call, rounds, Path(options.what).name)
    shown = list(enumerate(programs))
    if options.program is not None:
        shown = [(i, program) for i, program in shown if i == options.program]
    if not shown:
        print(f"treadle explain: {_nothing(options, programs)}", file=sys.stderr)
        return 1
    for number, program in shown:
        if options.kernel is not None:
            sources = program.sources()
            if options.kernel >= len(sources):
                continue
            label, text = sources[options.kernel]
            print(f"== program {number}, kernel {options.kernel}: {label}\n{text}")
            continue
        memory = ", ".join(f"{kind} {nbytes / 1e6:.3f} MB" for kind, nbytes in program.memory().items())
        print(f"== program {number}: {memory}")
        print(program.explain() if options.passes else program.summary())
    if options.profile or options.html:
        print(found)
    if options.html:
        print(f"drawn: {found.html(options.html)}")
    return 0


def _nothing(options: Namespace, programs: list[Executable]) -> str:
    if programs:
        return f"there is no program {options.program}; there are 0 to {len(programs) - 1}"
    return f"{options.what} ran no program: what is below {_small()} runs by NumPy"


def _small() -> str:
    from treadle.config import SMALL_ELEMENTS, SMALL_NODES

    return f"{SMALL_NODES} nodes and {SMALL_ELEMENTS} element operations"


def _looked_at(call: Callable[[], Any], rounds: int, name: str) -> tuple[Profile, list[Executable]]:
    """The profile of a call, and the programs that ran in it."""
    from treadle.compiler.executable import Executable
    from treadle.profiling.measure import profiled

    call.__name__ = name  # type: ignore[attr-defined]
    found, sources = profiled(call, (), {}, rounds, warm_up=1 if rounds > 1 else 0)
    return found, [source for source in sources if isinstance(source, Executable)]


def step_of(what: str, words: list[str], sizes: list[str]) -> tuple[Callable[[], Any], int]:
    """What to run, and how often."""
    path = Path(what)
    if path.suffix == ".py":
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), what)
        return (lambda: _script(path, words)), 1
    if path.is_file() and path.suffix != ".toml":
        return _saved(path, sizes), ROUNDS
    return _training(what), ROUNDS


def _script(path: Path, words: list[str]) -> None:
    """Run a Python file as `python FILE` does; what it raises is shown as that shows it."""
    before, sys.argv = sys.argv, [str(path), *words]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        with contextlib.suppress(SystemExit):
            runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename != str(path):
            own = own.tb_next
        traceback.print_exception(type(error), error, own)
        raise SystemExit(1) from None
    finally:
        sys.path.pop(0)
        sys.argv = before


def _saved(path: Path, given: list[str]) -> Callable[[], Any]:
    """Every function of a saved graph, on zeros."""
    import treadle as td
    from treadle.errors import ArgumentError
    from treadle.graph.dimension import Dimension
    from treadle.structure import fill

    sizes: dict[str, int] = {}
    for text in given:
        name, _, number = text.partition("=")
        if not number.isdigit():
            raise ArgumentError(f"--size {text}: write NAME=NUMBER, for example --size batch=8")
        sizes[name] = int(number)
    graph = td.load(path)
    calls = []
    for function in graph.functions.values():
        signature = function.signatures[0]
        zeros = iter(
            [
                td.zeros(
                    tuple(
                        sizes.get(size.symbols[0], 1) if isinstance(size, Dimension) else size
                        for size in node.shape
                    ),
                    dtype=node.dtype,
                )
                for node in signature.inputs
            ]
        )
        positional, keywords = fill(signature.arguments, zeros)
        calls.append((td.compile(function), positional, keywords))
    return lambda: [function(*args, **keywords) for function, args, keywords in calls]


def _training(what: str) -> Callable[[], Any]:
    """A training step of a recipe, or of a run, on its first batch."""
    import treadle as td
    from treadle import train

    path = Path(what)
    made = train.read_run(path)[0] if path.is_dir() else train.make_run(train.read_recipe(what))
    step = train.Step(made.model, made.loss, made.optimizer(), metrics=made.metrics())
    inputs, targets = next(iter(made.data.training))
    inputs, targets = td.asarray(inputs), td.asarray(targets)
    return lambda: step(inputs, targets)
