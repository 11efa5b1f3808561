"""One partition that a shard holds: its arms' states, role and epoch,
and how far it is from the end of the log.

Each arm stands at a position of its own. Those about as far as the most advanced one are the front,
and read together; an arm that is further behind (new, of a new model, from an older snapshot) is
fed apart, so that nobody waits for it.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.errors import NotOwner, OffsetGap, ShardUnavailable, StaleEpoch
from actors.locks import Lock
from actors.shard.roles import Feed, Grant, PartitionReport, Role
from actors.snapshots.manifest import Chain
from actors.state.store import PartitionStore
from model.arrays import Bytes

Stores = dict[str, PartitionStore]  # by arm
STILL_S = 10.0  # a shard that restarts, or an election, takes less


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRead:
    """A user's state as of one offset."""

    row: Bytes | None  # (row_bytes,), a copy; None if no click of this user is in the state
    offset: int  # the state holds every click of the partition below it
    last_event_ms: int  # -1 without a click
    stale: bool  # newer clicks exist, or may exist, than the state shows
    partial: bool  # so many are missing, or all, that a user without a click in it may have some


class Fingerprint(NamedTuple):
    """An arm's states in short: equal for equal positions, whichever replica says it."""

    position: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmStats:
    """One arm of one partition."""

    model: str
    position: int
    users: int
    state_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStats:
    """One held partition; `arms` is empty while it restores."""

    partition: int
    epoch: int
    role: Role
    position: int
    durable: int
    ready: bool
    arms: dict[str, ArmStats]


@dataclass(slots=True, eq=False)
class HeldPartition:
    """The arms' stores move on their own: each skips what it has,
    so arms restored at different offsets catch up.

    `stores` is None while the partition restores. `writer` guards everything but reads.
    """

    partition: int
    grant: Grant
    attempted_s: float  # monotonic time of the last try to take a snapshot
    saved_s: float  # and of the last one that is still the newest state
    # the arms that decide whether the partition is ready; none named: all
    traffic: frozenset[str] = frozenset()
    apart: int = 1000  # records behind the most advanced arm, beyond which an arm is fed apart
    saved: dict[str, int] = field(default_factory=dict)  # by arm, up to where it is in a snapshot
    # by arm, the files that the next snapshot adds to,
    chains: dict[str, Chain] = field(default_factory=dict)
    chains_epoch: int = -1  # which were written under this epoch
    size_bytes: int = 0  # of the newest complete snapshot
    stores: Stores | None = None
    front: int = 0  # the next offset of the arms in front, after the last write
    newest: int = 0  # that of the most advanced one
    # the arms behind, after the last write: those with traffic first, then the nearest
    lagging: tuple[str, ...] = ()
    closed: bool = False
    ready: bool = False
    end: int | None = None  # the log's high watermark, as last heard
    heard_s: float = -math.inf  # monotonic time of that
    still: bool = False  # the position does not move although it should
    still_at: int = -1  # the position that was seen away from the end,
    still_since_s: float = math.inf  # first at this monotonic time
    writer: Lock = field(default_factory=threading.Lock)

    @property
    def epoch(self) -> int:
        """The epoch under which the shard holds the partition."""
        return self.grant.epoch

    @property
    def role(self) -> Role:
        """What the shard does with the partition."""
        return self.grant.role

    @property
    def position(self) -> int:
        """The least of the arms' positions; 0 while restoring."""
        return min(store.position for store in self.stores.values()) if self.stores else 0

    @property
    def durable(self) -> int:
        """Every arm is in a snapshot up to here."""
        return min(self.saved.values(), default=0)

    @property
    def answering(self) -> int:
        """The least position of the arms that take traffic; 0 while restoring."""
        stores = self.stores or {}
        return min(
            (stores[arm].position for arm in self.traffic if arm in stores), default=self.position
        )

    def next_offset(self, feed: Feed) -> int:
        """Where a reader goes on; for arms behind the front that of one,
        and where there is none, the front's.
        """
        if feed is Feed.BEHIND and self.lagging and self.stores:
            return self.stores[self.lagging[0]].position
        return self.front

    def line_up(self) -> None:
        """See who is in front, after a write and under `writer`:
        while a batch is folded, arms are apart anyway.

        Who was behind is fed apart until it is level, or the front's reader comes back for it, as
        new clicks make it.
        """
        at = {arm: store.position for arm, store in (self.stores or {}).items()}
        self.newest = max(at.values(), default=0)
        apart = {arm for arm, position in at.items() if self.newest - position > self.apart}
        behind = apart | {arm for arm in self.lagging if at[arm] < self.newest}
        self.lagging = tuple(sorted(behind, key=lambda arm: (arm not in self.traffic, -at[arm])))
        self.front = min((position for arm, position in at.items() if arm not in apart), default=0)

    def renew(self, grant: Grant, now_s: float) -> int:
        """Go on under a newer epoch and in its role,
        after the batch in progress; the front's next offset.

        A standby that becomes owner takes its first snapshot an interval after `now_s`, the clock's
        monotonic time.
        """
        with self.writer:
            if grant.epoch <= self.epoch:
                raise StaleEpoch(
                    f"partition {self.partition}: epoch {grant.epoch} is not newer than epoch "
                    f"{self.epoch}, under which this shard holds it; take the assignment from the "
                    "coordinator again"
                )
            self.check_open()  # not given up while we waited
            if self.role is Role.STANDBY:
                self.attempted_s = self.saved_s = now_s
            self.grant = grant
            return self.front

    def check_open(self) -> None:
        """Raise NotOwner if the partition was given up."""
        if self.closed:
            raise NotOwner(
                f"partition {self.partition} was given up just now; ask for the routing table again"
            )

    def owner_epoch(self) -> int:
        """The epoch of who owns the partition and may save it,
        for who holds `writer`; NotOwner for all others.
        """
        self.check_open()
        if self.role is not Role.OWNER:
            raise NotOwner(
                f"this shard is the standby of partition {self.partition}; its owner takes "
                "snapshots"
            )
        return self.epoch

    def check_owned(self, epoch: int) -> None:
        """Raise NotOwner if the partition is not owned under `epoch` any
        more; for who holds `writer`.
        """
        if self.owner_epoch() != epoch:
            raise NotOwner(
                f"partition {self.partition} is held under epoch {self.epoch} instead of {epoch} "
                "since just now; save it again"
            )

    def restored(self) -> Stores:
        """The stores, of a partition that is neither given up nor restoring."""
        self.check_open()
        if self.stores is None:
            raise ShardUnavailable(
                f"partition {self.partition} is restoring its snapshot; try again in a moment"
            )
        return self.stores

    def knows(self, user_key: int) -> bool:
        """Whether an arm has a state of the user, or a tombstone says that it had."""
        with self.writer:
            stores = self.restored().values()
            return any(
                user_key in store.tombstones or store.row(user_key) is not None for store in stores
            )

    def writable(self, epoch: int) -> Stores:
        """The stores, for who writes under `epoch` and holds `writer`."""
        stores = self.restored()
        if epoch != self.epoch:
            raise StaleEpoch(
                f"partition {self.partition}: the caller's epoch is {epoch}, but the shard holds "
                f"it under epoch {self.epoch}; take the assignment from the coordinator again"
            )
        return stores

    def fed(self, epoch: int, start: int, feed: Feed) -> Stores:
        """The stores that go on at `start` or beyond, as `writable`; each skips what it has."""
        stores = self.writable(epoch)
        if start > (expected := self.next_offset(feed)):
            raise OffsetGap(self.partition, expected, start)
        return {arm: store for arm, store in stores.items() if store.position >= start}

    def limit(self, stop: int, feed: Feed) -> int:
        """How far of `stop` a reader may bring its arms:
        nobody overtakes the front, whose reader writes letters.
        """
        return stop if feed is Feed.FRONT else min(stop, self.newest)

    def evict_idle(self, idle_s: float) -> int:
        """Move some users who were idle for `idle_s` seconds to the cold tier;
        how many, 0 when all are there.
        """
        with self.writer:
            stores = {} if self.closed else self.stores or {}
            return sum(store.evict_idle(idle_s) for store in stores.values())

    def observe_end(self, end: int, lag_max: int, now_s: float) -> None:
        """Learn the high watermark at `now_s`, the clock's monotonic time."""
        self.end = end
        self.heard_s = now_s
        self.check_ready(lag_max)

    def check_ready(self, lag_max: int) -> None:
        """Ready from the first time on that the slowest arm with traffic is within
        `lag_max` of the high watermark.
        """
        if (
            self.stores is not None
            and self.end is not None
            and self.end - self.answering <= lag_max
        ):
            self.ready = True

    def stale(self, position: int, lag_max: int, heard_since_s: float) -> bool:
        """Whether more than `lag_max` records may lie beyond `position`.

        So it is until an end is known, when none was heard since `heard_since_s`, and while the
        partition stands still.
        """
        return (
            self.still
            or self.end is None
            or self.heard_s < heard_since_s
            or self.end - position > lag_max
        )

    def partial(self, position: int, lag_max: int) -> bool:
        """Whether more than `lag_max` records lie beyond `position`, as far as is known."""
        return self.end is not None and self.end - position > lag_max

    def report(self, lag_max: int, now_s: float) -> PartitionReport:
        """The partition in a heartbeat; clicks may have been applied since its end was heard."""
        self.check_ready(lag_max)
        self._check_still(lag_max, now_s)
        return PartitionReport(
            epoch=self.epoch,
            role=self.role,
            position=self.answering,
            caught_up=self.ready and not self.still,
            behind=bool(self.lagging),
        )

    def _check_still(self, lag_max: int, now_s: float) -> None:
        """It stands still when the front stayed away from the log's end for
        `STILL_S`: behind it, or beyond it.
        """
        position = self.front
        if self.end is None or 0 <= self.end - position <= lag_max:
            self.still_since_s = math.inf
        elif position != self.still_at or self.still_since_s == math.inf:
            self.still_at = position
            self.still_since_s = now_s
        self.still = now_s - self.still_since_s >= STILL_S

    def stats(self) -> PartitionStats:
        """The figures for status reports."""
        arms = {
            arm: ArmStats(
                model=store.bundle.version,
                position=store.position,
                users=store.users,
                state_bytes=store.bytes_hot + store.bytes_cold,
            )
            for arm, store in (self.stores or {}).items()
        }
        return PartitionStats(
            partition=self.partition,
            epoch=self.epoch,
            role=self.role,
            position=self.position,
            durable=self.durable,
            ready=self.ready,
            arms=arms,
        )
