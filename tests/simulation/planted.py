"""Faults planted into the product, one at a time, to show that the simulation would find them.

Each changes one method of a real class while its context lasts. Some slips that come to mind first
are harmless here, because another layer makes up for them; those are planted where they do harm,
and their docstrings say why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from actors.shard.shard import Shard
from actors.snapshots.manifest import Chain, StateFile
from actors.snapshots.restore import _Restoring
from actors.snapshots.store import SnapshotStore
from actors.state.store import PartitionStore
from cluster.coordinator.coordinator import Coordinator
from cluster.coordinator.handover import Hosts

SKIPPED = 3  # offsets


@contextmanager
def _instead(owner: type[Any], name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """`owner.name` is what `make` makes of the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, make(getattr(owner, name)))
        yield


def commit_before_snapshot() -> Any:
    """What is applied is called durable, so ingest commits offsets that no snapshot covers."""
    return _instead(Shard, "durable", lambda _: Shard.positions)


def apply_twice() -> Any:
    """A batch that comes again is folded again.

    Planted in the store, because shards would only forget it together with the states.
    """

    def make(fold: Any) -> Any:
        def applied(self: PartitionStore, batch: Any) -> Any:
            self._position = min(self._position, batch.start)
            return fold(self, batch)

        return applied

    return _instead(PartitionStore, "fold", make)


def skip_a_range() -> Any:
    """A restored partition goes on some offsets too late.

    Planted in the restore, because a gap between two batches is refused by shard and store, and
    read again by ingest.
    """

    def make(hold: Any) -> Any:
        def held(self: Shard, partition: int, *grant: Any) -> int:
            position = hold(self, partition, *grant)
            for store in self._held[partition].stores.values() if position else ():
                store.skip_to(position + SKIPPED)
            return self.positions()[partition]

        return held

    return _instead(Shard, "hold", make)


def drop_an_epoch_check() -> Any:
    """A process that takes another's place goes on under its epochs.

    Planted at the coordinator: a shard that did not compare epochs would apply what its successor
    applies, too, which are the same clicks at the same offsets.
    """
    return _instead(Hosts, "lost", lambda _: lambda _hosts, _replica: False)


def forget_a_tombstone() -> Any:
    """A restored partition knows of no erasure."""

    def make(init: Any) -> Any:
        def made(self: _Restoring, *values: Any) -> None:
            init(self, *values)
            self._erased = {}

        return made

    return _instead(_Restoring, "__init__", make)


def reuse_an_old_manifest() -> Any:
    """The states are those of the manifest before the newest, under the newest one's position.

    Planted behind the choice of the manifest: an older one as a whole costs only a longer replay.
    """

    def make(read: Any) -> Any:
        def pieces(self: SnapshotStore, partition: int, chain: Chain, file: StateFile) -> Any:
            manifests = self.find(partition).manifests
            for arm, newest in manifests[0].arms.items() if len(manifests) > 1 else ():
                if newest == chain:
                    chain = manifests[1].arms[arm]
            return read(self, partition, chain, chain.files[-1])

        return pieces

    return _instead(SnapshotStore, "read", make)


def leave_shards_together() -> Any:
    """Shards that crowd on one node stay there, so that its death takes owner and standby alike."""
    return _instead(Coordinator, "spread", lambda _: lambda _coordinator, _nodes: None)


PLANTED: Mapping[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        commit_before_snapshot,
        apply_twice,
        skip_a_range,
        drop_an_epoch_check,
        forget_a_tombstone,
        reuse_an_old_manifest,
        leave_shards_together,
    )
}
