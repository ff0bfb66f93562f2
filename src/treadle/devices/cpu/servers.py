"""Processes that compile for this one. It knows their beginning and end, not what they are asked (`codegen`),
and loads no compiler: one may be started long before there is something to compile.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from treadle.devices.cpu.threads import num_threads
from treadle.graph.node import Node

LARGE = 8
"""As many products and convolutions in a graph make so much to compile that a server is worth its start."""
CONTRACTIONS = ("matmul", "conv", "conv_input_gradient", "conv_weight_gradient")
MAXIMUM = 15

Server = subprocess.Popen[bytes]


def most() -> int:
    """How many may be at work beside this process."""
    return min(num_threads() - 1, MAXIMUM)


def early(order: Iterable[Node]) -> list[Server]:
    """A server for a graph whose kernels will be many; it gets ready while they are being written."""
    found = sum(node.op.name in CONTRACTIONS for node in order)
    server = start() if found >= LARGE and most() > 0 else None
    return [] if server is None else [server]


def start() -> Server | None:
    """A process that compiles, in a group of its own, so that an interrupt at the keyboard is left to this
    one.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    # Without -P the folder of that file would come first on the path, and its names hide the standard
    # library's.
    command = [sys.executable, "-P", str(Path(__file__).with_name("codegen.py"))]
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return None


def close(server: Server) -> None:
    """Leave neither a zombie nor an open pipe behind."""
    server.kill()
    for stream in (server.stdin, server.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    server.wait()
