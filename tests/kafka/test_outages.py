"""Brokers that restart, die, hang or cannot be reached, under load:
no click is lost, none counts twice.
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from actors.clicks.dead_letter import OutRecord
from actors.clock import SystemClock
from actors.errors import BrokerUnavailable
from cluster.kafka import clients as kafka_clients
from cluster.kafka import log as kafka_log
from cluster.kafka.clients import KafkaSink, producer
from cluster.kafka.log_watch import INTERVAL_S, SILENT_S, watch_kafka
from cluster.wiring.real import RealThreads
from tests.cluster.kafka.topic_reader import records
from tests.kafka.click_path import ClickPath, click, number_of, read
from tests.kafka.cluster_of_brokers import ClusterOfBrokers
from tests.kafka.conftest import Scene
from tests.kafka.load import Load

# "Unreachable for a minute" lasts as long as it says with this set, with the default time-outs;
# else a few seconds.
MINUTE = bool(os.environ.get("ECHORANK_KAFKA_MINUTE"))

# A producer that waits for 3 s at most and tries once. An idempotent one would do, but
# kafka-python's never sends anything again once a batch has expired.
HASTY = {"delivery_timeout_ms": 3000, "retries": 0, "enable_idempotence": False}

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def quick_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that look for new leaders every second instead of every five."""
    for module in (kafka_clients, kafka_log):
        monkeypatch.setattr(module, "METADATA_AGE_MS", 1000)


async def settle(path: ClickPath, load: Load) -> None:
    """Let the producer finish and the path catch up;
    every click must have been acknowledged, and count once.
    """
    await asyncio.to_thread(load.stop)
    assert load.failed == []
    acknowledged = [load.records(partition) for partition in range(path.partitions)]
    await path.reach(*[found[-1].offset + 1 for found in acknowledged])
    assert path.digests() == path.clean(*acknowledged)
    assert path.sample("events_total", partition="0", outcome="lost") == 0


async def advance(path: ClickPath, clicks: int = 200, within_s: float = 30.0) -> None:
    """Let every partition move on by so many clicks."""
    wanted = [position + clicks for position in path.positions()]
    await path.until(
        lambda: all(now >= then for now, then in zip(path.positions(), wanted, strict=True)),
        within_s,
    )


async def test_a_broker_restarts_under_load(cluster: ClusterOfBrokers, stage: Scene) -> None:
    """Reading stops while the only copy's broker is away and goes on by itself,
    after SIGTERM and after SIGKILL.
    """
    topic = stage.topic(2, nodes=[2])
    async with stage.path(topic, partitions=2) as path:
        with Load(stage.access, topic) as load:
            await advance(path)
            for end in (cluster.terminate, cluster.kill):
                await asyncio.to_thread(end, 2)
                cluster.launch(2)
                await asyncio.to_thread(cluster.wait, 2)
                await advance(path)
            await settle(path, load)


async def test_the_leader_is_killed(cluster: ClusterOfBrokers, stage: Scene) -> None:
    """Another in-sync replica takes over in the time of a broker's
    session, and reading follows it.
    """
    topic = stage.topic(2, nodes=[1, 2, 3], min_insync_replicas=2)
    async with stage.path(topic, partitions=2) as path:
        with Load(stage.access, topic) as load:
            await advance(path)
            await asyncio.to_thread(cluster.kill, 1)
            assert await asyncio.to_thread(lambda: cluster.leader(topic, other_than=1)) != 1
            await advance(path)
            cluster.launch(1)
            await asyncio.to_thread(cluster.wait, 1)
            await settle(path, load)


async def test_the_leader_hangs(
    cluster: ClusterOfBrokers, stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that keeps its connections and says nothing holds readers up for seconds,
    not for a request's time-out: also if it was just asked who leads.

    It wakes up later as a follower, and what it still sends counts for nothing.
    """
    monkeypatch.setattr(kafka_log, "PAUSE_S", -1.0)  # such a question is nearly always open
    access = cluster.access(request_timeout_s=120.0)  # an election takes long on a busy machine
    topic = stage.topic(2, nodes=[2, 3, 1], min_insync_replicas=2)
    async with stage.path(topic, access=access, partitions=2) as path:
        with Load(stage.access, topic) as load:
            await advance(path)
            cluster.freeze(2)
            await advance(path, within_s=access.request_timeout_s / 2)
            cluster.thaw(2)
            await advance(path)
            await settle(path, load)


async def test_no_group_coordinator(cluster: ClusterOfBrokers, stage: Scene) -> None:
    """Offsets are committed for lag tools alone: without a coordinator,
    commits fail and are counted, no more.
    """
    first = stage.topic(nodes=[1])
    async with stage.path(first) as path:  # its commits make __consumer_offsets
        await path.until(lambda: "__consumer_offsets" in topics(stage))
    coordinator = await asyncio.to_thread(cluster.leader, "__consumer_offsets")
    topic = stage.topic(nodes=[coordinator % 3 + 1])
    async with stage.path(topic) as path:
        with Load(stage.access, topic) as load:
            await advance(path)
            await asyncio.to_thread(cluster.kill, coordinator)
            await path.until(lambda: path.sample("commit_failures_total") >= 3)
            await advance(path, clicks=2000)
            cluster.launch(coordinator)
            await asyncio.to_thread(cluster.wait, coordinator)
            await settle(path, load)
        path.shard.snapshot(0)
        reader = KafkaConsumer(**stage.access.options(), group_id=topic, enable_auto_commit=False)
        try:
            await path.until(
                lambda: reader.committed(TopicPartition(topic, 0)) == path.positions()[0]
            )
        finally:
            reader.close()


def topics(stage: Scene) -> set[str]:
    """The names of all topics."""
    with stage.admin() as admin:
        return {found["name"] for found in admin.describe_topics()}


async def test_unreachable_for_a_minute(
    cluster: ClusterOfBrokers, stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing answers, then nobody listens: states stand still,
    a metric and the log say so, and then all goes on.

    A producer that may wait longer than the outage loses nothing. One that may not is told which
    clicks failed, and each of those is in the log once or not at all.
    """
    outage_s = 60.0 if MINUTE else SILENT_S + 3
    access = cluster.access(proxied=True, **({} if MINUTE else {"request_timeout_s": 2.0}))
    topic = stage.topic(2, nodes=[1, 2, 3], min_insync_replicas=2)
    async with stage.path(topic, access=access, partitions=2) as path:
        watch = watch_kafka(access, topic, 2, range(2), path.metrics, SystemClock())
        stop_watching = RealThreads().repeat(watch.look, INTERVAL_S, "log-watch")
        with (
            Load(access, topic, delivery_timeout_ms=240_000) as patient,
            Load(access, topic, first=10_000_000, per_pause=2, **HASTY) as hasty,
        ):
            await advance(path)
            stops_s = time.monotonic() + outage_s
            for proxy in cluster.proxies.values():
                proxy.be("hold")
            await path.until(lambda: time.monotonic() > stops_s - outage_s / 2, outage_s)
            stood = path.positions()
            for proxy in cluster.proxies.values():
                proxy.be("refuse")
            await path.until(lambda: time.monotonic() > stops_s, outage_s)
            await path.until(
                lambda: "nobody has said for 10 s where partitions [0, 1] end" in caplog.text
            )
            assert path.positions() == stood
            assert path.sample("log_silence_seconds", partition="1") > SILENT_S
            for proxy in cluster.proxies.values():
                proxy.be("pass")
            await advance(path)
            await asyncio.to_thread(hasty.stop)
            await asyncio.to_thread(patient.stop)
        stop_watching()
        assert patient.failed == []
        assert hasty.failed
        found = [read(stage.access, topic, partition) for partition in range(2)]
        await path.reach(*[records[-1].offset + 1 for records in found])
        assert path.digests() == path.clean(*found)
        assert path.sample("log_silence_seconds", partition="1") < SILENT_S
    in_log = sorted(number_of(record) for records in found for record in records)
    assert len(set(in_log)) == len(in_log)
    acknowledged = {
        number_of(r) for load in (patient, hasty) for p in range(2) for r in load.records(p)
    }
    assert acknowledged <= set(in_log) <= acknowledged | set(hasty.failed)


async def test_no_dead_letter_topic(cluster: ClusterOfBrokers, stage: Scene) -> None:
    """A partition whose bad record cannot be kept waits before it,
    with all that follows; the others do not.

    Once the topic is there, the letter is written and the clicks are applied.
    """
    topic = stage.topic(2, nodes=[1])
    letters = "letters-that-come-late"
    access = cluster.access(request_timeout_s=2.0)
    with producer(access) as writer:
        good = [click(number) for number in range(500)]
        for partition, (key, value) in (
            (0, good[0]),
            (0, (b"k", b"\xff")),
            (0, good[1]),
            *((1, one) for one in good),
        ):
            writer.send(topic, value, key=key, partition=partition)
    async with stage.path(topic, access=access, partitions=2, letters=letters) as path:
        await path.until(
            lambda: path.sample("ingest_retries_total", error="BrokerUnavailable") >= 1
        )
        await path.until(lambda: path.positions()[1] == 500, within_s=2.0)
        assert path.positions()[0] == 0
        stage.make(letters)
        await path.reach(3, 500)
        assert path.sample("dlq_total", reason="undecodable") == 1
        [letter] = [found for found in records(access, letters, 1) if found.value == b"\xff"]
        assert ("__streams.errors.offset", b"1") in letter.headers
        log = [record for record in read(access, topic) if record.value != b"\xff"]
        assert path.digests() == path.clean(log, read(access, topic, 1))


async def test_a_sink_survives_an_outage(cluster: ClusterOfBrokers, stage: Scene) -> None:
    """What EchoRank itself writes fails with BrokerUnavailable in the time of a
    request, and works again afterwards.
    """
    topic = stage.topic(nodes=[3])
    access = cluster.access(proxied=True, request_timeout_s=1.0)
    sink = await asyncio.to_thread(KafkaSink, access)
    record = OutRecord(key=b"k", value=b"v", headers=())
    sink.write(topic, [record])
    for how in ("hold", "refuse", "deaf"):
        cluster.proxies[3].be(how)
        for _ in range(2):
            started_s = time.monotonic()
            with pytest.raises(BrokerUnavailable, match=f"writing 1 records to topic {topic}"):
                sink.write(topic, [record])
            assert time.monotonic() - started_s < 5
        cluster.proxies[3].be("pass")
        assert any([await asyncio.to_thread(writes, sink, topic, record) for _ in range(10)]), how
    sink.close()


def writes(sink: KafkaSink, topic: str, record: OutRecord) -> bool:
    """Whether the sink can write."""
    try:
        sink.write(topic, [record])
    except BrokerUnavailable:
        return False
    return True
