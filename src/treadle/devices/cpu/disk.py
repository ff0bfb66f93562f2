"""Object code kept between processes: one file per kernel, named by everything that decides its contents.

A cache may only ever save time. Whatever is wrong with it (missing, read-only, full, damaged, dropped by
another process in the middle of a read) the caller is told "not here" and compiles. Knows nothing of LLVM:
names and bytes come from whoever compiles.

``TREADLE_CACHE_DIR`` moves it, ``TREADLE_CACHE=0`` turns it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
from functools import cache
from pathlib import Path

MAGIC = b"treadle2"
DIGEST_NBYTES = 32
LIMIT_NBYTES = 512 << 20
KEPT_SHARE = 0.75
"""When the limit is passed, the files longest unused are dropped until this share of it is left."""
DAY_S = 86400.0


class DiskCache:
    """Bytes by name under one directory, at most about `limit_nbytes` of them."""

    def __init__(self, directory: Path, limit_nbytes: int = LIMIT_NBYTES):
        self.directory = directory
        self.limit_nbytes = limit_nbytes
        self._nbytes: int | None = None

    def get(self, name: str) -> bytes | None:
        """What was put under `name`, or None if it is not there whole."""
        path = self.directory / name
        try:
            with open(path, "rb") as file:
                modified = os.fstat(file.fileno()).st_mtime
                data = file.read()
        except OSError:
            return None
        payload = data[len(MAGIC) + DIGEST_NBYTES :]
        if data[: len(MAGIC) + DIGEST_NBYTES] != _head(name, payload):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        if time.time() - modified > DAY_S:
            # The time of last modification serves as the time of last use, to a day: access times are often
            # off.
            with contextlib.suppress(OSError):
                os.utime(path)
        return payload

    def has(self, name: str) -> bool:
        """Whether something is there under `name`, whole or not."""
        return os.path.isfile(self.directory / name)

    def put(self, name: str, payload: bytes) -> bool:
        """Keep `payload` under `name`; says whether that worked. Readers see all of it or nothing."""
        draft = self.directory / f"{name}.{os.getpid()}.{threading.get_ident()}.draft"
        data = _head(name, payload) + payload
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _trusted(self.directory):
                return False
            _write(draft, data)
            os.replace(draft, self.directory / name)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            return False
        if self._nbytes is None:
            self._nbytes = sum(nbytes for _, nbytes, _ in self._files())
        else:
            self._nbytes += len(data)
        if self._nbytes > self.limit_nbytes:
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        """Another process may be doing the same: a file that is already gone is no failure."""
        files = sorted(self._files())
        self._nbytes = sum(nbytes for _, nbytes, _ in files)
        for _, nbytes, path in files:
            if self._nbytes <= self.limit_nbytes * KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            self._nbytes -= nbytes

    def _files(self) -> list[tuple[float, int, str]]:
        """(time of last use, size in bytes, path) of all that is there, drafts of killed processes
        included.
        """
        found = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
        return found


def _head(name: str, payload: bytes) -> bytes:
    """What a file begins with. The name is in it, so that one that came to bear another's is not taken for
    it.
    """
    digest = hashlib.sha256(name.encode())
    digest.update(payload)
    return MAGIC + digest.digest()


def name(*parts: str) -> str:
    """A file name for contents decided by `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def from_environment() -> DiskCache | None:
    """The cache the user's environment asks for; None if it is turned off or there is no place for it."""
    if os.environ.get("TREADLE_CACHE", "1") == "0":
        return None
    chosen = os.environ.get("TREADLE_CACHE_DIR") or _default_directory()
    return _opened(chosen) if chosen else None


@cache
def _opened(directory: str) -> DiskCache | None:
    """One object per directory, so that sizes are counted once. Code from a directory others can write to is
    not run.
    """
    path = Path(directory) / "kernels"
    return DiskCache(path) if not path.exists() or _trusted(path) else None


def _default_directory() -> str | None:
    """The platform's place for what can be made again."""
    places = {
        "darwin": ("", "~/Library/Caches"),
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
    }
    variable, fallback = places.get(sys.platform, ("XDG_CACHE_HOME", "~/.cache"))
    base = os.environ.get(variable) or os.path.expanduser(fallback)
    return None if base.startswith("~") else os.path.join(base, "treadle")


def _trusted(directory: Path) -> bool:
    """Whether only this user (or the system's) can have written there."""
    status = directory.stat()
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
