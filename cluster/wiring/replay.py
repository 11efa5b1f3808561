"""What `echorank replay` reads."""

from __future__ import annotations

from actors.archive.parquet import ROWS_PER_GROUP
from actors.archive.reader import ArchiveReader
from cluster.kafka.log import KafkaLog
from cluster.operate.replay.sources import Inputs
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.wiring import files
from cluster.wiring.world import World

POLL_MS = 200
POLL_RECORDS = 50_000


def build_inputs(world: World, settings: Settings) -> Inputs:
    """Snapshots, archive and log of these settings; nothing is read yet."""

    def open_log() -> KafkaLog:
        return world.kafka.log(
            for_parts.access(settings),
            topic=settings.topics.clicks,
            poll_timeout_ms=POLL_MS,
            records_per_poll_max=POLL_RECORDS,
            topic_id=files.topic_identity(world, settings).load(),
        )

    archive = files.archive(world, settings.archive.directory)
    return Inputs(
        clock=world.clock,
        decoder=for_parts.decoder(settings, world.clock),
        snapshots=files.snapshots(world, settings),
        archive=ArchiveReader(archive, batch_clicks=ROWS_PER_GROUP),
        open_log=open_log,
    )
