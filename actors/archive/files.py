"""The archive's files: clicks as Parquet, named by the offsets that they cover.

    ROOT/partition=3/date=2026-11-22/FROM-TO.parquet   columns user, item, action, time_ms, offset,
                                                       record_ms

A name stands for the half-open range of offsets [FROM, TO), so the newest name of a partition says
where to go on, and nothing else decides. A range may hold fewer clicks than offsets: logs have
holes, and bad records are not kept. The date is that of the file's first record, in UTC: it serves
people and Parquet readers, and files without one (those of older versions, right below the
partition) count alike.

Every file is written under a hidden name, synced (local file systems) and renamed: readers never
see half of one.

Two writers of one partition (one that was stopped and wakes after its successor has written on)
must not overlap. So whoever publishes first signs `ROOT/partition=3/.writer`; as long as the
signature is its own, nobody else has published since, and otherwise it lists the files anew. A
successor also deletes what its predecessor has not published yet. Two writers that both live could
still meet between that look and the rename, microseconds later; readers therefore take each offset
from one file only (`actors/archive/reader.py`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyarrow import fs

from actors.archive import parquet as archive_parquet
from actors.archive.parquet import Place
from actors.errors import ArchiveError
from actors.files import OpenRoot, open_root, publish, sync
from model.credentials import shown

NAME = re.compile(r"(?P<start>\d{19})-(?P<stop>\d{19})\.parquet")
PARTITION = re.compile(r"partition=(?P<partition>\d+)")
DATE = re.compile(r"date=(?P<date>\d{4}-\d\d-\d\d)")
UNFINISHED = (
    ".unfinished-"  # one a writer and partition; Parquet readers pass over names with a dot
)
SIGNATURE = ".writer"
LAST_MS = 253_402_300_799_000  # the last second of the year 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    """One published file."""

    path: str
    place: Place
    date: str | None  # YYYY-MM-DD; None in the layout of older versions
    size_bytes: int


class Overtaken(ArchiveError):
    """Somebody else has archived the partition up to `end` (None:
    nothing is there); go on from there.
    """

    def __init__(self, partition: int, end: int | None, expected: int | None) -> None:
        super().__init__(
            f"partition {partition}: the archive ends at offset {end} and not at {expected}, "
            "where this process left it: another archive writes to the same directory, or files "
            "were removed; going on from there"
        )
        self.end = end


class ArchiveFiles:
    """Finds, reads, writes and replaces the files below `root`;
    `writer` is a name that no other process has, or "".

    Every method raises ArchiveError, naming path and cause, where the file system refuses.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str, writer: str = "") -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._writer = writer or secrets.token_hex(8)

    @classmethod
    def from_uri(
        cls, uri_or_path: str, open_root: OpenRoot = open_root, writer: str = ""
    ) -> ArchiveFiles:
        """An archive at a URI (file, s3, gs, hdfs, ...) or a plain path;
        the directory is made when first needed.
        """
        with _explained("use", shown(uri_or_path)):
            return cls(*open_root(uri_or_path), writer)

    def partitions(self) -> list[int]:
        """The partitions that have a directory."""
        names = (PARTITION.fullmatch(info.base_name) for info in self._listed(self._root))
        return sorted(int(name["partition"]) for name in names if name)

    def find(self, partition: int) -> list[ArchiveFile]:
        """The files of a partition, by their first offset;
        where that is equal, the longest first.
        """
        found = []
        for info in self._listed(self._directory(partition), recursive=True):
            if name := NAME.fullmatch(info.base_name):
                place = Place(partition, int(name["start"]), int(name["stop"]))
                date = DATE.fullmatch(info.path.rsplit("/", 2)[-2])
                file = ArchiveFile(
                    path=info.path,
                    place=place,
                    date=date["date"] if date else None,
                    size_bytes=info.size,
                )
                found.append(file)
        return sorted(found, key=lambda file: (file.place.start, -file.place.stop, file.path))

    def end(self, partition: int) -> int | None:
        """The offset after everything archived; None for a partition without files."""
        return max((file.place.stop for file in self.find(partition)), default=None)

    def read(self, file: ArchiveFile) -> pa.Buffer:
        """The whole content; `actors.archive.parquet` makes clicks of it."""
        with _explained("read", file.path), self._filesystem.open_input_file(file.path) as stream:
            return stream.read_buffer()

    def clicks(self, file: ArchiveFile) -> int:
        """The number of clicks in a file, by its footer."""
        with _explained("read", file.path), self._filesystem.open_input_file(file.path) as stream:
            return archive_parquet.rows(file.path, file.place, stream)

    def write(self, place: Place, clicks: pa.Table, *, date_ms: int, after: int | None) -> None:
        """Add the clicks (of SCHEMA) of a place as one file, dated by `date_ms`,
        to a partition that ends at `after`.

        Raises:
            Overtaken: the partition does not end at `after` any more; nothing was added.
        """
        directory = self._directory(place.partition)
        dated = f"{directory}/date={_date(date_ms)}"
        path = f"{dated}/{place.start:019d}-{place.stop:019d}.parquet"
        unfinished = f"{directory}/{UNFINISHED}{self._writer}"
        with _explained("write", path):
            self._filesystem.create_dir(dated, recursive=True)
            for parent in (directory, self._root):
                sync(self._filesystem, parent)
            self._put(unfinished, place, clicks)
            sync(self._filesystem, unfinished)  # takes a while, so before the look at the signature
            self._stay_alone(place.partition, after)
            publish(self._filesystem, unfinished, path)

    def replace(self, file: ArchiveFile, clicks: pa.Table) -> None:
        """Give a file, in one step, another content under the same name."""
        unfinished = f"{self._directory(file.place.partition)}/{UNFINISHED}{self._writer}"
        with _explained("rewrite", file.path):
            self._put(unfinished, file.place, clicks)
            publish(self._filesystem, unfinished, file.path)

    def tidy(self, partition: int) -> None:
        """Delete what other writers left unfinished;
        one that still lives fails once and tries again.
        """
        directory = self._directory(partition)
        for info in self._listed(directory):
            if (
                info.base_name.startswith(".unfinished")
                and info.base_name != UNFINISHED + self._writer
            ):
                with _explained("delete", info.path):
                    self._filesystem.delete_file(info.path)

    def _put(self, path: str, place: Place, clicks: pa.Table) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            archive_parquet.write(stream, place, clicks)

    def _stay_alone(self, partition: int, after: int | None) -> None:
        """Sign the partition; Overtaken if another one had signed it and the
        archive does not end at `after`.
        """
        path = f"{self._directory(partition)}/{SIGNATURE}"
        if self._filesystem.get_file_info(path).type is fs.FileType.File:
            with self._filesystem.open_input_stream(path) as stream:
                if stream.read() == self._writer.encode():
                    return
        if (end := self.end(partition)) != after:
            raise Overtaken(partition, end, after)
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(self._writer.encode())

    def _listed(self, directory: str, *, recursive: bool = False) -> list[fs.FileInfo]:
        with _explained("list", directory):
            selector = fs.FileSelector(directory, allow_not_found=True, recursive=recursive)
            found: list[fs.FileInfo] = self._filesystem.get_file_info(selector)
            return found

    def _directory(self, partition: int) -> str:
        return f"{self._root}/partition={partition}"


def _date(time_ms: int) -> str:
    """YYYY-MM-DD in UTC; producers may send any time, and years have four digits."""
    return datetime.fromtimestamp(min(max(time_ms, 0), LAST_MS) / 1000, UTC).date().isoformat()


@contextmanager
def _explained(action: str, path: str) -> Iterator[None]:
    """Turn whatever the file system raises into an ArchiveError with path and cause."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(
            f"cannot {action} {path}: {shown(repr(error))}; check archive.directory, its "
            "permissions and free space"
        ) from error
