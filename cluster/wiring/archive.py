"""The archive, which goes on where its files end."""

from __future__ import annotations

import os

from actors.archive.files import ArchiveFiles
from actors.archive.writer import Archive
from actors.clock import SystemClock
from cluster.kafka.log import KafkaLog
from cluster.kafka.topic_identity import TopicIdentity
from cluster.names import ARCHIVE
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.ray_calls import RealRay
from cluster.processes.remote import RemoteCoordinator
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring.files import snapshots
from cluster.wiring.process import export, new_metrics

# Nobody waits for the archive: few and large polls, 1.1 CPU seconds for 100,000 clicks, and others
# go first.
ARCHIVE_POLL_MS = 1000
ARCHIVE_FETCH_BYTES = 1 << 20
ARCHIVE_POLL_RECORDS = 10_000
ARCHIVE_NICE = 10


async def build_archive(settings: Settings) -> ArchiveProcess:
    """The archive, which goes on where its files end."""
    os.nice(ARCHIVE_NICE)
    metrics = new_metrics(settings, ARCHIVE)
    clock = SystemClock()
    click_log = KafkaLog(
        for_parts.access(settings),
        topic=settings.topics.clicks,
        poll_timeout_ms=ARCHIVE_POLL_MS,
        records_per_poll_max=ARCHIVE_POLL_RECORDS,
        fetch_bytes_min=ARCHIVE_FETCH_BYTES,
        topic_id=TopicIdentity(settings.state.directory).load(),
    )
    archive = Archive(
        click_log,
        for_parts.decoder(settings, clock),
        ArchiveFiles.from_uri(settings.archive.directory),
        range(settings.topics.partitions),
        metrics,
        clock,
        for_parts.roll_settings(settings),
        erased=snapshots(settings).tombstones.read,
    )
    coordinator = RemoteCoordinator(RealRay(settings.ray.namespace))
    await coordinator.join(export(settings, metrics, "archive", ARCHIVE))
    return ArchiveProcess(archive)
