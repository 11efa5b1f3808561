"""Kafka's clients, built in this one place from plain settings,
behind the ports that actors and cluster use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from uuid import UUID

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import TopicPartition

from actors.clicks.dead_letter import OutRecord
from actors.errors import BrokerUnavailable, RecordsRefused
from cluster.kafka import errors as kafka_errors
from cluster.kafka import prompt_metadata
from cluster.kafka.access import KafkaAccess
from cluster.kafka.errors import FailedTries

# Clients learn of a new leader from the old one's refusal or reset connection. One that hangs sends
# neither: without fresh metadata, its partitions would wait for request_timeout_s.
METADATA_AGE_MS = 5000
# as often as one may try
NEVER_TAKEN = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError)


@contextmanager
def reported(access: KafkaAccess, doing: str, tries: Sequence[str] = ()) -> Iterator[None]:
    """Turn what kafka-python raises into BrokerUnavailable with the
    address, the cause and what to check.
    """
    try:
        yield
    except KafkaError as error:
        raise BrokerUnavailable(kafka_errors.failure(error, access, doing, tries)) from error


def connected(kind: Any, access: KafkaAccess, **options: Any) -> tuple[Any, Any]:
    """A client of the given kind that has found its broker, and what it knows of the cluster.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s; no threads or sockets are left
            behind.
    """
    built: list[Any] = []

    def network(**config: Any) -> Any:
        built.append(prompt_metadata.network(**config))
        return built[-1]

    with FailedTries() as tries, reported(access, "connecting", tries.causes):
        try:
            return kind(**(access.options() | options), kafka_client=network), built[-1].cluster
        except KafkaError:
            for client in built:
                client.close()
            raise


def producer(access: KafkaAccess, **options: Any) -> KafkaProducer:
    """A producer that acknowledges what all in-sync replicas have,
    with Kafka's default partitioner.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.
    """
    defaults = {"acks": "all", "compression_type": "lz4", "allow_auto_create_topics": False}
    client, _ = connected(
        KafkaProducer, access, metadata_max_age_ms=METADATA_AGE_MS, **(defaults | options)
    )
    return client


class KafkaSink:
    """Writes records and waits for their acknowledgement (a `RecordSink`).

    Not idempotent, so a record whose acknowledgement was lost can be there twice. kafka-python
    3.0.12's idempotent producer never sends anything again once a batch has expired in a retry: it
    drops the batches that it has just drained for other partitions, and those partitions stay
    muted.
    """

    def __init__(self, access: KafkaAccess, **options: Any) -> None:
        self._access = access
        timeout_ms = int(access.request_timeout_s * 1000)
        bounds = {
            "enable_idempotence": False,
            "delivery_timeout_ms": timeout_ms,
            "max_block_ms": timeout_ms,
        }
        self._producer = producer(access, **(bounds | options))

    def write(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Write all `records` and return when every in-sync replica has them.

        Raises:
            BrokerUnavailable: at least one was not acknowledged.
            RecordsRefused: the broker will never take some of them; the others are written.
        """
        with reported(self._access, f"writing {len(records)} records to topic {topic}"):
            refused: dict[int, str] = {}
            sent: dict[int, Any] = {}
            for at, record in enumerate(records):
                try:
                    sent[at] = self._producer.send(
                        topic, key=record.key, value=record.value, headers=list(record.headers)
                    )
                except NEVER_TAKEN as error:
                    refused[at] = type(error).__name__
            for at, future in sent.items():
                try:
                    future.get(timeout=self._access.request_timeout_s)
                except NEVER_TAKEN as error:
                    refused[at] = type(error).__name__
        if refused:
            raise RecordsRefused(topic, refused)

    def close(self) -> None:
        """Close the connections; what is not acknowledged by then never will be."""
        # by then, everything has expired
        self._producer.close(timeout=self._access.request_timeout_s + 1)


class KafkaAdmin:
    """Looks at topics and makes them; a context manager.

    Raises:
        BrokerUnavailable: nobody answers within connect_timeout_s.
    """

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._client, _ = connected(KafkaAdminClient, access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def partitions(self, topic: str) -> int | None:
        """How many partitions `topic` has; None if there is no such topic."""
        return len(self._describe(topic)["partitions"]) or None

    def topic_id(self, topic: str) -> str | None:
        """What tells `topic` from another one that had its name;
        None if it or a broker of before 2.8 has none.
        """
        found = self._describe(topic).get("topic_id")
        return str(found) if found and UUID(str(found)).int else None

    def leaders(self, topic: str) -> dict[int, int]:
        """The node that leads each partition, -1 where none does;
        empty if there is no such topic.
        """
        return {
            found["partition_index"]: found["leader_id"]
            for found in self._describe(topic)["partitions"]
        }

    def ends(self, topic: str, partitions: Iterable[int], *, committed: bool) -> dict[int, int]:
        """Where each partition ends; `committed` leaves out what lies
        behind the first open transaction.
        """
        wanted = {TopicPartition(topic, partition): OffsetSpec.LATEST for partition in partitions}
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        timeout_ms = int(self._access.request_timeout_s * 1000)
        with reported(self._access, f"asking for the ends of topic {topic}"):
            found = self._client.list_partition_offsets(wanted, isolation, timeout_ms)
        return {at.partition: end.offset for at, end in found.items()}

    def cluster_id(self) -> str | None:
        """The id that this Kafka gave itself when it was set up; None from brokers without one."""
        with reported(self._access, "asking for the cluster's id"):
            found: str | None = self._client.describe_cluster().get("cluster_id")
        return found

    def group_offsets(self, group_id: str, topic: str) -> dict[int, int]:
        """What a group has committed, by partition; empty if there is no such group."""
        with reported(self._access, f"asking for the offsets of group {group_id}"):
            found = self._client.list_group_offsets({group_id: None}).get(group_id, {})
        return {
            at.partition: said.offset
            for at, said in found.items()
            if at.topic == topic and said.offset >= 0
        }

    def settings(self, topic: str, names: Sequence[str]) -> dict[str, str]:
        """These settings of a topic, set or by default;
        without those that the broker does not tell.
        """
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic, list(names))
        with reported(self._access, f"asking for the settings of topic {topic}"):
            found = self._client.describe_configs([wanted], config_filter="all")
        told = found.get("topic", {}).get(topic, {})
        return {name: said["value"] for name, said in told.items() if said.get("value") is not None}

    def create(self, topic: str, partitions: int, replication_factor: int) -> bool:
        """Make `topic` and wait for its leaders; False if somebody else made it first."""
        wanted = {topic: {"num_partitions": partitions, "replication_factor": replication_factor}}
        with reported(self._access, f"creating topic {topic}"):
            try:
                self._client.create_topics(wanted, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                return False
        return True

    def names(self) -> list[str]:
        """The topics that are there, as far as we are told."""
        with reported(self._access, "listing topics"):
            return sorted(self._client.list_topics())

    def require(self, topic: str, operation: str) -> None:
        """See that we may `Read` or `Write` a topic; BrokerUnavailable,
        with the command that permits it, if not.

        A broker that does not tell refuses nothing.
        """
        told = self._describe(topic).get("authorized_operations")
        if told and operation.upper() not in told:
            raise BrokerUnavailable(kafka_errors.may_not(self._access, operation, topic))

    def _describe(self, topic: str) -> dict[str, Any]:
        with reported(self._access, f"describing topic {topic}"):
            [described] = self._client.describe_topics([topic])
        if described["error_code"] == TopicAuthorizationFailedError.errno:  # it may exist or not
            raise BrokerUnavailable(kafka_errors.may_not(self._access, "Describe", topic))
        return dict(described)
