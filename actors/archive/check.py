"""What an archive holds of each partition, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from actors.archive import parquet as archive_parquet
from actors.archive.files import ArchiveFile, ArchiveFiles
from actors.errors import ArchiveError


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """One partition's files; the offsets are half-open ranges,
    and a date stands for at least one file.
    """

    partition: int
    files: int
    clicks: int
    size_bytes: int
    start: int
    stop: int
    first_date: str | None
    last_date: str | None
    gaps: tuple[tuple[int, int], ...]
    overlaps: tuple[tuple[int, int], ...]
    unreadable: tuple[str, ...]  # files whose clicks could not be counted, and why


def summary(files: ArchiveFiles, found: Sequence[ArchiveFile]) -> PartitionSummary:
    """Sum up the files of one partition, of which there is at least one."""
    clicks = 0
    unreadable = []
    for file in found:
        try:
            clicks += files.clicks(file)
        except ArchiveError as error:
            unreadable.append(str(error))
    dates = sorted(file.date for file in found if file.date)
    return PartitionSummary(
        partition=found[0].place.partition,
        files=len(found),
        clicks=clicks,
        size_bytes=sum(file.size_bytes for file in found),
        start=found[0].place.start,
        stop=max(file.place.stop for file in found),
        first_date=dates[0] if dates else None,
        last_date=dates[-1] if dates else None,
        gaps=tuple(gaps(found)),
        overlaps=tuple(overlaps(found)),
        unreadable=tuple(unreadable),
    )


def gaps(found: Iterable[ArchiveFile]) -> Iterator[tuple[int, int]]:
    """The ranges between the first and the last offset that no file covers."""
    reached: int | None = None
    for file in found:
        if reached is not None and file.place.start > reached:
            yield reached, file.place.start
        reached = max(file.place.stop, reached or 0)


def overlaps(found: Iterable[ArchiveFile]) -> Iterator[tuple[int, int]]:
    """The ranges that a file shares with those before it."""
    reached = 0
    for file in found:
        if file.place.start < reached:
            yield file.place.start, min(reached, file.place.stop)
        reached = max(reached, file.place.stop)


def problem(files: ArchiveFiles, file: ArchiveFile) -> str | None:
    """What is wrong with a file, read from the first to the last byte; None if nothing is."""
    if file.place.stop <= file.place.start:
        return (
            f"archive file {file.path} is named after no offset: from {file.place.start} to "
            f"{file.place.stop}"
        )
    try:
        for _ in archive_parquet.groups(file.path, file.place, files.read(file)):
            pass
    except ArchiveError as error:
        return str(error)
    return None


def problems_between(found: Sequence[ArchiveFile]) -> Iterator[str]:
    """What is wrong with the ranges of one partition's files."""
    for start, stop in gaps(found):
        yield (
            f"partition {found[0].place.partition}: no file has the offsets {start} to "
            f"{stop - 1}; bring files back "
            "from a copy, or take it that Kafka deleted them before they were archived (its log "
            'says "lost the '
            f'offsets" then)'
        )
    for start, stop in overlaps(found):
        yield (
            f"partition {found[0].place.partition}: more than one file has the offsets {start} to "
            f"{stop - 1}; readers take each offset once, but see to it that one archive writes to "
            "this directory"
        )
