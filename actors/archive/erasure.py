"""A user's clicks, out of the archive's files:
each file that holds some is replaced in one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from actors.archive import parquet as archive_parquet
from actors.archive.columns import key_column
from actors.archive.files import ArchiveFile, ArchiveFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedRows:
    """What was taken out of one file; the digests are xxh3 of its bytes."""

    path: str
    rows: int
    digest_before: str
    digest_after: str


def erase(files: ArchiveFiles, partition: int, user_key: int, until: int) -> list[ErasedRows]:
    """Take the user's clicks below offset `until` out of every file;
    what was changed, nothing where none is left.

    A file keeps its name: it stands for the same offsets, of which it now holds fewer clicks.
    Interrupted anywhere, the files done are done, and another call does the rest. Files that the
    archive has in memory are its own to clean (`Archive.erase` does both).

    Raises:
        ArchiveError: a file cannot be read or written; ArchiveDamaged if its content is not what
            was written.
    """
    found = (
        _erase(files, file, user_key, until)
        for file in files.find(partition)
        if file.place.start < until
    )
    return [erased for erased in found if erased is not None]


def _erase(files: ArchiveFiles, file: ArchiveFile, user_key: int, until: int) -> ErasedRows | None:
    content = files.read(file)
    tables = []
    removed = 0
    for table in archive_parquet.groups(file.path, file.place, content):
        theirs = (key_column(table["user"]) == user_key) & (table["offset"].to_numpy() < until)
        removed += int(theirs.sum())
        tables.append(table.filter(pa.array(~theirs)).cast(archive_parquet.SCHEMA))
    if not removed:
        return None
    files.replace(file, pa.concat_tables(tables))
    return ErasedRows(
        path=file.path,
        rows=removed,
        digest_before=archive_parquet.digest(content),
        digest_after=archive_parquet.digest(files.read(file)),
    )
