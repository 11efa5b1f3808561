"""Erased users, for ever, beside the snapshots.

    ROOT/partition-00003/tombstone-00f1a2b3c4d5e6f7-1200.json   clicks of that user below offset
                                                                1200 do not exist

Neither retention nor a newer epoch removes one: snapshots, logs and archives that still hold the
user may outlive everything else. The content repeats the name, so that a torn or changed file is
noticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa
from pyarrow import fs

from actors.errors import SnapshotError
from actors.files import publish, sync
from actors.snapshots import names

NOTHING: Mapping[int, int] = MappingProxyType({})
START = "tombstone-"
NAME = re.compile(r"tombstone-(?P<user>[0-9a-f]{16})-(?P<until>\d{1,19})\.json")


class TombstoneFiles:
    """Reads and writes the tombstones below a root.

    Every method raises SnapshotError, naming path and cause, where the file system refuses.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def write(self, partition: int, user_key: int, until: int) -> str:
        """Make it durable that clicks of the user with offsets below `until`
        count no more; the file's path.

        Writing it again changes nothing.
        """
        directory = names.directory(self._root, partition)
        path = f"{directory}/{START}{user_key:016x}-{until}.json"
        try:
            self._filesystem.create_dir(directory, recursive=True)
            sync(self._filesystem, self._root)
            with self._filesystem.open_output_stream(path + names.TEMPORARY_END) as stream:
                stream.write(_content(user_key, until))
            publish(self._filesystem, path + names.TEMPORARY_END, path)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot write the tombstone {path}: {error!r}; the user is not erased; check "
                "state.directory, its permissions and free space, and erase again"
            ) from error
        return path

    def read(self, partition: int, known: Mapping[int, int] = NOTHING) -> dict[int, int]:
        """By user key the offset below which that user's clicks do not exist;
        only what goes beyond `known`.

        Raises:
            SnapshotError: also for a damaged tombstone, because without it an erased user might
                come back.
        """
        directory = names.directory(self._root, partition)
        erased = dict[int, int]()
        try:
            found = self._filesystem.get_file_info(fs.FileSelector(directory, allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise SnapshotError(
                f"cannot list the tombstones in {directory}: {error!r}; check state.directory and "
                "its permissions"
            ) from error
        for info in found:
            if info.base_name.startswith(START) and not info.base_name.endswith(
                names.TEMPORARY_END
            ):
                if (said := _said(info.base_name)) and said[1] <= known.get(said[0], -1):
                    continue
                user_key, until = self._read(info.path, info.base_name)
                erased[user_key] = max(until, erased.get(user_key, 0))
        return erased

    def _read(self, path: str, name: str) -> tuple[int, int]:
        try:
            if (said := _said(name)) is None:
                raise ValueError("its name is none of ours")
            user_key, until = said
            with self._filesystem.open_input_stream(path) as stream:
                content = stream.read()
            if content != (wanted := _content(user_key, until)):
                raise ValueError(f"it holds {content[:200]!r} instead of {wanted!r}")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise SnapshotError(
                f"the tombstone {path} is damaged: {error}; without it an erased user might come "
                "back: write into the file what the error says, or remove it and erase that user "
                "again"
            ) from error
        return user_key, until


def _said(name: str) -> tuple[int, int] | None:
    """User key and offset of a tombstone's name."""
    parts = NAME.fullmatch(name)
    return (int(parts["user"], 16), int(parts["until"])) if parts else None


def _content(user_key: int, until: int) -> bytes:
    return json.dumps({"user_key": f"{user_key:016x}", "until": until}).encode()
