"""A user taken out of the archive: rewritten files, clicks in memory, clicks still to come."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import xxhash

from actors.archive.erasure import erase
from actors.archive.reader import ArchiveReader
from actors.clicks.click import Click, ClickBatch, key
from actors.clicks.formats import EventFormat, encode
from actors.errors import ArchiveError, SnapshotError
from tests.actors.archive.archive_bench import Bench, offsets, paths, ranges
from tests.actors.archived_clicks import add, archive, user
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, FakeRecord
from tests.waiting import until

KEY = key(user(3))


def users(root: Path) -> dict[int, int]:
    """The user's key of each archived offset of partition 0."""
    found = [
        piece
        for piece in ArchiveReader(archive(root)).read(0, 0, 60)
        if isinstance(piece, ClickBatch)
    ]
    return {
        int(at): int(who)
        for batch in found
        for at, who in zip(batch.offsets, batch.users, strict=True)
    }


def test_erasing_rewrites_the_files_that_hold_the_user(tmp_path: Path) -> None:
    """Clicks below `until` go, names stay,
    other clicks and files stay as they were; digests are of the bytes.
    """
    before = {
        path: path.read_bytes()
        for path in (add(tmp_path, start, start + 20) for start in (0, 20, 40))
    }
    before |= {(two := add(tmp_path, 60, 62)): two.read_bytes()}  # offsets 60 and 61 are of others
    erased = erase(archive(tmp_path), 0, KEY, until=46)
    assert users(tmp_path) == {at: key(user(at)) for at in range(60) if at % 7 != 3 or at >= 46}
    assert [(Path(one.path).stem, one.rows) for one in erased] == [
        (path.stem, 3) for path in list(before)[:2]
    ] + [(list(before)[2].stem, 1)]
    for one in erased:
        path = Path(one.path)
        assert one.digest_before == xxhash.xxh3_64_hexdigest(before[path])
        assert one.digest_after == xxhash.xxh3_64_hexdigest(path.read_bytes()) != one.digest_before
    assert two.read_bytes() == before[two]
    assert archive(tmp_path).end(0) == 62


def test_erasing_twice_changes_nothing(tmp_path: Path) -> None:
    """The second time finds no click; a user who never clicked and an empty archive neither."""
    path = add(tmp_path, 0, 20)
    assert len(erase(archive(tmp_path), 0, KEY, until=100)) == 1
    once = path.read_bytes()
    assert erase(archive(tmp_path), 0, KEY, until=100) == []
    assert erase(archive(tmp_path), 0, 12345, until=100) == []
    assert erase(archive(tmp_path / "nothing"), 0, KEY, until=100) == []
    assert path.read_bytes() == once


@pytest.mark.parametrize("step", ["archive_parquet.write", "publish"])
def test_a_crash_while_erasing_leaves_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At any step a file is the old or the new one; trying again ends it."""
    path = add(tmp_path, 0, 20)
    before = path.read_bytes()

    def fail(*args: Any, **_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(f"actors.archive.files.{step}", fail)
        with pytest.raises(ArchiveError, match="cannot rewrite"):
            erase(archive(tmp_path), 0, KEY, until=100)
    assert path.read_bytes() == before
    [one] = erase(archive(tmp_path), 0, KEY, until=100)
    assert one.rows == 3


def click(offset: int, name: str) -> FakeRecord:
    """A click of `name` at `offset`."""
    return FakeRecord(offset, encode(Click(name, "item", "click", NOW_MS), EventFormat()), key=None)


def log_of_two(count: int) -> FakeLog:
    """Clicks of anna at even offsets and of bert at odd ones."""
    return FakeLog(
        {0: [click(n, "bert" if n % 2 else "anna") for n in range(count)]}, records_per_poll=10
    )


def test_clicks_in_memory_and_still_to_come_are_erased_as_well(tmp_path: Path) -> None:
    """The archive rewrites its files, cleans what it holds,
    and keeps no click below `until` that it reads later.
    """
    bench = Bench(tmp_path, log_of_two(60), roll_records=20)
    bench.rounds(4)
    assert ranges(tmp_path) == [(0, 20)]
    [erased] = bench.archive.erase(0, key("anna"), until=53)
    assert erased.rows == 10
    bench.rounds(5)
    bench.archive.flush()
    assert ranges(tmp_path)[-1][1] == 60
    assert offsets(tmp_path) == [n for n in range(60) if n % 2 or n >= 53]
    assert bench.archive.erase(0, key("anna"), until=53) == []


def test_tombstones_are_looked_up_before_each_write(tmp_path: Path) -> None:
    """An archive that was asleep or down while a user was erased writes none of their clicks."""
    tombstones: dict[int, int] = {}
    bench = Bench(tmp_path, log_of_two(30), roll_records=10, erased=lambda _: tombstones)
    bench.rounds(1)
    tombstones[key("anna")] = 25
    bench.rounds(2)
    bench.again()
    bench.rounds(4)
    bench.archive.flush()
    assert offsets(tmp_path) == [n for n in range(30) if n % 2 or n >= 25]
    assert len(paths(tmp_path)) > 1


def test_nothing_is_written_while_tombstones_cannot_be_read(tmp_path: Path) -> None:
    """Erased clicks might come back otherwise; it is a failure like any other, tried again."""
    broken = [True]

    def erased(partition: int) -> dict[int, int]:
        if broken:
            raise SnapshotError("the state directory is gone")
        return {}

    bench = Bench(tmp_path, log_of_two(10), roll_records=5, erased=erased)
    bench.rounds(1)
    with pytest.raises(
        ArchiveError, match="erased users cannot be looked up: the state directory is gone"
    ):
        bench.rounds(1)
    assert ranges(tmp_path) == []
    broken.clear()
    bench.rounds(1)
    assert offsets(tmp_path) == list(range(10))


async def test_erasing_waits_for_the_round_in_progress(tmp_path: Path) -> None:
    """`erase` may be called while the archive runs in its own thread:
    no click slips through between the two.
    """
    bench = Bench(tmp_path, log_of_two(2000), roll_records=30)
    stop = asyncio.Event()
    running = asyncio.create_task(bench.archive.run(stop))
    await until(lambda: paths(tmp_path))
    await asyncio.to_thread(bench.archive.erase, 0, key("anna"), 1500)
    await until(lambda: ranges(tmp_path)[-1][1] >= 1900)
    stop.set()
    await running
    end = ranges(tmp_path)[-1][1]
    assert offsets(tmp_path) == [n for n in range(end) if n % 2 or n >= 1500]
