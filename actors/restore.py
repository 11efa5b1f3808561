"""From snapshots to stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from actors.errors import SnapshotError
from actors.manifest import StateFile
from actors.snapshot import SnapshotStore
from actors.state_file import SnapshotDamaged
from actors.store import PartitionStore
from model.bundle import Bundle

log = logging.getLogger(__name__)

NewStore = Callable[[Bundle], PartitionStore]
OnDamage = Callable[[SnapshotDamaged], None]


def restore(
    partition: int,
    arms: Mapping[str, Bundle],
    snapshots: SnapshotStore,
    new_store: NewStore,
    on_damage: OnDamage,
) -> dict[str, PartitionStore]:
    """A store for each arm, from the newest undamaged snapshot of its own model and schema, or else empty at offset 0.

    Arms may end at different positions. `on_damage` hears of each damaged file.

    Raises:
        SnapshotError: the directory or files in it cannot be read, and so an arm would start from nothing although a
            good snapshot may be there; the log may not reach back that far.
    """
    damaged: list[SnapshotDamaged] = []

    def report(damage: SnapshotDamaged) -> None:
        damaged.append(damage)
        on_damage(damage)

    found = snapshots.find(partition)
    for damage in found.damaged:
        report(damage)
    stores = {}
    for arm, bundle in arms.items():
        files = [manifest.arms[arm] for manifest in found.manifests if arm in manifest.arms]
        usable = [file for file in files if _fits(file, bundle)]
        store = _newest(partition, usable, partial(new_store, bundle), snapshots, report)
        stores[arm] = store or _nothing(partition, arm, new_store(bundle), files, damaged)
    return stores


def _newest(
    partition: int,
    files: list[StateFile],
    new_store: Callable[[], PartitionStore],
    snapshots: SnapshotStore,
    on_damage: OnDamage,
) -> PartitionStore | None:
    for file in files:
        store = new_store()
        try:
            for users, rows in snapshots.read(partition, file):
                store.load(users, rows)
        except SnapshotDamaged as damage:
            on_damage(damage)
            continue
        store.skip_to(file.position)
        log.info("partition %d: restored %s, %d users", partition, file.name, store.users)
        return store
    return None


def _nothing(
    partition: int, arm: str, store: PartitionStore, files: list[StateFile], damaged: list[SnapshotDamaged]
) -> PartitionStore:
    for damage in damaged:
        if damage.reason == "unreadable":
            raise SnapshotError(
                f"partition {partition}, arm {arm}: no snapshot could be read, but one may be there ({damage}); make "
                f"it readable, or delete it to rebuild from offset 0"
            )
    newest = f"model {files[0].model}, schema {files[0].schema_hash}" if files else "none"
    log.warning(
        "partition %d, arm %s: no usable snapshot among %d (newest: %s) for model %s, schema %s; the arm starts from "
        "nothing at offset 0 and is rebuilt by replay",
        partition, arm, len(files), newest, store.bundle.version, store.bundle.config.schema_hash(),
    )  # fmt: skip
    return store


def _fits(file: StateFile, bundle: Bundle) -> bool:
    return (file.model, file.schema_hash) == (bundle.version, bundle.config.schema_hash())
