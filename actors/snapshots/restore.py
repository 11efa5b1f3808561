"""From snapshots to stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from actors.errors import SnapshotError
from actors.snapshots.manifest import Chain, Manifest
from actors.snapshots.state_file import SnapshotDamaged
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from model.arrays import Bytes, Keys
from model.bundle.bundle import Bundle

log = logging.getLogger(__name__)

NewStore = Callable[[Bundle], PartitionStore]
OnDamage = Callable[[SnapshotDamaged], None]

# the owner before may still retire what was just listed, but is not faster ten times
LISTINGS_MAX = 10


class Restored(NamedTuple):
    """One arm: its states, and the chain that they came from;
    None for one that starts from nothing.
    """

    store: PartitionStore
    chain: Chain | None


def restore(
    partition: int,
    arms: Mapping[str, Bundle],
    snapshots: SnapshotStore,
    new_store: NewStore,
    on_damage: OnDamage,
    at_most: int | None = None,
) -> dict[str, Restored]:
    """A store for each arm, from the newest undamaged snapshot of its own model
    and schema, or else empty at offset 0.

    With `at_most` from the newest that holds no click at or above that offset. Arms may end at
    different positions. `on_damage` hears of each damaged file, once. Rows of erased users are left
    out, and every store knows these users afterwards.

    Raises:
        SnapshotError: the directory or files in it cannot be read, and so an arm would start from
            nothing although a good snapshot may be there; the log may not reach back that far. Also
            for a damaged tombstone.
    """
    restoring = _Restoring(partition, snapshots, new_store, on_damage, at_most)
    return {arm: restoring.arm(arm, bundle) for arm, bundle in arms.items()}


class _Restoring:
    """What the arms of one partition share: the manifests, the erased users,
    and what is known to be damaged.
    """

    def __init__(
        self,
        partition: int,
        snapshots: SnapshotStore,
        new_store: NewStore,
        on_damage: OnDamage,
        at_most: int | None,
    ) -> None:
        self._partition = partition
        self._snapshots = snapshots
        self._new_store = new_store
        self._on_damage = on_damage
        self._at_most = at_most
        self._erased = snapshots.tombstones.read(partition)
        # by file, so that none is read or reported twice
        self._damaged: dict[str, SnapshotDamaged] = {}
        self._manifests = self._list()

    def arm(self, arm: str, bundle: Bundle) -> Restored:
        chains: list[Chain] = []
        for _ in range(LISTINGS_MAX):
            chains = [manifest.arms[arm] for manifest in self._manifests if arm in manifest.arms]
            for chain in chains:
                if self._at_most is not None and chain.position > self._at_most:
                    continue
                if _fits(chain, bundle) and (store := self._load(arm, chain, bundle)):
                    return Restored(store, chain)
            listed = self._manifests
            self._manifests = self._list()
            if self._manifests == listed:
                break
        return Restored(self._nothing(arm, bundle, chains), None)

    def _list(self) -> list[Manifest]:
        found = self._snapshots.find(self._partition)
        for damage in found.damaged:
            self._report(damage.path, damage)
        return found.manifests

    def _load(self, arm: str, chain: Chain, bundle: Bundle) -> PartitionStore | None:
        """A store of the whole chain; None, and nothing kept of it, if any file is damaged."""
        if any(file.name in self._damaged for file in chain.files):
            return None
        store = self._store(bundle)
        for file in chain.files:
            erased = [user for user, until in self._erased.items() if file.position <= until]
            try:
                for users, rows in self._snapshots.read(self._partition, chain, file):
                    store.load(*_without(erased, users, rows))
            except SnapshotDamaged as damage:
                self._report(file.name, damage)
                return None
        store.skip_to(chain.position)
        text = (
            "partition %d, arm %s: restored %d users at offset %d from %d files, the last of "
            "which is %s"
        )
        names = len(chain.files), chain.files[-1].name
        log.info(text, self._partition, arm, store.users, chain.position, *names)
        return store

    def _nothing(self, arm: str, bundle: Bundle, chains: list[Chain]) -> PartitionStore:
        for damage in self._damaged.values():
            if damage.reason == "unreadable":
                raise SnapshotError(
                    f"partition {self._partition}, arm {arm}: no snapshot could be read, but one "
                    f"may be there ({damage}); make it readable, or delete it to rebuild from "
                    "offset 0"
                )
        newest = f"model {chains[0].model}, schema {chains[0].schema_hash}" if chains else "none"
        log.warning(
            "partition %d, arm %s: no usable snapshot among %d (newest: %s) for model %s, schema "
            "%s; the arm starts from nothing at offset 0 and is rebuilt by replay",
            self._partition, arm, len(chains), newest, bundle.version, bundle.config.schema_hash(),
        )  # fmt: skip
        return self._store(bundle)

    def _store(self, bundle: Bundle) -> PartitionStore:
        store = self._new_store(bundle)
        for user, until in self._erased.items():
            store.set_tombstone(user, until)
        return store

    def _report(self, file: str, damage: SnapshotDamaged) -> None:
        if file not in self._damaged:
            self._damaged[file] = damage
            self._on_damage(damage)


def _without(erased: Sequence[int], users: Keys, rows: Bytes) -> tuple[Keys, Bytes]:
    if not erased:
        return users, rows
    kept = ~np.isin(users, np.array(erased, dtype=np.uint64))
    return users[kept], rows[kept]


def _fits(chain: Chain, bundle: Bundle) -> bool:
    return (chain.model, chain.schema_hash) == (bundle.version, bundle.config.schema_hash())
