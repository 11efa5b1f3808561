"""Logs that do not hold what the states stand on: deleted by retention, made anew, cut off."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest
from kafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.clicks.codec import Decoder
from actors.clock import SystemClock
from actors.errors import ConfigError
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.log import KafkaLog
from cluster.kafka.topic_identity import TopicIdentity
from cluster.kafka.topics import warn_of_lossy_settings
from monitoring.metrics import Metrics
from tests.kafka.click_path import FORMAT, ClickPath, acknowledged, click, read
from tests.kafka.cluster_of_brokers import ClusterOfBrokers
from tests.kafka.conftest import Scene

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def send(scene: Scene, topic: str, numbers: range, **options: object) -> None:
    """Write these clicks to partition 0, each acknowledged."""
    with producer(scene.access, **options) as writer:
        sent = [
            writer.send(topic, value, key=key, partition=0) for key, value in map(click, numbers)
        ]
        writer.flush(20)
        for future in sent:
            future.get(1)


def recreate(scene: Scene, topic: str) -> None:
    """Delete the topic and make another one of that name."""
    with scene.admin() as admin:
        admin.delete_topics([topic])
    with KafkaAdmin(scene.access) as admin:
        deadline = time.monotonic() + 20
        while admin.partitions(topic) is not None:
            assert time.monotonic() < deadline, f"{topic} is still there"
    scene.make(topic)


def stands_still(path: ClickPath, error: str) -> bool:
    """Whether ingest has refused to read on more than once."""
    return path.sample("ingest_retries_total", error=error) >= 2


async def test_retention_shorter_than_the_age_of_the_snapshot(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What the log lost between the snapshot and its start is counted and
    logged; reading goes on behind it.
    """
    topic = scene.topic()
    send(scene, topic, range(100))
    async with scene.path(topic) as path:
        await path.reach(100)
        path.shard.snapshot(0)
        send(scene, topic, range(100, 200))
        await path.reach(200)
    with scene.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 150})
    send(scene, topic, range(200, 250))
    async with scene.path(topic) as path:
        assert path.positions() == [100]
        await path.reach(250)
        assert path.sample("events_total", partition="0", outcome="lost") == 50
        assert path.digests() == path.clean(
            [acknowledged(n, n) for n in range(250) if not 100 <= n < 150]
        )
    assert "50 offsets from 100 on are gone from the log" in caplog.text


async def test_the_archive_has_what_the_log_lost(scene: Scene) -> None:
    """Deleted from Kafka below the snapshot's end, kept in the archive:
    the states come out as if nothing was lost.
    """
    topic = scene.topic()
    kept = ArchiveFiles.from_uri(str(scene.root / "archive"))
    send(scene, topic, range(200))
    await asyncio.to_thread(archive, scene, topic, kept, 200)
    with scene.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 150})
    send(scene, topic, range(200, 250))
    async with scene.path(topic, history=ArchiveReader(kept, batch_clicks=64)) as path:
        await path.reach(250)
        assert path.sample("events_total", partition="0", outcome="lost") == 0
        assert path.digests() == path.clean([acknowledged(n, n) for n in range(250)])


def archive(scene: Scene, topic: str, files: ArchiveFiles, clicks: int) -> None:
    """Write so many clicks of the topic to the archive."""
    clock = SystemClock()
    metrics = Metrics(CollectorRegistry())
    log = KafkaLog(scene.access, topic=topic, poll_timeout_ms=20, records_per_poll_max=500)
    with closing(log):
        writer = Archive(log, Decoder(FORMAT, clock), files, [0], metrics, clock, RollSettings())
        read = 0
        while read < clicks:
            read += writer.run_once()
        writer.flush()


async def test_records_deleted_under_a_reader(scene: Scene) -> None:
    """A reader that is slower than retention goes on at the log's start,
    and what it missed is counted.
    """
    topic = scene.topic(2)
    send(scene, topic, range(100))
    with scene.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 60})
    async with scene.path(topic, partitions=2) as path:
        await path.reach(100, 0)
        assert path.sample("events_total", partition="0", outcome="lost") == 60
        assert path.digests() == path.clean(read(scene.access, topic), [])


async def test_a_shorter_topic_of_the_same_name(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is read from a log that ended before the states,
    however it grows: they keep their bytes.
    """
    topic = scene.topic()
    send(scene, topic, range(100))
    async with scene.path(topic) as path:
        await path.reach(100)
        path.shard.snapshot(0)
    recreate(scene, topic)
    send(scene, topic, range(1000, 1010))
    async with scene.path(topic) as path:
        before = path.digests()
        await path.until(lambda: stands_still(path, "OtherLog"))
        send(scene, topic, range(1010, 1200))
        await path.until(lambda: path.sample("ingest_retries_total", error="OtherLog") >= 5)
        assert path.digests() == before
    assert "the log was cut off at offset 10," in caplog.text


async def test_a_longer_topic_of_the_same_name(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Offsets alone would fit, so the topic's id is compared: at start,
    when a reader is built, and while it reads.
    """
    topic = scene.topic()
    identity = TopicIdentity(str(scene.root))
    with KafkaAdmin(scene.access) as admin:
        identity.confirm(topic, admin.topic_id(topic))
    send(scene, topic, range(100))
    async with scene.path(topic) as path:
        await path.reach(100)
        path.shard.snapshot(0)
        recreate(scene, topic)
        send(scene, topic, range(1000, 1200))
        before = path.digests()
        await path.until(lambda: stands_still(path, "OtherLog"))
        assert path.digests() == before
    assert f"topic {topic} was made anew" in caplog.text
    async with scene.path(topic, topic_id=identity.load()) as path:
        await path.until(lambda: stands_still(path, "OtherLog"))
        assert path.digests() == before
    with (
        KafkaAdmin(scene.access) as admin,
        pytest.raises(ConfigError, match="it is another log, or was deleted"),
    ):
        identity.confirm(topic, admin.topic_id(topic))


async def test_an_unclean_election_cuts_the_log_off(
    cluster: ClusterOfBrokers, stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """States that hold clicks which the log has lost stand still,
    also when it has grown beyond them with others.
    """
    topic = stage.topic(nodes=[1, 2], min_insync_replicas=1, unclean_leader_election_enable=True)
    with KafkaAdmin(stage.access) as admin:
        warn_of_lossy_settings(admin, topic)
    assert f"topic {topic} has unclean.leader.election.enable=true" in caplog.text
    send(stage, topic, range(100))
    async with stage.path(topic) as path:
        await path.reach(100)
        await asyncio.to_thread(cluster.kill, 2)
        await asyncio.to_thread(send, stage, topic, range(100, 150), acks=1)
        await path.reach(150)
        await asyncio.to_thread(cluster.kill, 1)
        cluster.launch(2)
        await asyncio.to_thread(cluster.wait, 2)
        assert await asyncio.to_thread(lambda: cluster.leader(topic, other_than=1)) == 2
        before = path.digests()
        await asyncio.to_thread(send, stage, topic, range(1000, 1100))
        await path.until(lambda: stands_still(path, "OtherLog"))
        assert path.positions() == [150]
        assert path.digests() == before
    assert "the log was cut off at offset 100" in caplog.text
