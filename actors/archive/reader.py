"""Clicks back out of the archive, as the fold takes them.

Each offset is taken from one file: where files overlap (two archives met, see
`actors/archive/files.py`) from the first in the order of their offsets. Content is the same in
each, since it comes from the same log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from actors.archive import parquet as archive_parquet
from actors.archive.columns import key_column
from actors.archive.files import ArchiveFile, ArchiveFiles
from actors.archive.parquet import ArchiveDamaged
from actors.clicks.click import ClickBatch
from actors.ingest.ports import Gap

BATCH_CLICKS = 2000  # as one poll of ingest takes: such a batch is a Ray message


class Step(NamedTuple):
    """The offsets [start, stop), and the file that has them; None where no file does."""

    file: ArchiveFile | None
    start: int
    stop: int


def plan(files: Iterable[ArchiveFile], start: int, stop: int) -> Iterator[Step]:
    """Which file to read for which offsets of [start, stop): each offset once, in order."""
    at = start
    for file in sorted(files, key=lambda file: (file.place.start, -file.place.stop)):
        if file.place.stop <= at:
            continue
        if at >= stop or file.place.start >= stop:
            break
        if file.place.start > at:
            yield Step(None, at, file.place.start)
            at = file.place.start
        yield Step(file, at, min(file.place.stop, stop))
        at = min(file.place.stop, stop)
    if at < stop:
        yield Step(None, at, stop)


class ArchiveReader:
    """The archive as a `ClickHistory`. Thread-safe; memory:
    the largest file's bytes and one of its row groups.
    """

    def __init__(self, files: ArchiveFiles, batch_clicks: int = BATCH_CLICKS) -> None:
        self._files = files
        self._batch_clicks = batch_clicks

    def end(self, partition: int) -> int | None:
        """The offset after everything archived; None for a partition without files."""
        return self._files.end(partition)

    def read(self, partition: int, start: int, stop: int) -> Iterator[ClickBatch | Gap]:
        """The offsets [start, stop) in order, without holes:
        clicks where there are files, else gaps.

        A damaged file is a gap from its first bad row group on, which names it.

        Raises:
            ArchiveError: the archive cannot be listed or read now.
        """
        for step in plan(self._files.find(partition), start, stop):
            if step.file is None:
                yield Gap(partition, step.start, step.stop, "the archive has no file for it")
            else:
                yield from self._file(step.file, step.start, step.stop)

    def _file(self, file: ArchiveFile, start: int, stop: int) -> Iterator[ClickBatch | Gap]:
        partition = file.place.partition
        at = start
        try:
            for table in archive_parquet.groups(file.path, file.place, self._files.read(file)):
                batch = _batch(partition, at, stop, table)
                yield from _cut(batch, self._batch_clicks)
                at = batch.stop
        except ArchiveDamaged as damage:
            yield Gap(partition, at, stop, str(damage))
        else:
            if at < stop:
                yield _nothing(partition, at, stop)


def _batch(partition: int, start: int, stop: int, table: pa.Table) -> ClickBatch:
    """The rows with offsets in [start, stop); it ends after the last of them."""
    offsets = table["offset"].to_numpy()
    part = slice(*np.searchsorted(offsets, [start, stop]))
    return ClickBatch(
        partition=partition,
        start=start,
        stop=int(offsets[part][-1]) + 1 if part.start < part.stop else start,
        offsets=offsets[part],
        users=key_column(table["user"])[part],
        items=key_column(table["item"])[part],
        actions=key_column(table["action"])[part],
        times_ms=table["time_ms"].to_numpy()[part],
        record_ms=table["record_ms"].to_numpy()[part],
    )


def _nothing(partition: int, start: int, stop: int) -> ClickBatch:
    """A range without clicks: holes and dead letters."""
    numbers = np.empty(0, dtype=np.int64)
    keys = np.empty(0, dtype=np.uint64)
    return ClickBatch(
        partition=partition,
        start=start,
        stop=stop,
        offsets=numbers,
        users=keys,
        items=keys,
        actions=keys,
        times_ms=numbers,
        record_ms=numbers,
    )


def _cut(batch: ClickBatch, clicks: int) -> Iterator[ClickBatch]:
    """The same in batches of at most so many clicks; none for an empty one."""
    for first in range(0, len(batch), clicks):
        following = first + clicks
        until = int(batch.offsets[following]) if following < len(batch) else batch.stop
        yield batch.after(int(batch.offsets[first]) if first else batch.start).before(until)
