"""An ingest, which reads as soon as its partitions have owners."""

from __future__ import annotations

from actors.archive.reader import ArchiveReader
from actors.clicks.dead_letter import DeadLetters
from actors.ingest.ingest import Ingest
from actors.ingest.ports import LogEnds
from actors.shard.roles import Feed, Role
from cluster.kafka.log_watch import INTERVAL_S, watch_kafka
from cluster.names import ingest_name
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.part_time_reader import Reader
from cluster.processes.remote import RemoteCoordinator, RemoteShards
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import archive, topic_identity
from cluster.wiring.process import export, new_metrics
from cluster.wiring.world import World
from monitoring.metrics import Metrics


async def build_ingest(world: World, settings: Settings, number: int) -> IngestProcess:
    """One ingest, which reads as soon as its partitions have owners."""
    name = ingest_name(number)
    metrics = new_metrics(world, settings, name)
    coordinator = RemoteCoordinator(world.ray)
    topics = settings.topics
    partitions = range(number, topics.partitions, settings.serving.ingests)
    access = for_parts.access(settings)
    watch = watch_kafka(
        access,
        topics.clicks,
        topics.partitions,
        partitions,
        metrics,
        world.clock,
        world.kafka.admin,
    )
    process = IngestProcess(
        owners=_reader(
            world,
            settings,
            Role.OWNER,
            Feed.FRONT,
            metrics,
            watch.ends,
            _letters(world, settings, metrics),
        ),
        open_reader=lambda role, feed: _reader(
            world, settings, role, feed, metrics.of_others(behind=feed is Feed.BEHIND), watch.ends
        ),
        coordinator=coordinator,
        number=number,
        count=settings.serving.ingests,
    )
    world.threads.repeat(watch.look, INTERVAL_S, "log-watch")
    await coordinator.join(export(world, settings, metrics, "ingest", name))
    return process


def _letters(world: World, settings: Settings, metrics: Metrics) -> DeadLetters:
    """For the one reader of a partition that writes them."""
    access = for_parts.access(settings)
    topics = settings.topics
    marks = world.kafka.marks(
        access, topic=topics.clicks, group_id=for_parts.letters_group(settings)
    )
    sink = world.kafka.sink(access)
    return DeadLetters(
        sink, topic=topics.dlq, source_topic=topics.clicks, metrics=metrics, marks=marks
    )


def _reader(
    world: World,
    settings: Settings,
    role: Role,
    feed: Feed,
    metrics: Metrics,
    ends: LogEnds,
    letters: DeadLetters | None = None,
) -> Reader:
    topics = settings.topics
    in_charge = letters is not None
    click_log = world.kafka.log(
        for_parts.access(settings),
        topic=topics.clicks,
        group_id=settings.kafka.group_id if in_charge else None,
        poll_timeout_ms=settings.kafka.poll_timeout_ms,
        records_per_poll_max=settings.kafka.records_per_poll_max,
        topic_id=topic_identity(world, settings).load(),
    )
    history = (
        ArchiveReader(archive(world, settings.archive.directory))
        if settings.archive.enabled
        else None
    )
    shards = RemoteShards(world.ray, role, feed)
    ingest = Ingest(
        click_log,
        letters,
        for_parts.decoder(settings, world.clock),
        shards,
        metrics,
        world.clock,
        for_parts.ingest_settings(settings, feed, world.scale, commits=in_charge),
        history=history,
        ends=ends,
    )
    return Reader(ingest, shards, click_log.close)
