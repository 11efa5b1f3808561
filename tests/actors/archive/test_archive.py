"""The archive: rolling, restarting, holes, lost ranges, and nothing half-written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from actors.archive.files import ArchiveFiles
from actors.archive.parquet import SCHEMA
from actors.errors import ArchiveError, BrokerUnavailable, ConfigError, OtherLog
from tests.actors.archive.archive_bench import Bench, offsets, paths, ranges
from tests.actors.ingest.ingest_fakes import NOW_MS, FakeLog, FakeRecord, bad, good
from tests.waiting import until


def test_a_file_is_complete_by_clicks_or_by_age(tmp_path: Path) -> None:
    """Enough clicks make a file at the next round;
    fewer wait for roll_s since the first of them.
    """
    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(25)]}, records_per_poll=5), roll_records=10
    )
    bench.rounds(6)
    assert ranges(tmp_path) == [(0, 10), (10, 20)]
    bench.clock.advance(59)
    bench.rounds(1)
    assert len(ranges(tmp_path)) == 2
    bench.clock.advance(1)
    bench.rounds(1)
    assert ranges(tmp_path) == [(0, 10), (10, 20), (20, 25)]
    assert offsets(tmp_path) == list(range(25))
    assert bench.sample("archive_records_total", partition="0") == 25
    assert bench.sample("archive_lag_records", partition="0") == 0


def test_a_file_is_complete_by_bytes(tmp_path: Path) -> None:
    """Long ids fill memory before there are many clicks."""
    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(30)]}, records_per_poll=3), roll_bytes=500
    )
    bench.rounds(12)
    assert ranges(tmp_path)[0][0] == 0
    assert all(3 <= stop - start <= 12 for start, stop in ranges(tmp_path))
    assert bench.sample("archive_records_total", partition="0") >= 18


def test_a_file_has_the_date_of_its_first_record(tmp_path: Path) -> None:
    """In UTC and by the record's time, also where only a later record can be used;
    without any record it is today.
    """
    day_ms = 86_400_000
    value = good(0).value
    days = [
        FakeRecord(n, b"\xff" if n == 0 else value, timestamp=NOW_MS + n * day_ms) for n in range(3)
    ]
    log = FakeLog({0: [*days[:2], FakeRecord(2, value, timestamp=2**60), None]}, records_per_poll=2)
    bench = Bench(tmp_path, log, roll_records=1)
    bench.rounds(3)
    bench.archive.flush()
    assert [path.parent.name for path in paths(tmp_path)] == ["date=2023-11-14", "date=9999-12-31"]
    assert ranges(tmp_path) == [(0, 2), (2, 4)]
    log.partitions[0].append(None)
    bench.rounds(1)
    bench.archive.flush()
    assert (tmp_path / "partition=0" / "date=2023-11-14" / f"{4:019d}-{5:019d}.parquet").exists()


def test_rows_hold_the_click_as_it_was_sent(tmp_path: Path) -> None:
    """Ids are text, times milliseconds; a record without a timestamp gets the present."""
    dated = good(0)
    undated = FakeRecord(1, good(1).value, timestamp=-1)
    bench = Bench(tmp_path, FakeLog({3: [dated, undated]}))
    bench.rounds(1)
    bench.clock.advance(1)
    bench.archive.flush()
    [path] = tmp_path.glob("partition=3/*/*")
    assert path.parent.name == "date=2023-11-14"
    table = parquet.read_table(path, partitioning=None)
    assert table.schema.equals(SCHEMA)
    row = {"user": "u", "action": "click", "record_ms": NOW_MS}
    assert table.to_pylist() == [
        row | {"item": f"item-{n}", "time_ms": NOW_MS - 1000 + n, "offset": n} for n in range(2)
    ]


def test_a_restart_goes_on_after_the_newest_file(tmp_path: Path) -> None:
    """What was read and not written is read again; what is in a file is not."""
    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(30)]}, records_per_poll=4), roll_records=8
    )
    bench.rounds(4)
    assert ranges(tmp_path) == [(0, 8)]
    bench.again()
    bench.rounds(20)
    bench.archive.flush()
    assert offsets(tmp_path) == list(range(30))


def test_a_restart_goes_on_after_files_without_a_date(tmp_path: Path) -> None:
    """Files as older versions laid them out count alike."""
    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(20)]}, records_per_poll=10), roll_records=10
    )
    bench.rounds(2)
    [path] = paths(tmp_path)
    path.rename(tmp_path / "partition=0" / path.name)
    bench.again()
    bench.rounds(3)
    bench.archive.flush()
    assert ranges(tmp_path) == [(10, 20)]


@pytest.mark.parametrize("wakes_at", [0, 1, 2])
def test_a_writer_that_wakes_late_overlaps_nothing(tmp_path: Path, wakes_at: int) -> None:
    """An archive that slept with clicks in memory, or had none yet,
    finds its successor's files and goes on there.
    """
    log = FakeLog({0: [good(n) for n in range(40)]}, records_per_poll=5)
    zombie = Bench(tmp_path, log, roll_records=10)
    zombie.rounds(1 + wakes_at)  # none, some, all of the next file in memory
    successor = Bench(tmp_path, FakeLog(log.partitions, records_per_poll=7), roll_records=10)
    successor.rounds(5)
    assert ranges(tmp_path)[-1][1] > 10
    zombie.archive.flush()
    zombie.rounds(3)
    successor.rounds(5)
    zombie.rounds(5)
    successor.archive.flush()
    zombie.archive.flush()
    assert offsets(tmp_path) == list(range(40))
    assert [start for start, _ in ranges(tmp_path)] == [
        0,
        *(stop for _, stop in ranges(tmp_path)[:-1]),
    ]
    assert zombie.sample("archive_failures_total", reason="overtaken") >= 1


def test_a_writer_alone_lists_its_files_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing costs no listing while the partition is signed, however many files there are."""
    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(40)]}, records_per_poll=5), roll_records=5
    )
    bench.rounds(2)
    monkeypatch.delattr(ArchiveFiles, "find")
    bench.rounds(6)
    assert ranges(tmp_path)[-1] == (30, 35)


def test_files_removed_meanwhile_are_read_again(tmp_path: Path) -> None:
    """A writer that is not alone looks where the archive ends,
    and goes back if that is before its own place.
    """
    log = FakeLog({0: [good(n) for n in range(20)]}, records_per_poll=5)
    bench = Bench(tmp_path, log, roll_records=5)
    bench.rounds(3)
    for path in paths(tmp_path):
        path.unlink()
    (tmp_path / "partition=0" / ".writer").unlink()
    bench.rounds(6)
    bench.archive.flush()
    assert offsets(tmp_path) == list(range(20))


@pytest.mark.parametrize("step", ["archive_parquet.write", "publish"])
def test_a_crash_before_the_name_leaves_the_old_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Half a file or a whole one without its name is no file: readers pass over it,
    and a restart writes it anew.
    """

    def fail(*args: Any, **_: Any) -> None:
        if step != "publish":
            args[0].write(b"PAR1 and no more")
        raise OSError("no space left")

    bench = Bench(
        tmp_path, FakeLog({0: [good(n) for n in range(10)]}, records_per_poll=5), roll_records=5
    )
    bench.rounds(2)
    with monkeypatch.context() as patch:
        patch.setattr(f"actors.archive.files.{step}", fail)
        with pytest.raises(
            ArchiveError, match=r"cannot write .*0005-.*0010\.parquet.*check archive\.directory"
        ):
            bench.archive.run_once()
    assert ranges(tmp_path) == [(0, 5)]
    assert parquet.read_table(tmp_path)["offset"].to_pylist() == list(range(5))
    assert len(list(tmp_path.glob("partition=0/.unfinished*"))) == 1
    bench.again()
    bench.rounds(1)
    bench.archive.flush()
    assert offsets(tmp_path) == list(range(10))
    assert not list(tmp_path.glob("partition=0/.unfinished*"))


def test_holes_and_bad_records_are_inside_the_ranges(tmp_path: Path) -> None:
    """Positions are archived, whatever they hold:
    also a range without any click, which is not read again.
    """
    records = [good(0), None, bad(2), good(3), None, None, bad(6), None]
    bench = Bench(tmp_path, FakeLog({0: records}, records_per_poll=4), roll_records=2)
    bench.rounds(3)
    bench.archive.flush()
    assert ranges(tmp_path) == [(0, 4), (4, 8)]
    assert offsets(tmp_path) == [0, 3]
    bench.again()
    bench.rounds(1)
    assert ranges(tmp_path) == [(0, 4), (4, 8)]


def test_partitions_have_their_own_places(tmp_path: Path) -> None:
    """A partition without files starts at the oldest offset, which is no loss."""
    bench = Bench(
        tmp_path, FakeLog({0: [good(0)], 11: [good(n) for n in range(9)]}, starts={11: 4})
    )
    bench.rounds(1)
    bench.archive.flush()
    assert (ranges(tmp_path, 0), ranges(tmp_path, 11)) == ([(0, 1)], [(4, 9)])
    assert bench.sample("archive_failures_total", reason="lost_offsets") == 0


def test_a_lost_range_is_named_and_leaves_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read before is written, the gap is in the names and counted once,
    and a restart goes on behind it.
    """
    log = FakeLog({0: [good(n) for n in range(20)]}, records_per_poll=3)
    bench = Bench(tmp_path, log)
    bench.rounds(1)
    log.starts[0] = 12
    bench.rounds(2)
    bench.archive.flush()
    assert "lost the offsets from 3 to 11" in caplog.text
    assert ranges(tmp_path) == [(0, 3), (12, 15)]
    bench.again()
    bench.rounds(3)
    bench.archive.flush()
    assert offsets(tmp_path) == [0, 1, 2, *range(12, 20)]
    assert bench.sample("archive_failures_total", reason="lost_offsets") == 1


@pytest.mark.parametrize("refuses", [True, False])
def test_an_archive_of_another_log_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refuses: bool
) -> None:
    """A log that ends before the archive is another one:
    nothing of it is mixed in, on any broker; others go on.
    """
    bench = Bench(tmp_path, FakeLog({0: [good(n) for n in range(9)]}))
    bench.rounds(1)
    bench.archive.flush()
    bench.log = FakeLog({0: [good(0)], 1: [good(0)]}, refuses_beyond_end=refuses)
    bench.again()
    bench.rounds(3)
    bench.log.partitions[0] += [good(n) for n in range(1, 15)]
    bench.rounds(3)
    bench.archive.flush()
    assert (ranges(tmp_path, 0), ranges(tmp_path, 1)) == ([(0, 9)], [(0, 1)])
    assert caplog.text.count("point archive.directory to an empty directory") == 1
    assert bench.sample("archive_failures_total", reason="other_log") == 1


def test_what_was_read_of_a_log_before_it_became_another_is_kept(tmp_path: Path) -> None:
    """A topic made anew while it is read:
    the old one's clicks are written at once, and nothing of the new one.
    """
    bench = Bench(
        tmp_path,
        FakeLog({0: [good(n) for n in range(9)]}, faults=[None, OtherLog(0, 9, "made anew")]),
    )
    bench.rounds(2)
    bench.log.partitions[0] += [good(n) for n in range(9, 15)]
    bench.rounds(3)
    bench.archive.flush()
    assert ranges(tmp_path) == [(0, 9)]
    assert bench.sample("archive_failures_total", reason="other_log") == 1


def test_an_unwritable_directory_stops_reading_until_it_is_mended(tmp_path: Path) -> None:
    """Nothing more is read meanwhile, so memory is bounded; nothing is lost."""
    root = tmp_path / "archive"
    bench = Bench(
        root, FakeLog({0: [good(n) for n in range(20)]}, records_per_poll=10), roll_records=10
    )
    bench.rounds(1)
    root.write_text("in the way")
    for _ in range(3):
        with pytest.raises(ArchiveError):
            bench.archive.run_once()
    assert bench.log.polls == 1
    root.unlink()
    bench.rounds(2)
    bench.archive.flush()
    assert offsets(root) == list(range(20))


async def test_running_ends_with_what_does_not_pass(tmp_path: Path) -> None:
    """An error whose class says that the same call cannot succeed is not waited out."""
    bench = Bench(tmp_path, FakeLog({0: [good(0)]}, faults=[ConfigError("no such topic")]))
    with pytest.raises(ConfigError, match="no such topic"):
        await bench.archive.run(asyncio.Event())
    assert bench.log.polls == 1


async def test_running_survives_failures_and_ends_with_a_flush(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures are counted, waited out and followed by another try; a stop writes what was read."""
    root = tmp_path / "archive"
    root.write_text("in the way")
    bench = Bench(
        root,
        FakeLog({0: [good(n) for n in range(5)]}, faults=[BrokerUnavailable("gone")]),
        roll_records=5,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(bench.archive.run(stop))
    await until(lambda: bench.sample("archive_failures_total", reason="unwritable") >= 2)
    root.unlink()
    await until(lambda: bench.log.polls >= 3)
    stop.set()
    await running
    assert ranges(root) == [(0, 5)]
    assert bench.sample("archive_failures_total", reason="broker") == 1
    assert "check archive.directory" in caplog.text


def test_a_partition_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path) -> None:
    """At the end every partition is tried before the error is raised."""
    bench = Bench(
        tmp_path, FakeLog({n: [good(n) for n in range(5)] for n in range(3)}, records_per_poll=5)
    )
    bench.rounds(4)
    (tmp_path / "partition=0").write_text("a file where a directory has to be")
    with pytest.raises(ArchiveError, match="partition=0"):
        bench.archive.flush()
    assert [ranges(tmp_path, partition) for partition in (1, 2)] == [[(0, 5)], [(0, 5)]]
