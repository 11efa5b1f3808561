"""Where a replay's clicks come from, by the settings: archive, log,
or the one and then the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from actors.archive.reader import ArchiveReader
from actors.archive.replay import ArchiveThenLog
from actors.clicks.codec import Decoder
from actors.clock import Clock
from actors.errors import ConfigError
from actors.ingest.log_reader import LogReader
from actors.ingest.ports import ClickHistory
from actors.snapshots.store import SnapshotStore
from cluster.kafka.log import KafkaLog
from cluster.operate.replay.source import Source
from cluster.settings.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a replay reads; the log is connected to when it is opened."""

    clock: Clock
    decoder: Decoder
    snapshots: SnapshotStore
    archive: ArchiveReader
    open_log: Callable[[], KafkaLog]


@contextmanager
def history(settings: Settings, inputs: Inputs, source: Source) -> Iterator[ClickHistory]:
    """The history of the clicks topic. Without kafka.bootstrap_servers, BOTH is the archive alone.

    Raises:
        ConfigError: LOG without kafka.bootstrap_servers.
        BrokerUnavailable: nobody answers there.
    """
    archive = inputs.archive
    if source is Source.ARCHIVE or (source is Source.BOTH and not settings.kafka.bootstrap_servers):
        yield archive
        return
    with log_reader(settings, inputs) as log:
        yield log if source is Source.LOG else ArchiveThenLog(archive, log)


@contextmanager
def log_reader(settings: Settings, inputs: Inputs) -> Iterator[LogReader]:
    """The clicks topic alone."""
    if not settings.kafka.bootstrap_servers:
        raise ConfigError(
            "the log cannot be read without kafka.bootstrap_servers; set it, or "
            "ECHORANK__KAFKA__BOOTSTRAP_SERVERS (echorank up prints the address), or take "
            "--source archive"
        )
    click_log = inputs.open_log()
    try:
        yield LogReader(click_log, inputs.decoder, inputs.clock)
    finally:
        click_log.close()
