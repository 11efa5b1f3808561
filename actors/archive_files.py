"""The archive's files: clicks as Parquet, named by the offsets that they cover.

    ROOT/partition=3/FROM-TO.parquet   columns user, item, action, time_ms, offset, record_ms

A name stands for the half-open range of offsets [FROM, TO), so the newest name of a partition says where to go on, and
nothing else is stored. A range may hold fewer clicks than offsets: logs have holes, and bad records are not kept.
Every file is written under a hidden name, synced (local file systems) and renamed: readers never see half of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import fs, parquet

from actors.atomic_files import open_root, publish, sync
from actors.errors import ArchiveError

SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("action", pa.string()),
        ("time_ms", pa.int64()),  # event time
        ("offset", pa.int64()),
        ("record_ms", pa.int64()),  # Kafka's record timestamp
    ]
)
NAME = re.compile(r"(?P<start>\d{19})-(?P<stop>\d{19})\.parquet")
UNFINISHED = ".unfinished"  # one a partition, replaced by the next; Parquet readers pass over names with a dot


class ArchiveFiles:
    """Finds and writes the files below `root`; one writer at a time.

    Every method raises ArchiveError, naming path and cause, where the file system refuses.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")

    @classmethod
    def from_uri(cls, uri_or_path: str) -> ArchiveFiles:
        """An archive at a URI (file, s3, gs, hdfs, ...) or a plain path; the directory is made when first needed."""
        with _explained("use", uri_or_path):
            return cls(*open_root(uri_or_path))

    def end(self, partition: int) -> int | None:
        """The offset after everything archived; None for a partition without files."""
        directory = self._directory(partition)
        with _explained("list", directory):
            found = self._filesystem.get_file_info(fs.FileSelector(directory, allow_not_found=True))
        names = (NAME.fullmatch(info.base_name) for info in found)
        return max((int(name["stop"]) for name in names if name), default=None)

    def write(self, partition: int, start: int, stop: int, clicks: pa.Table) -> None:
        """Add the clicks (of SCHEMA) in the offsets [start, stop) as one file."""
        directory = self._directory(partition)
        path = f"{directory}/{start:019d}-{stop:019d}.parquet"
        with _explained("write", path):
            self._filesystem.create_dir(directory, recursive=True)
            sync(self._filesystem, self._root)
            with self._filesystem.open_output_stream(f"{directory}/{UNFINISHED}") as stream:
                parquet.write_table(clicks, stream, compression="zstd")
            publish(self._filesystem, f"{directory}/{UNFINISHED}", path)

    def _directory(self, partition: int) -> str:
        return f"{self._root}/partition={partition}"


@contextmanager
def _explained(action: str, path: str) -> Iterator[None]:
    """Turn whatever the file system raises into an ArchiveError with path and cause."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(
            f"cannot {action} {path}: {error!r}; check archive.directory, its permissions and free space"
        ) from error
