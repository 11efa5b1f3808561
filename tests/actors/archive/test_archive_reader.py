"""The archive as a history: every offset once, in order, and gaps where there is nothing."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.archive import parquet as archive_parquet
from actors.archive.files import ArchiveFile
from actors.archive.parquet import Place
from actors.archive.reader import ArchiveReader, plan
from actors.clicks.click import Click, ClickBatch
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, encode
from actors.clock import ManualClock
from actors.errors import ArchiveError
from actors.ingest.ports import Gap
from tests.actors.archived_clicks import START_MS, add, archive, table


def pieces(root: Path, start: int, stop: int, batch_clicks: int = 1000) -> list[ClickBatch | Gap]:
    """What the reader gives of partition 0; that the pieces follow each other is checked."""
    found = list(ArchiveReader(archive(root), batch_clicks).read(0, start, stop))
    assert [start, *(piece.stop for piece in found)] == [*(piece.start for piece in found), stop]
    return found


def offsets(found: list[ClickBatch | Gap]) -> list[int]:
    """The offsets of all clicks."""
    return [
        offset
        for piece in found
        if isinstance(piece, ClickBatch)
        for offset in piece.offsets.tolist()
    ]


def gaps(found: list[ClickBatch | Gap]) -> list[tuple[int, int]]:
    """The ranges that are missing."""
    return [(piece.start, piece.stop) for piece in found if isinstance(piece, Gap)]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    key: bytes | None
    timestamp: int


def decoded(rows: list[dict[str, Any]], start: int, stop: int) -> ClickBatch:
    """The rows of an archive as ingest would decode them from Kafka."""
    records = []
    for row in rows:
        click = Click(row["user"], row["item"], row["action"], row["time_ms"])
        records.append(Record(row["offset"], encode(click, EventFormat()), None, row["record_ms"]))
    decoder = Decoder(EventFormat(), ManualClock(START_MS + 10**9))
    return decoder.decode_batch(0, start, stop, records)[0]


@pytest.mark.parametrize("batch_clicks", [1, 7, 1000])
def test_batches_equal_what_ingest_decodes(tmp_path: Path, batch_clicks: int) -> None:
    """Keys, times and offsets are those that the log's own records
    give, however the batches are cut.
    """
    add(tmp_path, 0, 20, holes=[0, 3, 19])
    add(tmp_path, 20, 45, holes=range(30, 36))
    found = pieces(tmp_path, 0, 45, batch_clicks)
    assert all(len(piece) <= batch_clicks for piece in found if isinstance(piece, ClickBatch))
    expected = decoded(
        table([*range(1, 3), *range(4, 19), *range(20, 30), *range(36, 45)]).to_pylist(), 0, 45
    )
    for name in ("offsets", "users", "items", "actions", "times_ms", "record_ms"):
        columns = [getattr(piece, name) for piece in found]
        assert np.array_equal(np.concatenate(columns), getattr(expected, name)), name
        assert {column.dtype for column in columns} == {getattr(expected, name).dtype}


def test_any_part_can_be_read(tmp_path: Path) -> None:
    """Reading starts and stops inside files, at their edges, and where there are holes."""
    add(tmp_path, 5, 20, holes=[9, 10, 11])
    add(tmp_path, 20, 30)
    kept = [*range(5, 9), *range(12, 30)]
    for start in range(4, 31):
        for stop in range(start, 32):
            found = pieces(tmp_path, start, stop, 4)
            assert offsets(found) == [offset for offset in kept if start <= offset < stop]


def test_what_is_missing_is_a_gap_that_says_why(tmp_path: Path) -> None:
    """Before the first file, between files, after the last; an empty archive is one gap."""
    assert gaps(pieces(tmp_path, 3, 9)) == [(3, 9)]
    add(tmp_path, 5, 10)
    add(tmp_path, 15, 20)
    found = pieces(tmp_path, 0, 25)
    assert gaps(found) == [(0, 5), (10, 15), (20, 25)]
    assert offsets(found) == [*range(5, 10), *range(15, 20)]
    assert {piece.reason for piece in found if isinstance(piece, Gap)} == {
        "the archive has no file for it"
    }
    assert ArchiveReader(archive(tmp_path)).end(0) == 20
    assert ArchiveReader(archive(tmp_path)).end(7) is None


def test_a_range_without_clicks_is_no_gap(tmp_path: Path) -> None:
    """A file whose offsets are all holes or dead letters covers them."""
    add(tmp_path, 0, 8, holes=range(8))
    found = pieces(tmp_path, 0, 8)
    assert gaps(found) == []
    assert offsets(found) == []


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=8),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_overlapping_files_give_each_offset_once(
    files: list[tuple[int, int]], start: int, stop: int
) -> None:
    """Any files: the plan covers the range without holes or overlaps,
    from files that have the offsets, else none.
    """
    made = [
        ArchiveFile(path=str(n), place=Place(0, at, at + size), date=None, size_bytes=0)
        for n, (at, size) in enumerate(files)
    ]
    steps = list(plan(made, start, stop))
    held = {offset for file in made for offset in range(file.place.start, file.place.stop)}
    assert [offset for step in steps for offset in range(step.start, step.stop)] == list(
        range(start, stop)
    )
    for step in steps:
        assert step.stop > step.start
        for offset in range(step.start, step.stop):
            assert (step.file is None) == (offset not in held)
            assert step.file is None or step.file.place.start <= offset < step.file.place.stop


def test_files_that_overlap_are_read_as_one(tmp_path: Path) -> None:
    """Two archives met: clicks of both files count once,
    whichever file they come from, on any dates.
    """
    for start, stop, day in ((0, 10, 1), (0, 25, 2), (10, 20, 1), (22, 40, 0)):
        add(tmp_path, start, stop, day=day)
    assert offsets(pieces(tmp_path, 0, 40, 6)) == list(range(40))


def test_a_damaged_file_is_a_gap_and_is_named(tmp_path: Path) -> None:
    """Clicks before and after it are read; the gap says which file it is, why, and what to do."""
    add(tmp_path, 0, 10)
    path = add(tmp_path, 10, 20)
    add(tmp_path, 20, 30)
    path.write_bytes(path.read_bytes()[:-40])
    found = pieces(tmp_path, 0, 30)
    assert offsets(found) == [*range(10), *range(20, 30)]
    [gap] = [piece for piece in found if isinstance(piece, Gap)]
    assert (gap.start, gap.stop) == (10, 20)
    assert f"archive file {path} is damaged" in gap.reason
    assert "Bring it back from a copy" in gap.reason


def test_damage_in_a_later_row_group_loses_no_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gap begins where the damage does."""
    monkeypatch.setattr(archive_parquet, "ROWS_PER_GROUP", 10)
    path = add(tmp_path, 0, 30)
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 5] ^= 0x10
    path.write_bytes(content)
    found = pieces(tmp_path, 0, 30)
    [gap] = gaps(found)
    assert gap[0] in {10, 20}
    assert offsets(found) == list(range(gap[0]))


def test_any_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """No byte of a file can change without the file being called damaged,
    or its clicks being what they were.
    """
    path = add(tmp_path, 3, 40, holes=[7, 8])
    place = Place(0, 3, 40)
    content = path.read_bytes()
    whole = pa.concat_tables(
        archive_parquet.groups(str(path), place, pa.py_buffer(content))
    ).to_pylist()
    assert whole == table(sorted({*range(3, 40)} - {7, 8})).to_pylist()
    noticed = 0
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        try:
            tables = list(archive_parquet.groups(str(path), place, pa.py_buffer(bytes(flipped))))
        except archive_parquet.ArchiveDamaged:
            noticed += 1
        else:
            assert pa.concat_tables(tables).to_pylist() == whole, at
    assert noticed > len(content) // 2


def test_clicks_outside_the_name_are_damage(tmp_path: Path) -> None:
    """A file under another's name, and offsets that do not rise, are noticed;
    so are columns of other types.
    """
    path = add(tmp_path, 0, 10)
    other = path.with_name(f"{10:019d}-{20:019d}.parquet")
    path.rename(other)
    found = pieces(tmp_path, 0, 20)
    assert gaps(found) == [(0, 10), (10, 20)]
    for offsets_of, said in (([1, 3, 2], "do not rise"), ([8, 10], "do not rise")):
        sink = pa.BufferOutputStream()
        archive_parquet.write(sink, Place(0, 0, 10), table(offsets_of))
        with pytest.raises(archive_parquet.ArchiveDamaged, match=said):
            list(archive_parquet.groups("x", Place(0, 0, 10), sink.getvalue()))
    sink = pa.BufferOutputStream()
    archive_parquet.write(sink, Place(0, 0, 3), table(range(3)).drop_columns("item"))
    with pytest.raises(
        archive_parquet.ArchiveDamaged, match="no readable Parquet file with the columns user, item"
    ):
        list(archive_parquet.groups("x", Place(0, 0, 3), sink.getvalue()))


def test_damage_survives_the_way_to_another_process() -> None:
    """Errors cross Ray pickled."""
    damage = archive_parquet.ArchiveDamaged("root/a.parquet", ValueError("torn"))
    again = pickle.loads(pickle.dumps(damage))
    assert (str(again), again.path, again.retriable) == (str(damage), "root/a.parquet", False)


def test_an_unreadable_archive_is_an_error_to_try_again(tmp_path: Path) -> None:
    """What cannot be read now is no gap: a gap would be skipped for ever."""
    path = add(tmp_path, 0, 10)
    path.unlink()
    path.mkdir()
    with pytest.raises(ArchiveError, match=r"cannot read .*check archive\.directory") as raised:
        pieces(tmp_path, 0, 10)
    assert raised.value.retriable
