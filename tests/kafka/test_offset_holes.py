"""Offsets without a click behind them: transaction markers,
aborted and open transactions, compaction.
"""

from __future__ import annotations

import asyncio

import pytest

from actors.clock import SystemClock
from cluster.kafka.clients import producer
from cluster.kafka.log_watch import watch_kafka
from tests.kafka.click_path import acknowledged, click, read
from tests.kafka.conftest import Scene

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


async def test_transactions_count_once_committed(scene: Scene) -> None:
    """Committed clicks are applied, aborted ones never;
    markers take offsets that nothing waits for.
    """
    topic = scene.topic()
    committed = []
    with producer(scene.access, transactional_id=topic) as writer:
        writer.init_transactions()
        for first in range(0, 200, 10):
            writer.begin_transaction()
            sent = [
                (n, writer.send(topic, click(n)[1], key=click(n)[0]))
                for n in range(first, first + 10)
            ]
            writer.flush(20)
            if first % 20:
                writer.abort_transaction()
            else:
                writer.commit_transaction()
                committed += [acknowledged(future.value.offset, number) for number, future in sent]
    async with scene.path(topic, records_per_poll_max=7) as path:
        await path.reach(220)  # 200 clicks, 20 markers
        await path.until(lambda: path.ingest.lags() == {0: 0})  # once the shard's answer is heard
        assert path.sample("events_total", partition="0", outcome="applied") == 100
        assert path.digests() == path.clean(committed)


async def test_an_open_transaction_holds_the_partition_back(scene: Scene) -> None:
    """Nothing behind its first record can be read, not even what others wrote,
    until it ends; a metric says so.
    """
    topic = scene.topic()
    async with scene.path(topic) as path:
        watch = watch_kafka(scene.access, topic, 1, [0], path.metrics, SystemClock())
        with (
            producer(scene.access, transactional_id=topic) as slow,
            producer(scene.access) as other,
        ):
            slow.init_transactions()
            other.send(topic, click(0)[1], key=click(0)[0]).get(10)
            slow.begin_transaction()
            slow.send(topic, click(1)[1], key=click(1)[0]).get(10)
            for number in range(2, 50):
                other.send(topic, click(number)[1], key=click(number)[0])
            other.flush(20)
            await path.until(lambda: path.ingest.lags() == {0: 49})
            await asyncio.to_thread(watch.look)
            assert path.sample("log_held_back_records", partition="0") == 49
            assert path.positions() == [1]
            slow.commit_transaction()
            await path.reach(51)
        await asyncio.to_thread(watch.look)
        assert path.sample("log_held_back_records", partition="0") == 0
        assert path.digests() == path.clean([acknowledged(n, n) for n in range(50)])
        watch.close()


async def test_a_transaction_whose_producer_died_is_aborted(stage: Scene) -> None:
    """It holds the partition back for its own time-out at most; its clicks never count."""
    topic = stage.topic()
    async with stage.path(topic) as path:
        dead = producer(stage.access, transactional_id=topic, transaction_timeout_ms=1500)
        dead.init_transactions()
        dead.begin_transaction()
        dead.send(topic, click(0)[1], key=click(0)[0]).get(10)
        with producer(stage.access) as other:
            other.send(topic, click(1)[1], key=click(1)[0]).get(10)
        assert path.positions() == [0]
        await path.reach(3)  # the aborted click, the other's, the marker
        assert path.digests() == path.clean([acknowledged(1, 1)])
        dead.close()


async def test_a_compacted_topic_keeps_each_keys_newest_click(stage: Scene) -> None:
    """Holes of compaction stall nothing;
    but what compaction removed is lost to whoever comes later.

    So a topic of clicks must not be compacted: a state that was folded before differs from one
    folded after.
    """
    options = {
        "segment_ms": 200,
        "min_cleanable_dirty_ratio": 0.01,
        "min_compaction_lag_ms": 3_600_000,
    }
    topic = stage.topic(nodes=[1], cleanup_policy="compact", **options)
    async with stage.path(topic) as path:
        with producer(stage.access) as writer:
            for start in range(0, 400, 100):
                for number in range(start, start + 100):
                    writer.send(topic, click(number)[1], key=click(number)[0])
                writer.flush(20)
                await path.reach(start + 100)
        assert path.digests() == path.clean([acknowledged(n, n) for n in range(400)])
        # not before: a slow reader would find holes already
        stage.configure(topic, min_compaction_lag_ms=0)
        number = 400
        with producer(stage.access) as writer:  # segments roll when something is written
            while len(left := await asyncio.to_thread(read, stage.access, topic)) > number - 200:
                writer.send(topic, click(number)[1], key=click(number)[0]).get(10)
                number += 1
                await path.reach(number)
    async with stage.path(topic, root=stage.root / "late", records_per_poll_max=7) as late:
        end = number
        await late.until(lambda: late.positions() == [end])
        left = await asyncio.to_thread(read, stage.access, topic)
        assert len(left) < end - 200
        assert late.digests() == late.clean(left)
        assert late.digests() != path.digests()
