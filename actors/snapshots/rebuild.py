"""Where a replay begins, and how what it computed becomes a snapshot:
the only use it makes of `SnapshotStore`.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.errors import SnapshotError
from actors.snapshots.manifest import Manifest
from actors.snapshots.restore import NewStore
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle


def empty(
    partition: int, arms: Mapping[str, Bundle], snapshots: SnapshotStore, new_store: NewStore
) -> dict[str, PartitionStore]:
    """Stores at offset 0, which know the erased users.

    Raises:
        SnapshotError: the tombstones cannot be read.
    """
    erased = snapshots.tombstones.read(partition)
    stores = {arm: new_store(bundle) for arm, bundle in arms.items()}
    for store in stores.values():
        for user, until in erased.items():
            store.set_tombstone(user, until)
    return stores


def save(
    partition: int, stores: Mapping[str, PartitionStore], snapshots: SnapshotStore
) -> Manifest:
    """Make these states the newest snapshot of their arms; other arms keep theirs.
    While nobody owns the partition.

    Under the newest snapshot's epoch, so that whatever an owner writes later is newer. A crash
    leaves the snapshots as they were.

    Raises:
        SnapshotError: it cannot be written, or a snapshot is there that is ahead of these states.
    """
    newest = next(iter(snapshots.find(partition).manifests), None)
    for arm, store in stores.items():
        if newest is not None and arm in newest.arms and newest.arms[arm].position > store.position:
            raise SnapshotError(
                f"partition {partition}, arm {arm}: the newest snapshot is at offset "
                f"{newest.arms[arm].position}, ahead of these states at {store.position}, and "
                "would be taken in their place; replay that far"
            )
    epoch, arms = (newest.epoch, dict(newest.arms)) if newest is not None else (0, {})
    for arm, store in stores.items():
        image = store.image(arm, full=True)
        try:
            arms[arm] = snapshots.add(partition, epoch, image, store.users, None)
        finally:
            image.close(False)
    return snapshots.seal(partition, epoch, arms)
