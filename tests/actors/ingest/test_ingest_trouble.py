"""Ingest, when the log turns out to be another one, and when dead letters hang."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from actors.clicks.dead_letter import OutRecord
from actors.errors import OtherLog
from tests.actors.ingest.ingest_fakes import FakeLog, FakeSink, bad, good
from tests.actors.ingest.ingest_rig import clicks, rig


async def test_another_log_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """The partition stands still with the log's own words,
    and is tried again after the longest wait; others flow.
    """
    log = FakeLog({0: clicks(5), 1: clicks(5)})
    r = rig(log)
    await r.until(lambda: r.shards.at == {0: 5, 1: 5}, step_s=0.0)
    log.faults.append(OtherLog(0, 5, "topic clicks was made anew"))
    log.partitions[0].append(good(5))
    log.partitions[1].append(good(5))
    await r.until(lambda: r.shards.at[1] == 6, step_s=0.0)
    assert r.shards.at[0] == 5
    assert (
        "what was read up to offset 5 belongs to another log: topic clicks was made anew"
        in caplog.text
    )
    assert r.count("ingest_retries_total", error="OtherLog") == 1
    r.clock.advance(7.9)
    await r.ingest.run_once()
    assert r.shards.at[0] == 5
    r.clock.advance(0.2)
    await r.until(lambda: r.shards.at[0] == 6, step_s=0.0)


class HangingSink(FakeSink):
    """Writes nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        assert self.may.wait(20)
        super().write(topic, records)


async def test_dead_letters_that_hang_hold_up_no_other_partition() -> None:
    """While two partitions' letters wait for a topic that does not answer, the third one flows."""
    sink = HangingSink()
    r = rig(
        FakeLog({0: [bad(0), good(1)], 1: [good(0), bad(1)], 2: clicks(300)}, records_per_poll=10),
        sink=sink,
    )
    await r.until(lambda: r.shards.at == {2: 300}, step_s=0.0)
    sink.may.set()
    await r.until(lambda: r.shards.at == {0: 2, 1: 2, 2: 300}, step_s=0.0)
    assert sorted(sink.header("__streams.errors.partition")) == ["0", "1"]
    assert r.shards.applied == {0: [1], 1: [0], 2: list(range(300))}
