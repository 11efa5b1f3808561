"""Files written past the system's cache.

A copy of each page into the cache, and the page for it, cost several times more processor time than
all the rest of saving a row, and push out what others have cached, for bytes that are read after a
crash at most.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from types import TracebackType
from typing import Any

BUFFER_BYTES = 4 << 20  # written at a time
BLOCK_BYTES = 4096  # what is written past the cache is a multiple of every disk's block


class DirectFile:
    """A new file of a local disk, written from one page-aligned buffer;
    as much of a file as Arrow and `with` need.

    Where the file system cannot write past the cache, or the rest is no whole block, it is written
    as any other file. Nothing is on the disk for certain before it is synced.

    Raises:
        OSError: the file cannot be made, or its bytes not be written.
    """

    def __init__(self, path: str) -> None:
        self._descriptor, self._direct = _open(path)
        self._buffer = _aligned(BUFFER_BYTES)
        self._held = 0

    def __enter__(self) -> DirectFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._write_held()
        finally:
            os.close(self._descriptor)

    def write(self, data: Any) -> int:
        """Take `data`; its length in bytes."""
        block = memoryview(data).cast("B")
        left = block
        while len(left):
            part = left[: BUFFER_BYTES - self._held]
            self._buffer[self._held : self._held + len(part)] = part
            self._held = self._held + len(part)
            left = left[len(part) :]
            if self._held == BUFFER_BYTES:
                self._write_held()
        return len(block)

    def _write_held(self) -> None:
        blocks = self._held // BLOCK_BYTES * BLOCK_BYTES
        self._write_all(self._buffer[:blocks])
        if blocks < self._held:
            self._use_cache()
            self._write_all(self._buffer[blocks : self._held])
        self._held = 0

    def _write_all(self, left: memoryview) -> None:
        while len(left):
            left = left[self._write_some(left) :]

    def _write_some(self, left: memoryview) -> int:
        try:
            return os.write(self._descriptor, left)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct:
                raise
        self._use_cache()  # the file system takes the flag but not these blocks
        return os.write(self._descriptor, left)

    def _use_cache(self) -> None:
        if self._direct:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            self._direct = False


def _aligned(size: int) -> memoryview:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)  # a thousand page faults less
    return memoryview(memory)


def _open(path: str) -> tuple[int, bool]:
    """A descriptor of a new, empty file, and whether it writes past the cache."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    if hasattr(os, "O_DIRECT"):
        try:
            return os.open(path, flags | os.O_DIRECT, 0o666), True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    return os.open(path, flags, 0o666), False
