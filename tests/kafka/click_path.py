"""The click's path on real Apache Kafka, in this process: KafkaLog, Ingest, Shard;
and what it should have come to.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaConsumer
from kafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from actors.backoff import Backoff
from actors.clicks.click import Click, ClickBatch
from actors.clicks.codec import Decoder, Record
from actors.clicks.dead_letter import DeadLetters
from actors.clicks.formats import EventFormat, encode
from actors.clock import SystemClock
from actors.ingest.ingest import Ingest, IngestSettings
from actors.ingest.ports import ClickHistory
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaSink
from cluster.kafka.log import KafkaLog
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics
from tests.actors.click_log import ITEMS, bundle

FORMAT = EventFormat()
FIRST_MS = 1_700_000_000_000
numbers = itertools.count()


def click(number: int) -> tuple[bytes, bytes]:
    """Key and value of a click that can be told from all others by its time; 40 users, 20 items."""
    user = f"user-{number * 7 % 40}"
    return user.encode(), encode(
        Click(user, ITEMS[number % 20], "click", FIRST_MS + number), FORMAT
    )


def number_of(record: Record) -> int:
    """Which click a record is."""
    return Decoder(FORMAT, SystemClock()).decode(record.value).time_ms - FIRST_MS


@dataclass(frozen=True)
class Acknowledged:
    """A record that a producer knows to be in the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = FIRST_MS


def acknowledged(offset: int, number: int) -> Acknowledged:
    """Click `number` at `offset`."""
    return Acknowledged(offset, *click(number))


class LocalShards:
    """One shard, called as ingest calls shards."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        known = self._shard.positions()
        return {partition: known[partition] for partition in partitions if partition in known}

    async def deliver(self, batch: ClickBatch, epoch: int) -> int:
        return self._shard.apply(batch, epoch)

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        return self._shard.skip(partition, start, stop, reason, epoch)

    async def durable(self) -> Mapping[int, int]:
        return self._shard.durable()

    def observe_ends(self, ends: Mapping[int, int]) -> None:
        for partition, end in ends.items():
            self._shard.observe_end(partition, end)


@dataclass
class ClickPath:
    """Reads `topic` through `access` and folds it into a shard; runs while it is entered.

    Leaving it is a crash: nothing is saved, and another path over the same `root` goes on at the
    last snapshot.
    """

    access: KafkaAccess
    topic: str
    root: Path
    partitions: int = 1
    letters: str = "clicks.dlq"
    event_format: EventFormat = FORMAT
    model: Bundle = field(default_factory=bundle)
    topic_id: str | None = None
    history: ClickHistory | None = None
    records_per_poll_max: int = 500
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))

    async def __aenter__(self) -> ClickPath:
        self.shard = new_shard(self.root, self.model, self.metrics)
        for partition in range(self.partitions):
            self.shard.hold(partition, 1)
        self.log = await asyncio.to_thread(self._open)
        self.sink = await asyncio.to_thread(KafkaSink, self.access)
        dead = DeadLetters(
            self.sink, topic=self.letters, source_topic=self.topic, metrics=self.metrics
        )
        patience = IngestSettings(commit_interval_s=0.2, backoff=Backoff(min_s=0.01, max_s=0.2))
        clock = SystemClock()
        decoder = Decoder(self.event_format, clock)
        shards = LocalShards(self.shard)
        self.ingest = Ingest(
            self.log, dead, decoder, shards, self.metrics, clock, patience, history=self.history
        )
        self.ingest.assign(dict.fromkeys(range(self.partitions), 1))
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self.ingest.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        try:
            await self._running
            await self.ingest.close()
        finally:
            await asyncio.to_thread(self.log.close)
            await asyncio.to_thread(self.sink.close)

    async def until(self, done: Callable[[], bool], within_s: float = 30.0) -> None:
        """Let ingest work until `done`."""
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, (
                f"not done: {self.positions()}, lags {self.ingest.lags()}"
            )
            finished, _ = await asyncio.wait({self._running}, timeout=0.02)
            for task in finished:
                task.result()
                raise AssertionError("ingest ended")

    async def reach(self, *ends: int, within_s: float = 30.0) -> None:
        """Let ingest work until the partitions' positions are `ends`."""
        await self.until(lambda: self.positions() == list(ends), within_s)

    def positions(self) -> list[int]:
        """The next offset of each partition."""
        return [self.shard.positions()[partition] for partition in range(self.partitions)]

    def digests(self) -> list[str]:
        """The digest of each partition's states and position."""
        return [self.shard.digest(partition, "main") for partition in range(self.partitions)]

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value, 0 if it is not there."""
        return self.metrics.registry.get_sample_value(f"echorank_{name}", labels) or 0.0

    def clean(self, *partitions: Iterable[Record]) -> list[str]:
        """The digests of a fold of exactly these records of each
        partition, up to where this path is.
        """
        shard = new_shard(
            self.root / f"clean-{next(numbers)}", self.model, Metrics(CollectorRegistry())
        )
        decoder = Decoder(self.event_format, SystemClock())
        for partition, (records, stop) in enumerate(zip(partitions, self.positions(), strict=True)):
            shard.hold(partition, 1)
            in_order = sorted(records, key=lambda record: record.offset)
            batch, dead = decoder.decode_batch(partition, 0, stop, in_order)
            assert not dead
            assert shard.apply(batch, 1) == stop
        return [shard.digest(partition, "main") for partition in range(len(partitions))]

    def _open(self) -> KafkaLog:
        return KafkaLog(
            self.access,
            topic=self.topic,
            group_id=self.topic,
            poll_timeout_ms=20,
            records_per_poll_max=self.records_per_poll_max,
            topic_id=self.topic_id,
        )


def new_shard(root: Path, model: Bundle, metrics: Metrics) -> Shard:
    """A shard over a directory."""
    snapshots = SnapshotStore.from_uri(str(root), kept=3)
    return Shard(
        "shard-0",
        {"main": model},
        snapshots,
        metrics,
        SystemClock(),
        ShardSettings(users_initial=4),
    )


def read(
    access: KafkaAccess, topic: str, partition: int = 0, *, committed: bool = True
) -> list[Record]:
    """Everything that a partition holds, read by a plain consumer."""
    at = TopicPartition(topic, partition)
    isolation = "read_committed" if committed else "read_uncommitted"
    options = access.options() | {
        "isolation_level": isolation,
        "max_partition_fetch_bytes": 1 << 22,
    }
    with closing(KafkaConsumer(**options)) as reader:
        reader.assign([at])
        reader.seek_to_beginning()
        end = reader.end_offsets([at])[at]
        found: list[Record] = []
        deadline = time.monotonic() + 20
        while reader.position(at) < end:
            assert time.monotonic() < deadline, f"{at} was read to {reader.position(at)} of {end}"
            for records in reader.poll(timeout_ms=200).values():
                found += records
    return found
