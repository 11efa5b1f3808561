"""Kafka's clients, built in this one place from plain settings, behind the ports that actors and cluster use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    KafkaError,
    LogTruncationError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
)
from kafka.structs import OffsetAndMetadata, TopicPartition

from actors.dead_letter import OutRecord
from actors.errors import BrokerUnavailable, OffsetOutOfRange
from actors.ingest_ports import Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """Where the brokers are and how to talk to them."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None
    request_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0

    def options(self) -> dict[str, Any]:
        """Keyword arguments that every kafka-python client takes."""
        return {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_cafile": self.ssl_cafile,
            "request_timeout_ms": int(self.request_timeout_s * 1000),
            "bootstrap_timeout_ms": int(self.connect_timeout_s * 1000),
            "reconnect_backoff_max_ms": 1000,  # a restarted broker is found again within a second
        }


@contextmanager
def _reported(access: KafkaAccess, doing: str) -> Iterator[None]:
    """Turn what kafka-python raises into BrokerUnavailable with the address and what to check."""
    try:
        yield
    except KafkaError as error:
        raise BrokerUnavailable(
            f"{doing} at {access.bootstrap_servers} failed: {type(error).__name__}: {error}. Check that the broker "
            f"runs, that kafka.bootstrap_servers is its advertised address, and kafka.security_protocol "
            f"({access.security_protocol})"
        ) from error


def _connected(kind: Any, access: KafkaAccess, **options: Any) -> Any:
    """A client of the given kind that has found its broker; one that has not leaves no threads or sockets behind."""
    built: list[Any] = []

    def network(**config: Any) -> Any:
        built.append(kind.DEFAULT_CONFIG["kafka_client"](**config))
        return built[-1]

    with _reported(access, "connecting"):
        try:
            return kind(**(access.options() | options), kafka_client=network)
        except KafkaError:
            for client in built:
                client.close()
            raise


def producer(access: KafkaAccess, **options: Any) -> KafkaProducer:
    """A producer that acknowledges what all in-sync replicas have, with Kafka's default partitioner.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.

    """
    defaults = {"acks": "all", "compression_type": "lz4", "allow_auto_create_topics": False}
    return _connected(KafkaProducer, access, **(defaults | options))


class KafkaSink:
    """Writes records and waits for their acknowledgement (a `RecordSink`)."""

    def __init__(self, access: KafkaAccess, **options: Any) -> None:
        self._access = access
        timeout_ms = int(access.request_timeout_s * 1000)
        self._producer = producer(access, delivery_timeout_ms=timeout_ms, max_block_ms=timeout_ms, **options)

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Write all `records` and return when every in-sync replica has them; BrokerUnavailable if one is not."""
        with _reported(self._access, f"writing {len(records)} records to topic {topic}"):
            sent = [
                self._producer.send(topic, key=record.key, value=record.value, headers=list(record.headers))
                for record in records
            ]
            self._producer.flush(self._access.request_timeout_s)
            for future in sent:
                future.get(timeout=self._access.request_timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._producer.close(timeout=self._access.request_timeout_s)


class KafkaLog:
    """The clicks topic as ingest reads it (a `ClickLog`): `assign` and `seek`, no group rebalancing.

    The fetch wait equals the poll time-out: a fetch that waits at the broker for idle partitions blocks the next
    one, also for partitions with news, so its wait adds to the time from event to score. A reader that has time lets
    the broker wait for `fetch_bytes_min` of news, which saves both of them work.

    A paused partition is taken from the client's assignment, because the client's own pause loses it: kafka-python
    3.0.12 parks what it has fetched of a paused partition, neither takes it up again once its current batch is used
    up, nor fetches the partition anew.
    """

    def __init__(
        self,
        access: KafkaAccess,
        *,
        topic: str,
        group_id: str,
        poll_timeout_ms: int,
        records_per_poll_max: int,
        fetch_bytes_min: int = 1,
    ) -> None:
        self._access, self._topic, self._poll_timeout_ms = access, topic, poll_timeout_ms
        self._positions: dict[int, int] = {}
        self._open: set[int] = set()  # to be read
        self._read: set[int] = set()  # assigned to the client
        self._consumer = _connected(
            KafkaConsumer,
            access,
            group_id=group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            max_poll_records=records_per_poll_max,
            fetch_min_bytes=fetch_bytes_min,
            fetch_max_wait_ms=poll_timeout_ms,
        )

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these partitions and no others; new ones wait for `seek` and `resume`."""
        self._positions = {partition: self._positions.get(partition, 0) for partition in sorted(partitions)}
        self._open &= self._positions.keys()

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        self._positions[partition] = offset
        if partition in self._read:
            self._consumer.seek(self._at(partition), offset)

    def pause(self, partition: int) -> None:
        """Leave the partition out of polls."""
        self._open.discard(partition)

    def resume(self, partition: int) -> None:
        """Take the partition into polls again."""
        self._open.add(partition)

    def poll(self) -> list[Slice]:
        """Wait up to the poll time-out for records; one slice for each partition whose position moved.

        Raises:
            OffsetOutOfRange: the log does not hold the position of a partition.
            BrokerUnavailable: the broker refused; try again.

        """
        with _reported(self._access, f"reading topic {self._topic}"):
            try:
                return self._next()
            except OffsetOutOfRangeError as error:
                raise self._out_of_range(error.args[0]) from error
            except LogTruncationError as error:
                raise self._out_of_range(error.divergent_offsets) from error

    def highwater(self, partition: int) -> int | None:
        """The offset after the newest record, as of the last fetch; None before the first."""
        if partition not in self._read:
            return None
        end: int | None = self._consumer.highwater(self._at(partition))
        return end

    def earliest(self, partition: int) -> int:
        """The oldest offset the log holds; BrokerUnavailable if nobody answers."""
        at = self._at(partition)
        with _reported(self._access, f"asking for the oldest offset of {self._topic}-{partition}"):
            offsets: dict[TopicPartition, int] = self._consumer.beginning_offsets([at])
        return offsets[at]

    def commit(self, offsets: Mapping[int, int], on_error: Callable[[Exception], None]) -> None:
        """Start to commit `offsets` for the group; a later poll calls `on_error` if that failed."""

        def done(_: object, response: object) -> None:
            if isinstance(response, Exception):
                on_error(response)

        if offsets:
            committed = {self._at(p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
            self._consumer.commit_async(committed, callback=done)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _follow(self) -> None:
        """Assign what is open to the client, each new partition at its place."""
        if self._read == self._open:
            return
        new, self._read = self._open - self._read, set(self._open)
        self._consumer.assign([self._at(partition) for partition in sorted(self._read)])
        for partition in new:
            self._consumer.seek(self._at(partition), self._positions[partition])

    def _next(self) -> list[Slice]:
        self._follow()
        if not self._read:
            time.sleep(self._poll_timeout_ms / 1000)  # a client without partitions does not wait by itself
            return []
        try:
            records = self._consumer.poll(timeout_ms=self._poll_timeout_ms)
            found = [
                Slice(partition, start, stop, records.get(self._at(partition), ()))
                for partition, start in self._positions.items()
                if partition in self._read
                and (stop := self._consumer.position(self._at(partition), timeout_ms=self._poll_timeout_ms)) != start
            ]
        except KafkaError:
            # The client may have moved on past records that nobody will see: go back to where the caller stands.
            for partition in self._read:
                self._consumer.seek(self._at(partition), self._positions[partition])
            raise
        self._positions.update((part.partition, part.stop) for part in found)
        return found

    def _out_of_range(self, places: Mapping[TopicPartition, object]) -> OffsetOutOfRange:
        partition = next(iter(places)).partition
        return OffsetOutOfRange(partition, self._positions[partition])


class KafkaAdmin:
    """Looks at topics and makes them; a context manager.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.

    """

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._client = _connected(KafkaAdminClient, access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def partitions(self, topic: str) -> int | None:
        """How many partitions `topic` has; None if there is no such topic."""
        with _reported(self._access, f"describing topic {topic}"):
            [described] = self._client.describe_topics([topic])
        return len(described["partitions"]) or None

    def create(self, topic: str, partitions: int, replication_factor: int) -> bool:
        """Make `topic` and wait for its leaders; False if somebody else made it first."""
        wanted = {topic: {"num_partitions": partitions, "replication_factor": replication_factor}}
        with _reported(self._access, f"creating topic {topic}"):
            try:
                self._client.create_topics(wanted, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                return False
        return True
