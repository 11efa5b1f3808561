"""Offsets that the log has lost: filled from the archive, in order and once;
skipped only where that has none.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from actors.archive.reader import ArchiveReader
from actors.backoff import Backoff
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import ArchiveError, NotOwner, ShardUnavailable
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.ports import ClickHistory
from monitoring.metrics import Metrics
from tests.actors.archived_clicks import add, archive
from tests.actors.ingest.fake_history import FakeHistory
from tests.actors.ingest.ingest_fakes import (
    NOW_MS,
    AfterEffect,
    FakeLog,
    FakeRecord,
    FakeShards,
    FakeSink,
    good,
)

DOWN = ShardUnavailable("shard-0 is down")
PATIENCE_S = 100.0


@dataclass
class Rig:
    """An ingest of partition 0, whose log starts at `earliest` and holds `count` offsets."""

    log: FakeLog
    shards: FakeShards
    clock: ManualClock
    registry: CollectorRegistry
    ingest: Ingest

    async def until(self, position: int, rounds: int = 300, step_s: float = 1.0) -> None:
        """Work until the shard is there; calls end before time goes on."""
        for _ in range(rounds):
            if self.shards.at.get(0) == position:
                return
            await self.ingest.run_once()
            if calls := [lane.task for lane in self.ingest._lanes.values() if lane.task]:
                await asyncio.wait(calls, timeout=10)
            self.clock.advance(step_s)
        raise AssertionError(f"at {self.shards.at}, not at {position}: {self.shards.journal}")


def rig(
    history: ClickHistory | None, *, earliest: int, count: int, shards: FakeShards | None = None
) -> Rig:
    """An ingest with a history, under epoch 1."""
    records: list[FakeRecord | None] = [good(at) for at in range(count)]
    log = FakeLog({0: records}, records_per_poll=4, starts={0: earliest})
    shards = shards or FakeShards()
    clock = ManualClock(NOW_MS)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    letters = DeadLetters(FakeSink(), topic="clicks.dlq", source_topic="clicks", metrics=metrics)
    patience = IngestSettings(backoff=Backoff(min_s=0.5, max_s=8.0), history_patience_s=PATIENCE_S)
    ingest = Ingest(
        log,
        letters,
        Decoder(EventFormat(), clock),
        shards,
        metrics,
        clock,
        patience,
        history=history,
    )
    ingest.assign({0: 1})
    return Rig(log, shards, clock, registry, ingest)


async def test_a_lost_range_comes_from_the_archive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Real files: their clicks are applied in order, in bounded batches,
    and the log goes on behind them.
    """
    add(tmp_path, 0, 20, holes=[7])
    add(tmp_path, 20, 45)
    history = ArchiveReader(archive(tmp_path), batch_clicks=6)
    r = rig(history, earliest=30, count=40, shards=FakeShards(starts={0: 3}))
    with caplog.at_level(logging.WARNING):
        await r.until(40)
    assert r.shards.applied[0] == [at for at in range(3, 40) if at != 7]
    assert r.shards.skipped == []
    assert (
        "26 clicks of the offsets 3 to 29, which the log has lost, came from the archive"
        in caplog.text
    )


async def test_what_the_archive_lacks_too_is_skipped_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the missing part is skipped and counted by the shard; the log names it."""
    r = rig(FakeHistory({2, 3, 4, 8, 9, 10, 11}, stop=12), earliest=10, count=12)
    with caplog.at_level(logging.ERROR):
        await r.until(12)
    assert r.shards.applied[0] == [2, 3, 4, 8, 9, 10, 11]
    assert r.shards.skipped == [(0, 0, 2), (0, 5, 8)]
    assert (
        "lost the offsets from 5 to 7, which the state does not hold, and the archive lacks them "
        "too"
    ) in caplog.text


async def test_an_archive_that_lags_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """It reads the same log and writes later:
    what it has not written yet is not skipped at once.
    """
    history = FakeHistory(set(range(5)), stop=5)
    r = rig(history, earliest=9, count=12)
    with pytest.raises(AssertionError, match="not at 12"):
        await r.until(12, rounds=int(PATIENCE_S / 2))
    assert r.shards.skipped == []
    assert "the archive ends at 5: waiting for it" in caplog.text
    history.held = set(range(9))
    history.stop = 9
    await r.until(12)
    assert r.shards.applied[0] == list(range(12))
    assert r.shards.skipped == []


@pytest.mark.parametrize("end", [0, 5])
async def test_an_archive_that_never_comes_is_waited_for_no_longer_than_the_patience(
    end: int,
) -> None:
    """An archive that is empty, or was turned off long ago,
    does not hold the partition up for ever.
    """
    r = rig(FakeHistory(set(range(end)), stop=end), earliest=9, count=12)
    await r.until(12)
    assert r.shards.applied[0] == [*range(end), 9, 10, 11]
    assert r.shards.skipped == [(0, end, 9)]
    assert PATIENCE_S <= r.clock.monotonic() < PATIENCE_S + 30


async def test_an_archive_that_cannot_be_read_is_tried_again_without_end() -> None:
    """Skipping would lose what it holds."""
    faults: list[Exception | None] = [ArchiveError("s3 does not answer")] * 40
    r = rig(FakeHistory(set(range(9)), stop=9, faults=faults), earliest=9, count=12)
    await r.until(12, rounds=2000)
    assert r.shards.applied[0] == list(range(12))
    assert r.clock.monotonic() > 2 * PATIENCE_S
    assert (
        r.registry.get_sample_value("echorank_ingest_retries_total", {"error": "ArchiveError"})
        == 40
    )


async def test_a_partition_that_is_filled_does_not_hold_up_the_others() -> None:
    """Filling takes place in its own lane."""
    r = rig(FakeHistory(set(), stop=0), earliest=9, count=12)
    r.log.partitions[1] = [good(at) for at in range(40)]
    r.ingest.assign({0: 1, 1: 1})
    for _ in range(30):
        await r.ingest.run_once()
    assert r.shards.applied == {1: list(range(40))}


faulty = st.sampled_from([None, DOWN, NotOwner("moved"), AfterEffect(DOWN)])


@settings(max_examples=80, deadline=None)
@given(
    held=st.sets(st.integers(0, 29)),
    start=st.integers(0, 20),
    earliest=st.integers(0, 25),
    batch=st.integers(1, 7),
    faults=st.lists(faulty, max_size=8),
    history_faults=st.lists(st.sampled_from([None, ArchiveError("no answer")]), max_size=4),
)
async def test_any_faults_give_each_kept_click_once(
    held: set[int],
    start: int,
    earliest: int,
    batch: int,
    faults: list[Exception | None],
    history_faults: list[Exception | None],
) -> None:
    """Whatever fails: what log or archive hold is applied once and in order,
    and the rest is skipped once.
    """
    shards = FakeShards(starts={0: start}, faults={0: list(faults)})
    r = rig(
        FakeHistory(held, 30, batch, list(history_faults)),
        earliest=earliest,
        count=30,
        shards=shards,
    )
    await r.until(30)
    from_log = max(start, earliest)
    assert shards.applied.get(0, []) == [
        at for at in range(start, 30) if at in held or at >= from_log
    ]
    skipped = [at for _, first, stop in shards.skipped for at in range(first, stop)]
    assert skipped == [at for at in range(start, from_log) if at not in held]
