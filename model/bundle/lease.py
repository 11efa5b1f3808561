"""Who serves a bundle says so beside it: a shared lock on a file,
which ends with the process that holds it.

The lock is the operating system's, so it is seen on one machine and on file systems that share
locks.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path


class Lease:
    """Holds the bundle at `path` until it is closed or forgotten;
    nothing where there is none, or no file can be.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            return
        with suppress(OSError):
            file = os.open(_beside(path), os.O_RDONLY | os.O_CREAT, 0o644)
            self._close = weakref.finalize(self, os.close, file)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Hold it no more; doing it again does nothing."""
        if hasattr(self, "_close"):
            self._close()


def is_held(path: Path) -> bool:
    """Whether some process holds the bundle at `path`."""
    try:
        with _beside(path).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.served")
