"""The exposure log on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from actors.clicks.partitioner import partition_of
from actors.serve.exposure import ExposureLog
from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, KafkaSink
from cluster.kafka.topics import Topic, ensure_topics
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from tests.actors.serve.served_shard import ITEMS, served_shard, user_of
from tests.cluster.kafka.topic_reader import records

pytestmark = pytest.mark.broker
TOPIC = "exposures-of-a-shard"


async def test_exposures_can_be_read_from_the_topic(broker: Broker, tmp_path: Path) -> None:
    """Every answer is there, in its user's partition, with the probabilities that were answered."""
    access = KafkaAccess(bootstrap_servers=broker.bootstrap_servers)
    with KafkaAdmin(access) as admin:
        ensure_topics(admin, [Topic(name=TOPIC, partitions=2)])
    sink = KafkaSink(access)
    metrics = Metrics(CollectorRegistry())
    log = ExposureLog(lambda: sink, topic=TOPIC, metrics=metrics)
    users = [user_of(partition) for partition in (0, 1, 2, 3)]
    async with served_shard(tmp_path, exposures=log) as served:
        served.click(users[0], *ITEMS[:5])
        scores = [
            await served.stub.Score(pb.ScoreRequest(user=user, items=ITEMS[:9], arm="main"))
            for user in users
            for _ in range(5)
        ]
    log.close(20)
    sink.close()
    labels = {"arm": "main", "outcome": "written"}
    assert metrics.registry.get_sample_value("echorank_exposures_total", labels) == len(scores)
    found = records(access, TOPIC, len(scores))
    assert all(partition_of(record.key.decode(), 2) == record.partition for record in found)
    exposures = {
        exposure.score_id: exposure for exposure in (pb.Exposure.FromString(r.value) for r in found)
    }
    assert len(exposures) == len(scores)
    for score in scores:
        assert exposures[score.origin.score_id].probabilities == score.probabilities
