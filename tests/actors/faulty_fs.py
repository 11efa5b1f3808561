"""A file system in memory that fails as it is told, behind pyarrow's own interface.

`Disk` is what survives; `FaultyFiles` is one process's view of it, with that process's faults:

    disk = Disk()
    process = FaultyFiles(disk, crash_at=7)       # dies at its 7th operation, in the middle of it
                                                  if it is a write
    store = SnapshotStore(process.filesystem(), "root", kept=2)
    ...                                           # raises Crashed; whatever the process does
                                                  afterwards has no effect
    FaultyFiles(disk)                             # the next process

Everything is durable as soon as it is done, except that a file which is still open holds what was
written so far.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import fs


class Crashed(BaseException):
    """The process is gone; no code of ours may catch this."""


class Disk:
    """Files by path, and directories. `room` bytes in all, None without a limit."""

    def __init__(self, room: int | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.directories: set[str] = set()
        self.room = room

    def used(self) -> int:
        """Bytes in all files."""
        return sum(map(len, self.files.values()))


class FaultyFiles(fs.FileSystemHandler):
    """One process's access to a disk.

    An operation is a call that reads or changes the disk; each write to an open file is one, and so
    is closing it. `crash_at` numbers them from 1: that one is not done, or, if it is a write, half
    done. `on_operation` hears of each before it happens, by name and path, and may raise OSError or
    pass time.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        crash_at: int | None = None,
        read_only: bool = False,
        on_operation: Callable[[str, str], None] = lambda name, path: None,
    ) -> None:
        self.disk = disk
        self.crash_at = crash_at
        self.read_only = read_only
        self.on_operation = on_operation
        self.operations = 0
        self.dead = False

    def filesystem(self) -> fs.PyFileSystem:
        """The same for who wants a pyarrow file system."""
        return fs.PyFileSystem(self)

    def begin(self, name: str, path: str, *, changes: bool) -> None:
        """Count an operation, and fail it if it is due to fail."""
        if self.dead:
            raise Crashed
        self.operations += 1
        if self.operations == self.crash_at:
            self.dead = True
            raise Crashed(f"at operation {self.operations}: {name} {path}")
        self.on_operation(name, path)
        if changes and self.read_only:
            raise OSError(errno.EROFS, "Read-only file system", path)

    # pyarrow's interface

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "faulty"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        self.begin("list", selector.base_dir, changes=False)
        if selector.base_dir not in self.disk.directories:
            if selector.allow_not_found:
                return []
            raise FileNotFoundError(errno.ENOENT, "No such directory", selector.base_dir)
        inside = selector.base_dir + "/"
        paths = [*self.disk.files, *self.disk.directories]
        below = sorted(path for path in paths if path.startswith(inside))
        return [
            self._info(path)
            for path in below
            if selector.recursive or "/" not in path[len(inside) :]
        ]

    def create_dir(self, path: str, recursive: bool) -> None:
        self.begin("create_dir", path, changes=path not in self.disk.directories)
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            directory = "/".join(parts[:depth])
            if directory in self.disk.files:
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", directory)
            self.disk.directories.add(directory)

    def delete_file(self, path: str) -> None:
        self.begin("delete", path, changes=True)
        self._content(path)
        del self.disk.files[path]

    def move(self, src: str, dest: str) -> None:
        self.begin("move", dest, changes=True)
        self.disk.files[dest] = self._content(src)
        del self.disk.files[src]

    def open_input_stream(self, path: str) -> pa.PythonFile:
        self.begin("read", path, changes=False)
        return pa.PythonFile(io.BytesIO(self._content(path)), mode="r")

    def open_input_file(self, path: str) -> pa.PythonFile:
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: object) -> pa.PythonFile:
        self.begin("open", path, changes=True)
        if path.rsplit("/", 1)[0] not in self.disk.directories:
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)
        self.disk.files[path] = b""
        return pa.PythonFile(_Output(self, path), mode="w")

    def open_append_stream(self, path: str, metadata: object) -> pa.PythonFile:
        raise OSError(errno.ENOTSUP, "nothing is ever appended to", path)

    def copy_file(self, src: str, dest: str) -> None:
        raise OSError(errno.ENOTSUP, "nothing is ever copied", src)

    def delete_dir(self, path: str) -> None:
        raise OSError(errno.ENOTSUP, "no directory is ever deleted", path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        self.delete_dir("")

    def _info(self, path: str) -> fs.FileInfo:
        if path in self.disk.files:
            return fs.FileInfo(path, fs.FileType.File, size=len(self.disk.files[path]))
        return fs.FileInfo(
            path, fs.FileType.Directory if path in self.disk.directories else fs.FileType.NotFound
        )

    def _content(self, path: str) -> bytes:
        if path not in self.disk.files:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return self.disk.files[path]


class _Output:
    """A file that is being written; as much of one as pyarrow asks for."""

    closed = False

    def __init__(self, process: FaultyFiles, path: str) -> None:
        self._process = process
        self._path = path

    def write(self, data: Any) -> int:
        content = bytes(data)
        disk = self._process.disk
        try:
            self._process.begin("write", self._path, changes=True)
        except Crashed:
            if self._process.operations == self._process.crash_at and self._path in disk.files:
                disk.files[self._path] += content[: len(content) // 2]
            raise
        if self._path not in disk.files:
            return len(content)  # deleted while it is open: the bytes go nowhere
        if disk.room is not None and disk.used() + len(content) > disk.room:
            disk.files[self._path] += content[: disk.room - disk.used()]
            raise OSError(errno.ENOSPC, "No space left on device", self._path)
        disk.files[self._path] += content
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        if not self.closed and not self._process.dead:
            self._process.begin("close", self._path, changes=False)
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
