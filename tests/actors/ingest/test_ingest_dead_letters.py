"""Dead letters of ingest: durable before their batch, once, and no longer than the topic takes."""

from __future__ import annotations

from actors.errors import (
    BrokerUnavailable,
)
from tests.actors.ingest.ingest_fakes import FakeLog, FakeRecord, FakeShards, FakeSink, bad, good
from tests.actors.ingest.ingest_rig import DOWN, clicks, rig


async def test_dead_letters_are_durable_before_the_batch_is_applied() -> None:
    """A bad record is written with its reason first; then the batch around it is applied."""
    r = rig(FakeLog({3: [good(0), bad(1), FakeRecord(2, None), good(3)]}))
    await r.until(lambda: r.shards.at == {3: 4})
    assert r.shards.journal == ["dead 2", "deliver 3 0..4"]
    assert r.shards.applied == {3: [0, 3]}
    assert [(record.key, record.value) for record in r.sink.written] == [
        (b"u", b"\xff"),
        (b"u", None),
    ]
    assert r.sink.header("__streams.errors.exception") == [
        "BadRecord.undecodable",
        "BadRecord.empty_value",
    ]
    assert r.sink.header("__streams.errors.topic") == ["clicks", "clicks"]
    assert r.sink.header("__streams.errors.partition") == ["3", "3"]
    assert r.sink.header("__streams.errors.offset") == ["1", "2"]
    assert "no echorank.v1.Click" in r.sink.header("__streams.errors.message")[0]
    assert (
        r.count("dlq_total", reason="undecodable")
        == r.count("dlq_total", reason="empty_value")
        == 1
    )
    assert r.count("events_total", partition="3", outcome="dead_letter") == 2


async def test_nothing_is_applied_while_its_dead_letters_cannot_be_written() -> None:
    """With the dead-letter topic down, the partition waits and the others flow;
    then each letter is there once.
    """
    log = FakeLog({0: [good(0), bad(1), good(2)], 1: clicks(3)})
    r = rig(log, sink=FakeSink(faults=[BrokerUnavailable("no dlq")] * 3))
    await r.until(lambda: not r.sink.faults and r.shards.at.get(1) == 3, step_s=0.1)
    assert 0 not in r.shards.applied
    assert r.count("dlq_total", reason="undecodable") == 0
    await r.until(lambda: r.shards.at == {0: 3, 1: 3})
    assert r.shards.applied == {0: [0, 2], 1: [0, 1, 2]}
    assert r.sink.header("__streams.errors.offset") == ["1"]
    assert r.shards.journal.index("dead 1") < r.shards.journal.index("deliver 0 0..3")


async def test_dead_letters_are_not_repeated_when_a_batch_is_sent_again() -> None:
    """A shard that refuses a batch four times does not multiply its dead letters."""
    r = rig(FakeLog({0: [bad(0), good(1)]}), FakeShards(faults={0: [DOWN] * 4}))
    await r.until(lambda: r.shards.at == {0: 2})
    assert r.sink.header("__streams.errors.offset") == ["0"]


async def test_an_oversized_dead_letter_is_cut_and_says_so() -> None:
    """Value and key are cut to what the topic takes; a header gives the original length."""
    log = FakeLog({0: [FakeRecord(0, b"v" * 1_000_000, b"k" * 500_000)]})
    r = rig(log)
    await r.until(lambda: r.shards.at == {0: 1})
    [record] = r.sink.written
    assert (len(record.value or b""), len(record.key or b"")) == (450_000, 450_000)
    assert r.sink.header("__echorank.truncated.value") == ["1000000"]
    assert r.sink.header("__echorank.truncated.key") == ["500000"]
