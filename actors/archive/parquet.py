"""The content of one archive file: Parquet, a row a click, in the order of offsets.

Each page carries a checksum, and the file's own metadata repeats what its name says and how many
clicks it holds, so a flipped bit is found wherever it is. Files of older versions have neither;
what they say is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from pyarrow import parquet

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
TEXTS = ("user", "item", "action")
ROWS_PER_GROUP = 65_536  # read and decoded at a time
META = "echorank."


class ArchiveDamaged(ArchiveError):
    """A file of the archive is not what was written; its clicks count as missing."""

    retriable = False

    def __init__(self, path: str, cause: object) -> None:
        super().__init__(
            f"archive file {path} is damaged: {cause}. Bring it back from a copy; if there is "
            "none, move it away: its clicks are then read from Kafka where that still has them, "
            "and the newest file of a partition is written anew"
        )
        self.path = path
        self.cause = str(cause)


class Place(NamedTuple):
    """What a file's name says: the offsets [start, stop) of a partition."""

    partition: int
    start: int
    stop: int


def write(stream: Any, place: Place, clicks: pa.Table) -> None:
    """Write `clicks` (of SCHEMA) as the whole content of a file."""
    said = {**place._asdict(), "clicks": len(clicks)}
    labelled = clicks.replace_schema_metadata(
        {META + name: str(value) for name, value in said.items()}
    )
    parquet.write_table(
        labelled,
        stream,
        compression="zstd",
        row_group_size=ROWS_PER_GROUP,
        write_page_checksum=True,
    )


def rows(path: str, place: Place, source: Any) -> int:
    """The number of clicks in a file, which only has to be read at its end;
    ArchiveDamaged as for `groups`.
    """
    return int(_opened(path, place, source).metadata.num_rows)


def groups(path: str, place: Place, content: pa.Buffer) -> Iterator[pa.Table]:
    """The clicks, a row group at a time, checked; ids as dictionary arrays.

    Raises:
        ArchiveDamaged: this is not what was written, as far as that can be told.
    """
    file = _opened(path, place, pa.BufferReader(content))
    reached = place.start
    for number in range(file.metadata.num_row_groups):
        try:
            found = file.read_row_group(number, columns=SCHEMA.names, use_threads=False)
            found.validate(full=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ArchiveDamaged(path, f"row group {number}: {error}") from error
        reached = _checked(path, found, place, reached)
        yield found


def _opened(path: str, place: Place, source: Any) -> Any:
    """The Parquet file, if its footer is sound and says what its name says."""
    try:
        file = parquet.ParquetFile(source, read_dictionary=TEXTS, page_checksum_verification=True)
        said = file.metadata.metadata or {}
        held = sum(
            file.metadata.row_group(number).num_rows
            for number in range(file.metadata.num_row_groups)
        )
        types = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        # KeyError: a column is not there
        raise ArchiveDamaged(
            path, f"no readable Parquet file with the columns {', '.join(SCHEMA.names)}: {error}"
        ) from error
    if wrong := [
        name for name in SCHEMA.names if _plain(types.get(name)) != SCHEMA.field(name).type
    ]:
        raise ArchiveDamaged(path, f"columns {', '.join(wrong)} are missing or of another type")
    named = {**place._asdict(), "clicks": file.metadata.num_rows, "row groups' clicks": held}
    written = {name: said.get((META + name).encode()) for name in (*place._asdict(), "clicks")}
    if any(value is not None for value in written.values()):
        wanted = {name: str(named[name]).encode() for name in written}
        if written != wanted:
            raise ArchiveDamaged(
                path, f"it says of itself {_shown(written)}, but name and content {_shown(wanted)}"
            )
    if held != file.metadata.num_rows:
        raise ArchiveDamaged(
            path, f"it counts {file.metadata.num_rows} clicks, its row groups {held}"
        )
    return file


def _checked(path: str, found: pa.Table, place: Place, reached: int) -> int:
    """The offset after the last click of `found`,
    whose offsets rise from `reached` on within the place.
    """
    if nulls := [name for name in SCHEMA.names if found[name].null_count]:
        raise ArchiveDamaged(path, f"columns {', '.join(nulls)} have empty values")
    if not len(found):
        return reached
    offsets = found["offset"].to_numpy()
    if offsets[0] < reached or offsets[-1] >= place.stop or not (np.diff(offsets) > 0).all():
        raise ArchiveDamaged(
            path,
            (
                f"its offsets from {offsets[0]} to {offsets[-1]} do not rise one by one inside "
                f"{reached}..{place.stop - 1}"
            ),
        )
    return int(offsets[-1]) + 1


def digest(content: pa.Buffer) -> str:
    """The xxh3 of a file's bytes, 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(memoryview(content))


def _plain(kind: pa.DataType | None) -> pa.DataType | None:
    return kind.value_type if kind is not None and pa.types.is_dictionary(kind) else kind


def _shown(said: Mapping[str, bytes | None]) -> str:
    return ", ".join(
        f"{name} {value.decode(errors='replace') if value else '-'}" for name, value in said.items()
    )
