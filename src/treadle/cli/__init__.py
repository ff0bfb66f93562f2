"""The command `treadle`: a table of commands, each in a file of its own that is imported when it runs.

A command's module has `arguments(parser)` and `run(options) -> exit status`.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

COMMANDS = {
    # what is typed: (module, what it does)
    "train": ("train", "train what a recipe says: `train digits` for 1,797 handwritten digits, or a file's"),
    "evaluate": ("evaluate", "measure a trained network on its data, and show what it confuses"),
    "predict": ("predict", "draw an example, and what a trained network makes of it"),
    "curves": ("curves", "draw what a run has measured as one HTML page, or as PNG"),
    "lecture two-layer": (
        "lecture_two_layer",
        "one network written in five ways: same losses, and their times",
    ),
    "bench input": ("bench_input", "measure how fast images come from disk to a model, and what is slowest"),
    "bench cnn": (
        "bench_cnn",
        "draw the lecture's charts: networks on the CPU and GPU, by the vendor's kernels and by ours",
    ),
    "bench machine": (
        "bench_machine",
        "measure what this machine can do at most: arithmetic, memory, starting work",
    ),
    "bench": ("bench", "time whole steps of networks, here and in each framework that is installed"),
    "explain": (
        "explain",
        "show the programs of a script, saved graph or recipe: kernels, memory, times",
    ),
    "tune": (
        "tune",
        "measure the schedules that kernels of a script, graph or recipe could have; keep the best",
    ),
    "doctor": ("doctor", "what is here, whether it works, and what is not there yet"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (the command line's, if None) name; its exit status."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] in ("-V", "--version"):
        import treadle

        print(f"treadle {treadle.__version__}")
        return 0
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        print(f"treadle: {_unknown(words)}", file=sys.stderr)
        return 2
    module, text = COMMANDS[name]
    command = import_module(f"treadle.cli.{module}")
    parser = ArgumentParser(prog=f"treadle {name}", description=f"{text[0].upper()}{text[1:]}.")
    command.arguments(parser)
    options = parser.parse_args(words[len(name.split()) :])

    from treadle.errors import TreadleError

    try:
        return command.run(options)
    except TreadleError as error:
        # The line that it names is one of Treadle's own here.
        print(f"treadle {name}: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"treadle {name}: {_refused(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ntreadle {name}: interrupted", file=sys.stderr)
        return 130


def _refused(error: OSError) -> str:
    """What the system refused, in words."""
    if error.filename is None:
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no file {os.fsdecode(error.filename)}"
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  treadle {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["Treadle: deep learning on one computational graph.", "", *lines, "", _HINT])


_HINT = "`treadle COMMAND --help` lists a command's options."


def _unknown(words: Sequence[str]) -> str:
    """What to say about a command that there is not."""
    given = [word for word in words if not word.startswith("-")][:2]
    completions = [name for name in COMMANDS if name.split()[: len(given)] == given]
    if completions:
        return f"{' '.join(given)!r} wants one more word: " + ", ".join(f"`treadle {c}`" for c in completions)
    close = get_close_matches(" ".join(given), COMMANDS, n=1) or _by_word(given)
    if close:
        return f"there is no command {' '.join(given or words)!r}: did you mean `treadle {close[0]}`?"
    return f"there is no command {' '.join(given or words)!r}; there are: " + ", ".join(COMMANDS)


def _by_word(given: Sequence[str]) -> list[str]:
    """The commands one of whose words is like one that was given."""
    return [c for c in COMMANDS if any(get_close_matches(word, c.split(), cutoff=0.75) for word in given)]
