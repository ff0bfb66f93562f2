"""Keeps the source of a kernel that does not compile, so that an error can name a file."""

from __future__ import annotations

import hashlib
import os
import tempfile


def kept_source(text: str, words: str, suffix: str) -> str:
    """Keep a source, and what the compiler said of it at its end; the file's name."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = os.path.join(tempfile.gettempdir(), f"treadle-{digest}{suffix}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n/*\n" + words.replace("*/", "* /") + "\n*/\n")
    return path
