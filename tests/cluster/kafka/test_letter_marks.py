"""Which dead letters are written, as a broker keeps it."""

from __future__ import annotations

import itertools
import time
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from actors.backoff import Backoff
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat
from actors.clock import SystemClock
from actors.errors import BrokerUnavailable, ConfigError
from actors.ingest.ingest import Ingest, IngestSettings
from cluster.broker.broker import Broker
from cluster.kafka import letter_marks
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, KafkaSink, producer
from cluster.kafka.letter_marks import KafkaLetterMarks
from cluster.kafka.log import KafkaLog
from cluster.kafka.topics import Topic, ensure_topics
from monitoring.metrics import Metrics
from tests.actors.ingest.ingest_fakes import FakeShards
from tests.cluster.kafka.topic_reader import records

pytestmark = pytest.mark.broker
numbers = itertools.count()
BAD = 30


@pytest.fixture
def topic(broker: Broker) -> tuple[KafkaAccess, str]:
    """A new topic and one for its dead letters."""
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    name = f"lettered-{next(numbers)}"
    with KafkaAdmin(access) as admin:
        wanted = [
            Topic(name=name, partitions=2, exact=True),
            Topic(name=f"{name}.dlq", partitions=1),
        ]
        ensure_topics(admin, wanted)
    return access, name


class Unready(KafkaLetterMarks):
    """Marks that are had once these failures have passed."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def _load(self) -> dict[int, int]:
        if self.failures:
            raise self.failures.pop(0)
        return {0: 17}


def test_marks_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While no broker answers and for as long as the patience lasts; what does not pass ends it."""
    down = BrokerUnavailable("nobody answers")
    monkeypatch.setattr(letter_marks, "BACKOFF", Backoff(min_s=0, max_s=0))
    assert Unready(down, down).load() == {0: 17}
    with pytest.raises(ConfigError, match="no such group"):
        Unready(down, ConfigError("no such group"), down).load()
    monkeypatch.setattr(letter_marks, "BACKOFF", Backoff(min_s=0, max_s=0, patience_s=0))
    with pytest.raises(BrokerUnavailable, match="nobody answers"):
        Unready(down).load()


def test_marks_outlive_their_process(topic: tuple[KafkaAccess, str]) -> None:
    """What one saves the next one loads; a group that never saved has none;
    other topics are not mixed in.
    """
    access, name = topic
    errors: list[Exception] = []
    with closing(KafkaLetterMarks(access, topic=name, group_id=f"{name}.marks")) as marks:
        assert marks.load() == {}
        marks.save({0: 17, 1: 4}, errors.append)
        deadline = time.monotonic() + 20
        while marks.load() != {0: 17, 1: 4}:
            assert time.monotonic() < deadline, errors
    with closing(KafkaLetterMarks(access, topic=name, group_id=f"{name}.marks")) as again:
        assert again.load() == {0: 17, 1: 4}
    with closing(KafkaLetterMarks(access, topic=f"{name}.dlq", group_id=f"{name}.marks")) as other:
        assert other.load() == {}


async def test_three_processes_write_each_letter_once(topic: tuple[KafkaAccess, str]) -> None:
    """Each reads from the log's start, as for a state that is made anew."""
    access, name = topic
    with producer(access) as writer:
        for number in range(BAD):
            writer.send(name, b"\xff", key=b"u", partition=number % 2)
        writer.flush(20)
    for _ in range(3):
        await read_all(access, name)
    letters = records(access, f"{name}.dlq", BAD + 1, 1)
    found = [dict(letter.headers) for letter in letters]
    at = [(one["__streams.errors.partition"], int(one["__streams.errors.offset"])) for one in found]
    assert sorted(at) == [
        (partition, offset) for partition in (b"0", b"1") for offset in range(BAD // 2)
    ]


async def read_all(access: KafkaAccess, name: str) -> None:
    """A process of its own: reads everything once, and ends without a word."""
    metrics = Metrics(CollectorRegistry())
    clock = SystemClock()
    log = KafkaLog(access, topic=name, poll_timeout_ms=20, records_per_poll_max=7)
    sink = KafkaSink(access)
    marks = KafkaLetterMarks(access, topic=name, group_id=f"{name}.marks")
    with closing(log), closing(sink), closing(marks):
        letters = DeadLetters(
            sink, topic=f"{name}.dlq", source_topic=name, metrics=metrics, marks=marks
        )
        shards = FakeShards()
        settings = IngestSettings(commits=False)
        ingest = Ingest(
            log, letters, Decoder(EventFormat(), clock), shards, metrics, clock, settings
        )
        ingest.assign({0: 1, 1: 1})
        deadline = time.monotonic() + 30
        while shards.at != {0: BAD // 2, 1: BAD // 2}:
            assert time.monotonic() < deadline, shards.at
            await ingest.run_once()
        while marks.load() != {0: BAD // 2, 1: BAD // 2}:
            assert time.monotonic() < deadline, marks.load()
