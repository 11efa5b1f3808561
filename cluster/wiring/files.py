"""The directories that processes share: snapshots and archive."""

from __future__ import annotations

from actors.archive.files import ArchiveFiles
from actors.snapshots.store import SnapshotStore
from cluster.kafka.topic_identity import TopicIdentity
from cluster.settings.config import Settings
from cluster.wiring.world import World


def snapshots(world: World, settings: Settings) -> SnapshotStore:
    """The snapshots of this deployment."""
    state = settings.state
    return SnapshotStore.from_uri(state.directory, state.snapshots_kept, world.open_root)


def archive(world: World, directory: str) -> ArchiveFiles:
    """The archive in a directory, for a process that may write to it."""
    return ArchiveFiles.from_uri(directory, world.open_root, world.token(8))


def topic_identity(world: World, settings: Settings) -> TopicIdentity:
    """Which topic the states belong to."""
    return TopicIdentity(settings.state.directory, world.open_root)
