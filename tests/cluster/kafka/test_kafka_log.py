"""The clicks topic as ingest reads it, on a real broker."""

from __future__ import annotations

import pytest

from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.log import KafkaLog
from cluster.kafka.topics import Topic, ensure_topics

pytestmark = pytest.mark.broker

TOPIC = "paused-clicks"
PARTITIONS = 4
RECORDS = 3000


def test_pausing_loses_and_repeats_nothing(broker: Broker) -> None:
    """Partitions paused and resumed in the middle of what was fetched are read
    to their ends, each record once.
    """
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, [Topic(name=TOPIC, partitions=PARTITIONS, replication_factor=1)])
    with producer(access) as writer:
        for number in range(RECORDS):
            writer.send(TOPIC, b"%d" % number, key=b"u", partition=number % PARTITIONS)
        writer.flush(20)
    log = KafkaLog(
        access, topic=TOPIC, group_id="paused", poll_timeout_ms=20, records_per_poll_max=100
    )
    log.assign(range(PARTITIONS))
    for partition in range(PARTITIONS):
        log.seek(partition, 0)
        log.resume(partition)
    found: list[int] = []
    for round_ in range(2000):
        for part in log.poll():
            found += [int(record.value or b"") for record in part.records]
            log.pause(part.partition)
        if len(found) >= RECORDS:
            break
        if round_ % 3 == 0:
            for partition in range(PARTITIONS):
                log.resume(partition)
    log.close()
    assert sorted(found) == list(range(RECORDS))
