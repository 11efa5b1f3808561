"""Archives made by hand: files of any ranges, each click telling its own offset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from actors.archive.files import ArchiveFiles
from actors.archive.parquet import SCHEMA, Place

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


def user(offset: int) -> str:
    """The user of the click at `offset`: one of seven."""
    return f"user-{offset % 7}"


def table(offsets: Iterable[int]) -> pa.Table:
    """Clicks at these offsets, a minute apart."""
    rows = [
        (
            user(at),
            f"item-{at % 5}",
            "buy" if at % 9 == 1 else "click",
            START_MS + 60_000 * at,
            at,
            START_MS + at,
        )
        for at in offsets
    ]
    return pa.table(
        [pa.array([row[n] for row in rows], kind) for n, kind in enumerate(SCHEMA.types)],
        schema=SCHEMA,
    )


def archive(root: Path) -> ArchiveFiles:
    """The archive at `root`."""
    return ArchiveFiles.from_uri(str(root))


def add(
    root: Path,
    start: int,
    stop: int,
    *,
    holes: Iterable[int] = (),
    partition: int = 0,
    day: int = 0,
) -> Path:
    """A file of the offsets [start, stop) less the holes, put there whatever else there is."""
    files = archive(root)
    clicks = table(sorted({*range(start, stop)} - {*holes}))
    date_ms = START_MS + day * DAY_MS
    files.write(Place(partition, start, stop), clicks, date_ms=date_ms, after=files.end(partition))
    [path] = root.glob(f"partition={partition}/*/{start:019d}-{stop:019d}.parquet")
    return path
