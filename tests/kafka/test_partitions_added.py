"""Partitions added to the clicks topic while it is read."""

from __future__ import annotations

import asyncio

import pytest

from actors.clock import SystemClock
from actors.errors import ConfigError
from cluster.kafka.clients import KafkaAdmin, producer
from cluster.kafka.log_watch import watch_kafka
from cluster.kafka.topics import Topic, ensure_topics
from tests.kafka.click_path import acknowledged, click
from tests.kafka.conftest import Scene

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


async def test_added_partitions_are_noticed_and_not_read(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The old partitions are served on;
    a metric and the log say that there are others, and a start is refused.
    """
    topic = scene.topic(2)
    async with scene.path(topic, partitions=2) as path:
        watch = watch_kafka(scene.access, topic, 2, range(2), path.metrics, SystemClock())
        await asyncio.to_thread(watch.look)
        assert path.sample("unread_partitions") == 0
        with scene.admin() as admin:
            admin.create_partitions({topic: 5})
        await path.until(lambda: watch.look() or path.sample("unread_partitions") == 3)
        with producer(scene.access) as writer:
            for number in range(300):
                writer.send(topic, click(number)[1], key=click(number)[0], partition=number % 3)
        await path.reach(100, 100)
        assert path.digests() == path.clean(
            *[[acknowledged(n, 3 * n + p) for n in range(100)] for p in range(2)]
        )
        watch.look()
        watch.close()
    assert (
        caplog.text.count(
            f"topic {topic} has 5 partitions now, but topics.partitions is 2: 3 of them"
        )
        == 1
    )
    with (
        KafkaAdmin(scene.access) as admin,
        pytest.raises(
            ConfigError, match=f"topic {topic} has 5 partitions, but topics.partitions is 2"
        ),
    ):
        ensure_topics(admin, [Topic(name=topic, partitions=2, exact=True)])
