"""`treadle tune`: measure the schedules of the kernels that a script, a saved graph or a recipe's training
step runs, and keep the best for this machine.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from treadle.cli.explain import step_of, subject


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    subject(parser)
    parser.add_argument("--forget", action="store_true", help="drop all that was measured before")


def run(options: Namespace) -> int:
    """Measure, keep, and show."""
    import treadle as td
    from treadle.devices.cpu import tuning
    from treadle.devices.cpu.device import chosen_isa

    if options.forget:
        tuning.forget(chosen_isa())
    call, _ = step_of(options.what, options.words, options.size)
    found = td.tune(call)
    if not found:
        print(f"treadle tune: {options.what} runs no product or convolution as a program", file=sys.stderr)
        return 1
    print(found)
    return 0
