"""A partition whose clicks wait: it shows, its waits grow,
and a letter that nobody takes holds nothing up for ever.
"""

from __future__ import annotations

import pytest

from actors.errors import BrokerUnavailable
from tests.actors.ingest.ingest_fakes import FakeLog, FakeRecord, FakeSink, bad, good
from tests.actors.ingest.ingest_rig import rig


async def test_a_partition_that_stands_still_shows_what_waits() -> None:
    """The log grows while its dead letter cannot be written:
    lag and end come from beside, again each second.
    """
    ends = {0: 2}
    log = FakeLog({0: [bad(0), good(1)]})
    r = rig(log, sink=FakeSink(faults=[BrokerUnavailable("no dlq")] * 1000), ends=lambda: ends)
    await r.until(lambda: r.count("ingest_retries_total", error="BrokerUnavailable") == 3)
    ends[0] = 6002
    await r.ingest.run_once()
    assert r.ingest.lags() == {0: 6002}
    assert r.count("ingest_lag_records", partition="0") == 6002
    assert r.shards.ends == {0: 6002}
    r.shards.ends.clear()
    await r.ingest.run_once()
    assert r.shards.ends == {}
    r.clock.advance(1.0)
    await r.ingest.run_once()
    assert r.shards.ends == {0: 6002}


async def test_a_letter_that_cannot_be_written_is_tried_ever_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That the shard says where it stands between two tries is no success;
    so 24 s see few tries and fewer lines.
    """
    r = rig(
        FakeLog({0: [bad(0), good(1)]}), sink=FakeSink(faults=[BrokerUnavailable("no dlq")] * 1000)
    )
    for _ in range(2400):
        await r.ingest.run_once()
        r.clock.advance(0.01)
    # after 0, .5, 1.5, 3.5, 7.5, 15.5, 23.5 s
    assert r.count("ingest_retries_total", error="BrokerUnavailable") == 7
    assert caplog.text.count("partition 0 waits") == 3


async def test_a_letter_that_its_topic_refuses_is_cut_and_else_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One is written as far as the topic takes it;
    what it takes in no size is counted, and the clicks go on.
    """
    log = FakeLog(
        {
            0: [FakeRecord(0, b"\xff" * 5000), good(1)],
            1: [FakeRecord(0, b"\xff" * 5000, b"k"), good(1)],
        }
    )
    r = rig(log, sink=FakeSink(bytes_max={b"u": 1000, b"k": -1}))
    await r.until(lambda: r.shards.at == {0: 2, 1: 2})
    assert r.shards.applied == {0: [1], 1: [1]}
    assert [len(record.value or b"") for record in r.sink.written] == [878]
    assert r.sink.header("__echorank.truncated.value") == ["5000"]
    assert r.count("dlq_refused_total", reason="undecodable") == 1
    assert "partition 1: the dead letter of offset 0 is not kept" in caplog.text
