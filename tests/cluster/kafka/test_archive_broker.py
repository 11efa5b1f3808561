"""The archive on a real broker, killed again and again, and read back by training."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.writer import Archive, RollSettings
from actors.clicks.click import Click
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat, encode
from actors.clock import SystemClock
from actors.errors import ArchiveError
from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.log import KafkaLog
from cluster.kafka.topics import Topic, ensure_topics
from monitoring.metrics import Metrics
from tests.actors.archive.archive_bench import offsets, ranges
from training.data import archive as archive_data

pytestmark = pytest.mark.broker

PARTITIONS = 3
CLICKS = 6000
KILLS = 3
TIME_MS = 1_700_000_000_000
WITHIN_S = 60.0


def open_log(servers: str, topic: str) -> KafkaLog:
    """The topic as the archive reads it, in small polls."""
    access = KafkaAccess(bootstrap_servers=servers)
    return KafkaLog(
        access,
        topic=topic,
        group_id="archive",
        poll_timeout_ms=50,
        records_per_poll_max=40,
        fetch_bytes_min=1 << 20,
    )


def open_archive(log: KafkaLog, root: str) -> Archive:
    """An archive of small files."""
    clock = SystemClock()
    metrics = Metrics(CollectorRegistry())
    settings = RollSettings(roll_s=0.2, roll_records=100)
    files = ArchiveFiles.from_uri(root)
    return Archive(
        log, Decoder(EventFormat(), clock), files, range(PARTITIONS), metrics, clock, settings
    )


def work(servers: str, topic: str, root: str) -> None:
    """Archive until killed; what fails is tried again."""
    archive = open_archive(open_log(servers, topic), root)
    while True:
        with suppress(ArchiveError):  # its successor tidied away what it was about to publish
            archive.run_once()


class Child(NamedTuple):
    """An archive in a process of its own."""

    process: BaseProcess

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for something that it does."""
        for _ in range(int(WITHIN_S / 0.02)):
            if done():
                return
            assert not wait([self.process.sentinel], 0.02), "the archive ended by itself"
        raise AssertionError(f"not done within {WITHIN_S} s")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid
        os.kill(self.process.pid, number)


@contextmanager
def child(*args: str) -> Iterator[Child]:
    """A child that is killed with SIGKILL at the end."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=args)
    process.start()
    try:
        yield Child(process)
    finally:
        process.kill()
        process.join(30)
        assert process.exitcode == -9


def more(broker: Broker, topic: str, first: int) -> None:
    """Ten more clicks in each partition."""
    with producer(KafkaAccess(bootstrap_servers=broker.bootstrap_servers)) as writer:
        for n in range(first, first + 10 * PARTITIONS):
            writer.send(
                topic,
                encode(click(n), EventFormat()),
                key=click(n).user.encode(),
                partition=n % PARTITIONS,
            )
        writer.flush(20)


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of its own with every tenth record unusable, and clicks numbered by their time."""
    name = f"archived-{uuid.uuid4().hex[:8]}"
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, [Topic(name=name, partitions=PARTITIONS)])
    with producer(access) as writer:
        for n in range(CLICKS):
            value = b"\xff" if n % 10 == 9 else encode(click(n), EventFormat())
            writer.send(name, value, key=click(n).user.encode(), partition=n % PARTITIONS)
        writer.flush(20)
    return name


def click(n: int) -> Click:
    """The n-th click, which lies in partition n mod PARTITIONS."""
    return Click(f"user-{n % 7}", f"item-{n % 50}", "click" if n % 2 else "buy", TIME_MS + n)


def test_every_offset_is_archived_once_whatever_is_killed(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    """After SIGKILLs in the middle, ranges follow each other without gap or
    overlap, and hold what was produced.
    """
    args = (broker.bootstrap_servers, topic, str(tmp_path))
    for kill in range(1, KILLS + 1):
        enough = kill * CLICKS // PARTITIONS // (KILLS + 1)
        with child(*args) as archive:
            archive.until(
                lambda enough=enough: any(
                    ranges(tmp_path, p)[-1:] >= [(enough, 0)] for p in range(PARTITIONS)
                )
            )
    end = CLICKS // PARTITIONS
    with child(*args) as archive:
        archive.until(lambda: complete(tmp_path, end))
    assert_archived_once(tmp_path)


def complete(root: Path, end: int) -> bool:
    """Whether every partition is archived up to `end`."""
    return all(ranges(root, p)[-1:] and ranges(root, p)[-1][1] == end for p in range(PARTITIONS))


def assert_archived_once(root: Path) -> None:
    """Ranges follow each other without gap or overlap, and hold what was produced."""
    for partition in range(PARTITIONS):
        found = ranges(root, partition)
        assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    ends = [ranges(root, partition)[-1][1] * PARTITIONS for partition in range(PARTITIONS)]
    produced = [
        n
        for p in range(PARTITIONS)
        for n in range(p, ends[p], PARTITIONS)
        if n % 10 != 9 or n >= CLICKS
    ]
    log = archive_data.read(str(root))
    found_clicks = list(zip(log.users, log.items, log.actions, log.times_ms.tolist(), strict=True))
    assert found_clicks == [tuple(click(n)) for n in produced]
    assert offsets(root, 0) == [n // PARTITIONS for n in produced if n % PARTITIONS == 0]


def test_a_zombie_that_wakes_overlaps_nothing(broker: Broker, topic: str, tmp_path: Path) -> None:
    """An archive is stopped in the middle (SIGSTOP), its successor archives on;
    awake again, it goes on behind that.
    """
    args = (broker.bootstrap_servers, topic, str(tmp_path))
    end = CLICKS // PARTITIONS
    with child(*args) as zombie:
        zombie.until(lambda: all(ranges(tmp_path, p) for p in range(PARTITIONS)))
        zombie.signal(signal.SIGSTOP)
        asleep_at = [ranges(tmp_path, p)[-1][1] for p in range(PARTITIONS)]
        with child(*args) as successor:
            successor.until(lambda: complete(tmp_path, end))
        assert min(asleep_at) < end
        more(broker, topic, CLICKS)
        zombie.signal(signal.SIGCONT)
        zombie.until(lambda: complete(tmp_path, end + 10))
    more_clicks = {end + n for n in range(10)}
    assert set(offsets(tmp_path, 1)) >= more_clicks
    assert_archived_once(tmp_path)


def test_offsets_deleted_by_retention_leave_a_gap(
    broker: Broker, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lost range is logged, and the names show it."""
    if broker.kind != "apache":
        pytest.skip("the embedded broker deletes nothing; set KAFKA_HOME")
    with closing(open_log(broker.bootstrap_servers, topic)) as log:
        archive = open_archive(log, str(tmp_path))
        while (read := archive.run_once()) == 0:
            pass
        archive.flush()
    assert read
    admin = KafkaAdminClient(**KafkaAccess(bootstrap_servers=broker.bootstrap_servers).options())
    admin.delete_records(
        {TopicPartition(topic, partition): 1500 for partition in range(PARTITIONS)}
    )
    admin.close()
    end = CLICKS // PARTITIONS
    with closing(open_log(broker.bootstrap_servers, topic)) as log:
        archive = open_archive(log, str(tmp_path))
        for _ in range(1000):
            archive.run_once()
            archive.flush()
            if all((ranges(tmp_path, p) or [(0, 0)])[-1][1] == end for p in range(PARTITIONS)):
                break
    assert all(1500 in {start for start, _ in ranges(tmp_path, p)} for p in range(PARTITIONS))
    assert "to 1499, which the archive does not hold" in caplog.text
