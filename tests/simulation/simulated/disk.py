"""One file system that all processes share, in memory: slow, full, unreadable,
damaged or without power on demand.

It takes the place of a `pyarrow.fs.FileSystem` as far as the product uses one. Every operation
takes time, in which other processes run and this one may die. What was not synced may be gone or
torn after a loss of power.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
from pyarrow import fs

from tests.simulation.simulated import blocking
from tests.simulation.simulated.loop import PROCESS

OPERATION_S = 0.004  # the longest of a disk in order


class Disk:
    """Files by path. `on_named` is called with each path under which a finished file appears."""

    def __init__(
        self, random: Random, say: Callable[[object, str], None], on_named: Callable[[str], None]
    ) -> None:
        self._random = random
        self._say = say
        self._on_named = on_named
        self._files: dict[str, bytes] = {}
        self._torn: dict[str, bytes | None] = {}  # not synced yet: what the path held before
        # by directory, not synced yet
        self._moves: dict[str, list[tuple[str, str, bytes | None]]] = {}
        self.full = self.unreadable = 0  # by so many faults at a time
        self.slowness = 1.0

    def create_dir(self, path: str, *, recursive: bool = True) -> None:
        """Directories are there anyway."""

    def open_output_stream(self, path: str, **_: Any) -> _Written:
        """A file that appears with its first byte and is complete when closed."""
        self._operate("write", path)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self._torn.setdefault(path, self._files.get(path))
        self._files[path] = b""
        return _Written(self, path)

    def open_input_stream(self, path: str, **_: Any) -> pa.BufferReader:
        """A file's bytes."""
        return self.open_input_file(path)

    def open_input_file(self, path: str, **_: Any) -> pa.BufferReader:
        """A file's bytes."""
        self._operate("read", path)
        if self.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return pa.BufferReader(self._held(path))

    def get_file_info(self, what: Any) -> Any:
        """The files of a directory, or one path."""
        if isinstance(what, str):
            self._operate("stat", what)
            kind = fs.FileType.File if what in self._files else fs.FileType.NotFound
            return fs.FileInfo(what, kind, size=len(self._files.get(what, b"")))
        self._operate("list", what.base_dir)
        if self.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO), what.base_dir)
        below = what.base_dir + "/"
        inside = [path for path in self._files if path.startswith(below)]
        if not what.recursive:
            inside = [path for path in inside if "/" not in path[len(below) :]]
        return [
            fs.FileInfo(path, fs.FileType.File, size=len(self._files[path]))
            for path in sorted(inside)
        ]

    def move(self, source: str, target: str) -> None:
        """Rename."""
        self._operate("move", target)
        content = self._held(source)
        self._moves.setdefault(_directory(target), []).append(
            (source, target, self._files.get(target))
        )
        self._files[target] = content
        del self._files[source]
        if source in self._torn:
            self._torn[target] = self._torn.pop(source)
        self._on_named(target)

    def delete_file(self, path: str) -> None:
        """Delete."""
        self._operate("delete", path)
        self._held(path)
        del self._files[path]
        self._torn.pop(path, None)

    def sync(self, path: str) -> None:
        """Make a file's bytes, or a directory's names, outlast a loss of power."""
        self._operate("sync", path)
        self._torn.pop(path, None)
        self._moves.pop(path, None)

    # what faults and checks do, outside of any process's time

    def paths(self, prefix: str) -> list[str]:
        """All files below."""
        return sorted(path for path in self._files if path.startswith(prefix))

    def peek(self, path: str) -> bytes:
        """A file's bytes."""
        return self._files[path]

    def is_safe(self, path: str) -> bool:
        """Whether a loss of power leaves the file as it is."""
        return path not in self._torn and all(
            path != target for _, target, _ in self._moves.get(_directory(path), [])
        )

    def damage(self, path: str, tear: bool) -> None:
        """Flip a bit of the file, or cut it off."""
        content = bytearray(self._files[path])
        if tear or not content:
            del content[self._random.randrange(len(content) + 1) :]
        else:
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        self._files[path] = bytes(content)

    def lose_power(self) -> None:
        """Undo some of the last renames that no sync of their directory covers;
        tear files that were not synced.
        """
        for moves in self._moves.values():
            for source, target, before in reversed(moves[self._random.randrange(len(moves) + 1) :]):
                if (content := self._files.pop(target, None)) is not None:
                    self._files.setdefault(source, content)
                if before is not None:
                    self._files[target] = before
        for path in [path for path in self._torn if path in self._files]:
            self.damage(path, tear=True)
        self._moves.clear()
        self._torn.clear()

    def _operate(self, kind: str, path: str) -> None:
        process = PROCESS.get()
        process.step()
        blocking.wait(self.slowness * OPERATION_S * process.random.random())
        if not process.alive:
            raise blocking.Died
        self._say(process, f"{kind} {path}")

    def _held(self, path: str) -> bytes:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._files[path]

    def _append(self, path: str, data: bytes) -> None:
        if PROCESS.get().alive and path in self._files:
            self._files[path] += data


class _Written(io.RawIOBase):
    """An open file; a full disk takes its first half."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._process = PROCESS.get()
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take bytes; they reach the disk on closing, all or,
        where it is full or its writer dies, the first half.
        """
        block = memoryview(data).cast("B")
        self._blocks.append(bytes(block))
        return block.nbytes

    def close(self) -> None:
        """Put the bytes on the disk."""
        if self.closed:
            return
        super().close()
        content = b"".join(self._blocks)
        self._disk._append(self._path, content[: len(content) // 2])
        self._disk._operate("close", self._path)
        if self._disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        self._disk._append(self._path, content[len(content) // 2 :])


def _directory(path: str) -> str:
    return path.rsplit("/", 1)[0]
