"""The archive, which goes on where its files end."""

from __future__ import annotations

from actors.archive.writer import Archive
from cluster.names import ARCHIVE
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.remote import RemoteCoordinator
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring import files
from cluster.wiring.process import export, new_metrics
from cluster.wiring.world import World

# Nobody waits for the archive: few and large polls, 1.1 CPU seconds for 100,000 clicks, and others
# go first.
ARCHIVE_POLL_MS = 1000
ARCHIVE_FETCH_BYTES = 1 << 20
ARCHIVE_POLL_RECORDS = 10_000
ARCHIVE_NICE = 10


async def build_archive(world: World, settings: Settings) -> ArchiveProcess:
    """The archive, which goes on where its files end."""
    world.host.give_way(ARCHIVE_NICE)
    metrics = new_metrics(world, settings, ARCHIVE)
    click_log = world.kafka.log(
        for_parts.access(settings),
        topic=settings.topics.clicks,
        poll_timeout_ms=ARCHIVE_POLL_MS,
        records_per_poll_max=ARCHIVE_POLL_RECORDS,
        fetch_bytes_min=ARCHIVE_FETCH_BYTES,
        topic_id=files.topic_identity(world, settings).load(),
    )
    archive = Archive(
        click_log,
        for_parts.decoder(settings, world.clock),
        files.archive(world, settings.archive.directory),
        range(settings.topics.partitions),
        metrics,
        world.clock,
        for_parts.roll_settings(settings),
        erased=files.snapshots(world, settings).tombstones.read,
        locks=world.locks,
    )
    coordinator = RemoteCoordinator(world.ray)
    await coordinator.join(export(world, settings, metrics, "archive", ARCHIVE))
    return ArchiveProcess(archive)
