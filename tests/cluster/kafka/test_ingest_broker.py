"""Ingest on a real broker: holes, bad records, refusals, compression, sizes, lost offsets."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.archive.writer import Archive, RollSettings
from actors.backoff import Backoff
from actors.clicks.click import Click
from actors.clicks.codec import Decoder
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat, encode
from actors.clock import SystemClock
from actors.errors import BrokerUnavailable, ShardUnavailable
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.ports import ClickHistory
from cluster.broker.broker import Broker, resolve
from cluster.broker.free_port import free_port
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, KafkaSink, producer
from cluster.kafka.log import KafkaLog
from cluster.kafka.topics import Topic, ensure_topics
from monitoring.metrics import Metrics
from tests.actors.ingest.ingest_fakes import FakeShards

pytestmark = pytest.mark.broker
numbers = itertools.count()


def click(user: str = "u") -> bytes:
    """A valid click of now."""
    return encode(Click(user, "item", "click", time.time_ns() // 1_000_000), EventFormat())


@dataclass
class Path:
    """The click's path on a broker: topics of its own, real clients, fake shards."""

    access: KafkaAccess
    clicks: str
    letters: str
    log: KafkaLog
    sink: KafkaSink
    shards: FakeShards = field(default_factory=FakeShards)
    history: ClickHistory | None = None

    def __post_init__(self) -> None:
        metrics = Metrics(CollectorRegistry())
        dead = DeadLetters(self.sink, topic=self.letters, source_topic=self.clicks, metrics=metrics)
        patience = IngestSettings(commit_interval_s=0.05, backoff=Backoff(min_s=0.01, max_s=0.1))
        clock = SystemClock()
        decoder = Decoder(EventFormat(), clock)
        self.ingest = Ingest(
            self.log, dead, decoder, self.shards, metrics, clock, patience, history=self.history
        )
        self.ingest.assign({0: 1, 1: 1})

    def send(self, *values: bytes | None, partition: int = 0, **options: Any) -> None:
        """Write `values`, each acknowledged."""
        with producer(self.access, **options) as writer:
            for value in values:
                writer.send(self.clicks, value, key=b"u", partition=partition)
            writer.flush(20)

    async def until(self, done: Callable[[], bool], within_s: float = 20.0) -> None:
        """Let ingest work until `done`."""
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, (
                f"not done: {self.shards.at}, applied {self.shards.applied}"
            )
            await self.ingest.run_once()

    def dead_letters(self, count: int) -> list[Any]:
        """The first `count` records of the dead-letter topic."""
        reader = KafkaConsumer(
            **self.access.options(), auto_offset_reset="earliest", max_partition_fetch_bytes=2**22
        )
        at = TopicPartition(self.letters, 0)
        reader.assign([at])
        reader.seek(at, 0)
        found: list[Any] = []
        deadline = time.monotonic() + 10
        while len(found) < count and time.monotonic() < deadline:
            for records in reader.poll(timeout_ms=200).values():
                found.extend(records)
        reader.close()
        return found


@pytest.fixture
def path(broker: Broker) -> Iterator[Path]:
    """A new pair of topics with two partitions, and everything that reads and writes them."""
    number = next(numbers)
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    clicks = f"clicks-{number}"
    letters = f"clicks-{number}.dlq"
    with KafkaAdmin(access) as admin:
        ensure_topics(
            admin, [Topic(name=clicks, partitions=2, exact=True), Topic(name=letters, partitions=1)]
        )
    log = KafkaLog(
        access, topic=clicks, group_id=clicks, poll_timeout_ms=20, records_per_poll_max=2000
    )
    sink = KafkaSink(access)
    yield Path(access, clicks, letters, log, sink)
    log.close()
    sink.close()


async def test_bad_records_become_dead_letters_and_good_ones_are_applied(path: Path) -> None:
    """Each bad record is on the dead-letter topic as it was,
    with reason and origin in its headers.
    """
    path.send(click(), b"\xff", click("v"), None, b"", click())
    path.send(click(), partition=1)
    await path.until(lambda: path.shards.at == {0: 6, 1: 1})
    assert path.shards.applied == {0: [0, 5], 1: [0]}
    letters = path.dead_letters(4)
    headers = [{name: value.decode() for name, value in letter.headers} for letter in letters]
    assert [letter.key for letter in letters] == [b"u"] * 4
    assert letters[0].value == b"\xff"
    reasons = ["undecodable", "key_mismatch", "empty_value", "empty_value"]
    assert [h["__streams.errors.exception"] for h in headers] == [
        f"BadRecord.{reason}" for reason in reasons
    ]
    assert [h["__streams.errors.offset"] for h in headers] == ["1", "2", "3", "4"]
    assert {h["__streams.errors.topic"] for h in headers} == {path.clicks}
    assert {h["__streams.errors.partition"] for h in headers} == {"0"}
    assert "events.format: json" in headers[0]["__streams.errors.message"]


async def test_records_of_one_megabyte_are_cut_and_kept(path: Path) -> None:
    """The largest record a topic takes by default does not stall
    ingest, and its dead letter fits.
    """
    path.send(b"x" * 1_000_000, click(), max_request_size=2_000_000, compression_type=None)
    await path.until(lambda: path.shards.at.get(0) == 2)
    [letter] = path.dead_letters(1)
    assert len(letter.value) == 450_000
    assert ("__echorank.truncated.value", b"1000000") in letter.headers


@pytest.mark.parametrize("compression", ["lz4", "gzip", "snappy", "zstd", None])
async def test_compressed_batches_are_read(path: Path, compression: str | None) -> None:
    """Producers may compress; a seek into the middle of a batch starts at that offset."""
    path.shards.at[0] = 17
    path.send(*[click()] * 50, compression_type=compression, linger_ms=50)
    await path.until(lambda: path.shards.at.get(0) == 50)
    assert path.shards.applied[0] == list(range(17, 50))


async def test_a_shard_that_refuses_gets_everything_later(path: Path) -> None:
    """After refusals the shard is asked, and reading goes on there;
    the other partition is not held up.
    """
    path.shards.faults[0] = [None, *[ShardUnavailable("restoring")] * 3]
    for _ in range(4):
        path.send(*[click()] * 25)
        path.send(*[click()] * 25, partition=1)
        await path.ingest.run_once()
    await path.until(lambda: path.shards.at == {0: 100, 1: 100})
    assert path.shards.applied == {0: list(range(100)), 1: list(range(100))}


async def test_a_new_ingest_goes_on_where_the_shards_are(path: Path) -> None:
    """Ingest keeps nothing: another one with other connections reads on without doubles."""
    path.send(*[click()] * 10)
    await path.until(lambda: path.shards.at.get(0) == 10)
    await path.ingest.close()
    path.send(*[click()] * 10)
    log = KafkaLog(
        path.access, topic=path.clicks, group_id="g", poll_timeout_ms=20, records_per_poll_max=7
    )
    second = Path(path.access, path.clicks, path.letters, log, path.sink, path.shards)
    await second.until(lambda: path.shards.at.get(0) == 20)
    assert path.shards.applied[0] == list(range(20))
    log.close()


async def test_durable_offsets_can_be_seen_by_lag_tools(path: Path) -> None:
    """What snapshots cover is committed under the group's name."""
    path.send(*[click()] * 10)
    reader = KafkaConsumer(**path.access.options(), group_id=path.clicks, enable_auto_commit=False)
    try:
        await path.until(lambda: reader.committed(TopicPartition(path.clicks, 0)) == 10)
    finally:
        reader.close()


async def test_a_state_ahead_of_the_log_stands_still(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On every broker, also on one that does not refuse to read beyond its end."""
    path.shards.at[0] = 100
    path.send(*[click()] * 3)
    await path.until(lambda: "bring the old log back" in caplog.text)
    assert path.shards.at[0] == 100
    assert path.shards.applied == {}


async def test_transactions_leave_holes_that_do_not_stall(path: Path, broker: Broker) -> None:
    """Committed records are applied, aborted ones are not,
    and markers move the position to the log's end.
    """
    if broker.kind != "apache":
        pytest.skip("the embedded broker has no transactions; set KAFKA_HOME")
    with producer(path.access, transactional_id=path.clicks) as writer:
        writer.init_transactions()
        for stop, commit in ((4, True), (8, False), (12, True), (16, False)):
            writer.begin_transaction()
            for _ in range(3):
                writer.send(path.clicks, click(), key=b"u", partition=0)
            writer.flush(20)
            if commit:
                writer.commit_transaction()
            else:
                writer.abort_transaction()
            await path.until(lambda stop=stop: path.shards.at.get(0) == stop)
    assert path.shards.applied[0] == [0, 1, 2, 8, 9, 10]
    await path.until(lambda: path.ingest.lags()[0] == 0)
    path.send(click())
    await path.until(lambda: path.shards.at.get(0) == 17)
    assert path.shards.applied[0][-1] == 16


async def test_offsets_deleted_by_retention_are_skipped(path: Path, broker: Broker) -> None:
    """A log that starts beyond the state's position:
    the range is reported as lost and reading goes on.
    """
    if broker.kind != "apache":
        pytest.skip("the embedded broker deletes nothing; set KAFKA_HOME")
    path.send(*[click()] * 20)
    path.send(click(), partition=1)
    admin = KafkaAdminClient(**path.access.options())
    admin.delete_records({TopicPartition(path.clicks, 0): 12})
    admin.close()
    path.shards.at[0] = 5
    await path.until(lambda: path.shards.at == {0: 20, 1: 1})
    assert path.shards.skipped == [(0, 5, 12)]
    assert path.shards.applied == {0: list(range(12, 20)), 1: [0]}


async def test_offsets_deleted_by_retention_come_from_the_archive(
    path: Path, broker: Broker, tmp_path: pathlib.Path
) -> None:
    """The archive has read them before Kafka deleted them:
    a state that needs them misses nothing.
    """
    if broker.kind != "apache":
        pytest.skip("the embedded broker deletes nothing; set KAFKA_HOME")
    path.send(*[click()] * 20)
    clock = SystemClock()
    files = ArchiveFiles.from_uri(str(tmp_path))
    log = KafkaLog(
        path.access, topic=path.clicks, group_id="a", poll_timeout_ms=20, records_per_poll_max=100
    )
    decoder = Decoder(EventFormat(), clock)
    archive = Archive(log, decoder, files, [0], Metrics(CollectorRegistry()), clock, RollSettings())
    await path.until(lambda: archive.run_once() > 0)
    archive.flush()
    log.close()
    admin = KafkaAdminClient(**path.access.options())
    admin.delete_records({TopicPartition(path.clicks, 0): 12})
    admin.close()
    filled = dataclasses.replace(
        path, shards=FakeShards(starts={0: 5}), history=ArchiveReader(files, batch_clicks=3)
    )
    await filled.until(lambda: filled.shards.at[0] == 20)
    assert filled.shards.applied[0] == list(range(5, 20))
    assert filled.shards.skipped == []


def test_an_unreachable_broker_is_an_error_in_time() -> None:
    """No client hangs on an address where nobody listens; the error names it."""
    access = KafkaAccess(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_s=0.5)
    for build in (
        lambda: KafkaLog(
            access, topic="t", group_id="g", poll_timeout_ms=20, records_per_poll_max=1
        ),
        lambda: KafkaSink(access),
        lambda: KafkaAdmin(access),
    ):
        with pytest.raises(BrokerUnavailable, match=access.bootstrap_servers):
            build()


def test_a_write_that_is_not_acknowledged_is_an_error() -> None:
    """Dead letters for a broker that went away are not silently dropped, nor counted as written."""
    registry = CollectorRegistry()
    with resolve(
        environ={name: value for name, value in os.environ.items() if name != "KAFKA_HOME"}
    ) as gone:
        access = KafkaAccess(bootstrap_servers=gone.bootstrap_servers, request_timeout_s=1.5)
        sink = KafkaSink(access)
    dead = DeadLetters(sink, topic="clicks.dlq", source_topic="clicks", metrics=Metrics(registry))
    _, letters = Decoder(EventFormat(), SystemClock()).decode_batch(0, 0, 1, [Bad()])
    with pytest.raises(BrokerUnavailable, match=r"writing 1 records to topic clicks\.dlq"):
        dead.send(letters)
    assert registry.get_sample_value("echorank_dlq_total", {"reason": "undecodable"}) is None
    sink.close()


@dataclass(frozen=True)
class Bad:
    """A record that is no click."""

    offset: int = 0
    timestamp: int = 1
    key: bytes | None = None
    value: bytes | None = b"\xff"
