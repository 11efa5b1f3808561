"""Files that are complete as soon as their name exists, on any pyarrow file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa
from pyarrow import fs

from model.credentials import shown

OpenRoot = Callable[[str], tuple[fs.FileSystem, str]]


@runtime_checkable
class Synced(Protocol):
    """A file system that syncs by itself."""

    def sync(self, path: str) -> None:
        """Wait until a file or directory is on the disk."""


def open_root(uri_or_path: str) -> tuple[fs.FileSystem, str]:
    """The file system and the root directory that a URI (file, s3, gs,
    hdfs, ...) or a plain path names.

    Raises:
        OSError, ValueError: no such file system, or it does not answer.
    """
    if "://" not in uri_or_path:
        return fs.LocalFileSystem(), str(Path(uri_or_path).absolute())
    try:
        filesystem, root = fs.FileSystem.from_uri(uri_or_path)
    except (ValueError, pa.ArrowException) as error:
        # its traceback would show what the message does not
        raise ValueError(shown(str(error))) from None
    return filesystem, root.rstrip("/")


def publish(filesystem: fs.FileSystem, temporary: str, path: str) -> None:
    """Give a complete file its name, once its bytes are on the disk."""
    sync(filesystem, temporary)
    filesystem.move(temporary, path)
    sync(filesystem, path.rsplit("/", 1)[0])


def sync(filesystem: fs.FileSystem, path: str) -> None:
    """Wait until a local file or directory is on the disk;
    other file systems do so when they close a file.
    """
    if isinstance(filesystem, Synced):
        filesystem.sync(path)
        return
    if not isinstance(filesystem, fs.LocalFileSystem):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
