"""A user taken out of a partition that a shard holds, for good.

The owner decides below which offset the user's clicks count no more, makes that durable as a
tombstone, and only then forgets the user; a standby follows with the same offset. What has died in
between reads the tombstone when it restores. What fails in between leaves states that fit no
tombstone, so the partition is given up and restored as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from actors.errors import ShardUnavailable, SnapshotError, TombstoneTooLow
from actors.shard.held import HeldPartition, Stores
from actors.shard.roles import Role
from actors.snapshots.tombstone_files import TombstoneFiles
from actors.state.store import PartitionStore

log = logging.getLogger(__name__)

GiveUp = Callable[[HeldPartition], None]  # for who holds the partition's writer


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedState:
    """What one arm knew of the user; `digest` is xxh64 of the state, as Inspect gives it."""

    arm: str
    digest: str  # empty if nothing was there
    cold: bool  # the state was on disk

    @property
    def removed(self) -> bool:
        """Whether there was a state."""
        return bool(self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedStates:
    """What was removed from one replica of a partition."""

    until: int  # clicks of the user below this offset are never folded again
    tombstone: str  # the file that says so; empty at a standby, which writes none
    arms: list[ErasedState]


class Eraser:
    """Erases users from partitions that are held,
    and learns of those erased while it was not asked.
    """

    def __init__(self, tombstones: TombstoneFiles, give_up: GiveUp) -> None:
        self._tombstones = tombstones
        self._give_up = give_up

    def erase(self, held: HeldPartition, stores: Stores, user_key: int, until: int) -> ErasedStates:
        """Forget the user and every click of theirs below `until`;
        for who holds the partition's writer.

        An owner raises `until` to its position, to the log's end as it knows it, and to what
        earlier tombstones say.

        Raises:
            TombstoneTooLow: a standby has gone beyond `until`: nothing was done; ask its owner for
                a higher one.
            SnapshotError: the tombstone could not be written: nothing was done, or the partition
                was given up.
            ColdTierError: the disk is full; the partition was given up, and restores without the
                user.
        """
        if held.role is Role.STANDBY:
            return ErasedStates(
                until=until, tombstone="", arms=self._follow(held, stores, user_key, until)
            )
        known = self._known(stores)
        written = self._tombstones.read(held.partition, known).get(user_key, 0)
        until = max(until, _reached(stores), held.end or 0, written, known.get(user_key, 0))
        path = self._write(held, user_key, until, is_new=until > known.get(user_key, -1))
        return ErasedStates(
            until=until, tombstone=path, arms=self._forget(held, stores, user_key, until)
        )

    def learn(self, held: HeldPartition) -> None:
        """Erase whoever has a tombstone that this replica was not told of;
        before it takes another role.

        Raises:
            SnapshotError: the tombstones cannot be read, without which an erased user might stay.
            ShardUnavailable: such a tombstone lies below the position; the partition was given up,
                to be restored.
        """
        if held.stores is None:
            return  # whoever restores reads them
        found = self._tombstones.read(held.partition, self._known(held.stores))
        with held.writer:
            stores = held.restored()
            known = self._known(stores)
            for user_key, until in found.items():
                if until <= known.get(user_key, -1):
                    continue
                if until < _reached(stores):
                    self._give_up(held)
                    raise ShardUnavailable(
                        f"partition {held.partition} has gone beyond offset {until}, below which "
                        "a user was erased meanwhile; it is given up and restored from a snapshot"
                    )
                self._forget(held, stores, user_key, until)

    def _follow(
        self, held: HeldPartition, stores: Stores, user_key: int, until: int
    ) -> list[ErasedState]:
        if until <= self._known(stores).get(user_key, -1):
            return [ErasedState(arm=arm, digest="", cold=False) for arm in stores]
        if until < (reached := _reached(stores)):
            raise TombstoneTooLow(held.partition, until, reached)
        return self._forget(held, stores, user_key, until)

    def _write(self, held: HeldPartition, user_key: int, until: int, *, is_new: bool) -> str:
        """Whether a new tombstone whose writing failed is there or not decides
        whether these states are right.
        """
        try:
            return self._tombstones.write(held.partition, user_key, until)
        except SnapshotError:
            if is_new and self._may_be_written(held.partition, user_key, until):
                log.error(
                    "partition %d: a tombstone may be written or not; it is given up",
                    held.partition,
                )
                self._give_up(held)
            raise

    def _may_be_written(self, partition: int, user_key: int, until: int) -> bool:
        try:
            return self._tombstones.read(partition).get(user_key, -1) >= until
        except SnapshotError as error:
            log.warning("%s", error)
            return True

    def _forget(
        self, held: HeldPartition, stores: Stores, user_key: int, until: int
    ) -> list[ErasedState]:
        try:
            for store in stores.values():
                store.set_tombstone(user_key, until)
            return [_forgotten(arm, store, user_key) for arm, store in stores.items()]
        except Exception:
            log.error(
                "partition %d: an erased user could not be removed; it is given up", held.partition
            )
            self._give_up(held)
            raise

    @staticmethod
    def _known(stores: Stores) -> dict[int, int]:
        """Of each user the offset that every arm knows; arms learn together,
        or the partition is given up.
        """
        first, *_ = stores.values()
        return dict(first.tombstones)


def _forgotten(arm: str, store: PartitionStore, user_key: int) -> ErasedState:
    cold = store.users_cold
    row = store.erase(user_key)
    digest = "" if row is None else xxhash.xxh64_hexdigest(row)
    return ErasedState(arm=arm, digest=digest, cold=store.users_cold < cold)


def _reached(stores: Stores) -> int:
    return max(store.position for store in stores.values())
