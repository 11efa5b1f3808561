"""An ingest, which reads as soon as its partitions have owners."""

from __future__ import annotations

from actors.clicks.dead_letter import DeadLetters
from actors.clock import SystemClock
from actors.ingest.ingest import Ingest
from actors.ingest.ports import LogEnds
from actors.shard.roles import Feed, Role
from cluster.kafka.clients import KafkaSink
from cluster.kafka.letter_marks import KafkaLetterMarks
from cluster.kafka.log import KafkaLog
from cluster.kafka.log_watch import watch_kafka
from cluster.kafka.topic_identity import TopicIdentity
from cluster.names import ingest_name
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.part_time_reader import Reader
from cluster.processes.ray_calls import RealRay
from cluster.processes.remote import RemoteCoordinator, RemoteShards
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import history
from cluster.wiring.process import export, new_metrics
from monitoring.metrics import Metrics


async def build_ingest(settings: Settings, number: int) -> IngestProcess:
    """One ingest, which reads as soon as its partitions have owners."""
    name = ingest_name(number)
    metrics = new_metrics(settings, name)
    coordinator = RemoteCoordinator(RealRay(settings.ray.namespace))
    topics = settings.topics
    partitions = range(number, topics.partitions, settings.serving.ingests)
    access = for_parts.access(settings)
    clock = SystemClock()
    watch = watch_kafka(access, topics.clicks, topics.partitions, partitions, metrics, clock)
    process = IngestProcess(
        owners=_reader(
            settings, Role.OWNER, Feed.FRONT, metrics, watch.ends, _letters(settings, metrics)
        ),
        open_reader=lambda role, feed: _reader(
            settings, role, feed, metrics.of_others(behind=feed is Feed.BEHIND), watch.ends
        ),
        coordinator=coordinator,
        number=number,
        count=settings.serving.ingests,
    )
    watch.start()
    await coordinator.join(export(settings, metrics, "ingest", name))
    return process


def _letters(settings: Settings, metrics: Metrics) -> DeadLetters:
    """For the one reader of a partition that writes them."""
    access = for_parts.access(settings)
    topics = settings.topics
    marks = KafkaLetterMarks(
        access, topic=topics.clicks, group_id=for_parts.letters_group(settings)
    )
    sink = KafkaSink(access)
    return DeadLetters(
        sink, topic=topics.dlq, source_topic=topics.clicks, metrics=metrics, marks=marks
    )


def _reader(
    settings: Settings,
    role: Role,
    feed: Feed,
    metrics: Metrics,
    ends: LogEnds,
    letters: DeadLetters | None = None,
) -> Reader:
    clock = SystemClock()
    topics = settings.topics
    in_charge = letters is not None
    click_log = KafkaLog(
        for_parts.access(settings),
        topic=topics.clicks,
        group_id=settings.kafka.group_id if in_charge else None,
        poll_timeout_ms=settings.kafka.poll_timeout_ms,
        records_per_poll_max=settings.kafka.records_per_poll_max,
        topic_id=TopicIdentity(settings.state.directory).load(),
    )
    shards = RemoteShards(RealRay(settings.ray.namespace), role, feed)
    ingest = Ingest(
        click_log,
        letters,
        for_parts.decoder(settings, clock),
        shards,
        metrics,
        clock,
        for_parts.ingest_settings(settings, feed, commits=in_charge),
        history=history(settings),
        ends=ends,
    )
    return Reader(ingest, shards, click_log.close)
