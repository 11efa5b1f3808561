"""Partition 0 in an archive on the disk, what a shard has of it, and its replay by command."""

from __future__ import annotations

from pathlib import Path

from typer.testing import Result

from actors.archive.reader import ArchiveReader
from actors.clicks.click import ClickBatch
from actors.clock import SystemClock
from actors.snapshots import rebuild
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from tests.actors.archived_clicks import add, archive
from tests.actors.click_log import bundle
from tests.cluster.cli import command_line

CLICKS = 120


def run(*arguments: str) -> Result:
    """What the command prints, and its exit code."""
    return command_line.run("replay", "--partition", "0", *arguments)


def archived(root: Path, *, gap: bool = False) -> None:
    """The clicks of partition 0 in three files, or two."""
    add(root / "archive", 0, 40, holes=[9])
    if not gap:
        add(root / "archive", 40, 90)
    add(root / "archive", 90, CLICKS)


def live(root: Path, stop: int) -> PartitionStore:
    """What a shard has after the clicks below `stop`."""
    store = PartitionStore(bundle(), users_initial=4, bytes_per_user_max=4096, clock=SystemClock())
    for piece in ArchiveReader(archive(root / "archive"), 7).read(0, 0, stop):
        assert isinstance(piece, ClickBatch)
        store.fold(piece)
    return store


def saved(root: Path, store: PartitionStore) -> None:
    """Snapshot it."""
    rebuild.save(0, {"main": store}, SnapshotStore.from_uri(str(root / "state"), kept=3))
