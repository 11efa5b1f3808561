"""The directories that processes share: snapshots and archive."""

from __future__ import annotations

from actors.archive.files import ArchiveFiles
from actors.archive.reader import ArchiveReader
from actors.snapshots.store import SnapshotStore
from cluster.settings.config import Settings


def snapshots(settings: Settings) -> SnapshotStore:
    """The snapshots of this deployment."""
    return SnapshotStore.from_uri(settings.state.directory, settings.state.snapshots_kept)


def history(settings: Settings) -> ArchiveReader | None:
    """Where clicks come from that the log has lost."""
    return (
        ArchiveReader(ArchiveFiles.from_uri(settings.archive.directory))
        if settings.archive.enabled
        else None
    )
