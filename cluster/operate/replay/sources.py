"""Where a replay's clicks come from, by the settings: archive, log,
or the one and then the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.archive.files import ArchiveFiles
from actors.archive.parquet import ROWS_PER_GROUP
from actors.archive.reader import ArchiveReader
from actors.archive.replay import ArchiveThenLog
from actors.clock import SystemClock
from actors.errors import ConfigError
from actors.ingest.log_reader import LogReader
from actors.ingest.ports import ClickHistory
from cluster.kafka.log import KafkaLog
from cluster.kafka.topic_identity import TopicIdentity
from cluster.operate.replay.source import Source
from cluster.settings import for_parts
from cluster.settings.config import Settings

POLL_MS = 200
POLL_RECORDS = 50_000


@contextmanager
def history(settings: Settings, source: Source) -> Iterator[ClickHistory]:
    """The history of the clicks topic. Without kafka.bootstrap_servers, BOTH is the archive alone.

    Raises:
        ConfigError: LOG without kafka.bootstrap_servers.
        BrokerUnavailable: nobody answers there.
    """
    archive = ArchiveReader(
        ArchiveFiles.from_uri(settings.archive.directory), batch_clicks=ROWS_PER_GROUP
    )
    if source is Source.ARCHIVE or (source is Source.BOTH and not settings.kafka.bootstrap_servers):
        yield archive
        return
    with log_reader(settings) as log:
        yield log if source is Source.LOG else ArchiveThenLog(archive, log)


@contextmanager
def log_reader(settings: Settings) -> Iterator[LogReader]:
    """The clicks topic alone."""
    if not settings.kafka.bootstrap_servers:
        raise ConfigError(
            "the log cannot be read without kafka.bootstrap_servers; set it, or "
            "ECHORANK__KAFKA__BOOTSTRAP_SERVERS (echorank up prints the address), or take "
            "--source archive"
        )
    clock = SystemClock()
    click_log = KafkaLog(
        for_parts.access(settings),
        topic=settings.topics.clicks,
        poll_timeout_ms=POLL_MS,
        records_per_poll_max=POLL_RECORDS,
        topic_id=TopicIdentity(settings.state.directory).load(),
    )
    try:
        yield LogReader(click_log, for_parts.decoder(settings, clock), clock)
    finally:
        click_log.close()
