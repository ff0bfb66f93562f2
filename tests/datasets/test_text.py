"""Shakespeare's works: read from the archive where it is, and said how to get it where it is not."""

from __future__ import annotations

import zipfile

import pytest

from treadle.datasets import shakespeare
from treadle.errors import DataError, FormatError


def test_shakespeare(tmp_path, monkeypatch):
    monkeypatch.delenv("TREADLE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="TREADLE_DATA_DIR is not set"):
        shakespeare()
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"no file .* from PyPI"):
        shakespeare()
    file = tmp_path / "shakespeare-0.6.tar.gz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("shksprdata/texts/b_gut.txt", "To be,\r\n")
        archive.writestr("shksprdata/texts/a_gut.txt", "Now is\n")
        archive.writestr("shksprdata/texts/a_gut_f.txt", "the other spelling")
        archive.writestr("setup.py", "")
    assert shakespeare() == shakespeare(file) == "Now is\n\nTo be,\n"
    file.write_bytes(b"no archive")
    with pytest.raises(FormatError, match="no zip archive"):
        shakespeare()
