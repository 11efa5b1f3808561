"""Reads a topic from its start, for tests that look at what was written."""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin


def records(access: KafkaAccess, topic: str, count: int, within_s: float = 20.0) -> list[Any]:
    """The first `count` records of all partitions, or those that are there after `within_s`."""
    with KafkaAdmin(access) as admin:
        partitions = admin.partitions(topic) or 0
    reader = KafkaConsumer(**access.options(), auto_offset_reset="earliest")
    reader.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    reader.seek_to_beginning()
    found: list[Any] = []
    deadline = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < deadline:
        for some in reader.poll(timeout_ms=200).values():
            found.extend(some)
    reader.close()
    return found
