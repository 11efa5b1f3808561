"""The archive as a source of training."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data import datasets
from training.errors import DatasetError


def write(root: Path, partition: int, offsets: range, date: str | None = "2026-11-22") -> None:
    """One file of an archive; ids and times say where a click lay.
    Without a date as older versions laid files out.
    """
    directory = root / f"partition={partition}" / (f"date={date}" if date else ".")
    directory.mkdir(parents=True, exist_ok=True)
    columns = {
        "user": [f"user-{partition}"] * len(offsets),
        "item": [f"item-{offset}" for offset in offsets],
        "action": ["buy"] * len(offsets),
        "time_ms": pa.array([5 + offset // 10 for offset in offsets], pa.int64()),
        "offset": pa.array(offsets, pa.int64()),
        "record_ms": pa.array([9] * len(offsets), pa.int64()),
    }
    pq.write_table(
        pa.table(columns), directory / f"{offsets.start:019d}-{offsets.stop:019d}.parquet"
    )


def test_dated_and_undated_files_are_read_together_and_each_offset_once(tmp_path: Path) -> None:
    """Files of an older version lie beside newer ones;
    where two files overlap, a click counts once.
    """
    write(tmp_path, 0, range(10), date=None)
    write(tmp_path, 0, range(10, 20), date="2026-11-22")
    write(tmp_path, 0, range(15, 30), date="2026-11-23")
    write(tmp_path, 1, range(3), date=None)
    log = datasets.load("archive", path=tmp_path)
    assert log.items.tolist() == [f"item-{offset}" for offset in [*range(30), *range(3)]]


@pytest.mark.parametrize("as_uri", [False, True])
def test_clicks_come_in_the_order_of_partition_and_offset(tmp_path: Path, as_uri: bool) -> None:
    """Partition 10 comes after 2; a file without clicks and an unfinished one do not matter."""
    for partition, offsets in (
        (10, range(3)),
        (2, range(7, 30)),
        (2, range(7)),
        (2, range(30, 30)),
    ):
        write(tmp_path, partition, offsets)
    (tmp_path / "partition=2" / ".unfinished").write_bytes(b"PAR1")
    log = datasets.load("archive", path=tmp_path.as_uri() if as_uri else tmp_path)
    assert log.users.tolist() == ["user-2"] * 30 + ["user-10"] * 3
    assert log.items.tolist() == [f"item-{offset}" for offset in [*range(30), *range(3)]]
    assert log.times_ms.tolist() == [5 + offset // 10 for offset in [*range(30), *range(3)]]
    assert set(log.actions) == {"buy"}


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    """No path, nothing there, and other Parquet files each say what to give."""
    with pytest.raises(DatasetError, match=r"needs the path of archive\.directory"):
        datasets.load("archive")
    with pytest.raises(
        DatasetError, match=r"cannot read the archive .*missing.*give archive\.directory"
    ):
        datasets.load("archive", path=tmp_path / "missing")
    pq.write_table(pa.table({"user": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DatasetError, match=r"is no archive: it has no .*'partition'"):
        datasets.load("archive", path=tmp_path)
