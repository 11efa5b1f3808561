"""One partition that a shard holds: its arms' states, role and epoch, and how far it is from the end of the log."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.errors import NotOwner, OffsetGap, ShardUnavailable, StaleEpoch
from actors.manifest import Chain
from actors.roles import Grant, Held, Role
from actors.store import PartitionStore

Stores = dict[str, PartitionStore]  # by arm
STILL_S = 10.0  # a shard that restarts, or an election, takes less


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
class Owned:
    """The arms' stores move on their own: each skips what it has, so arms restored at different offsets catch up.

    `stores` is None while the partition restores. `writer` guards everything but reads.
    """

    partition: int
    grant: Grant
    attempted_s: float  # monotonic time of the last try to take a snapshot
    saved_s: float  # and of the last one that is still the newest state
    durable: int = 0  # every arm is in a snapshot up to here
    chains: dict[str, Chain] = field(default_factory=dict)  # by arm, the files that the next snapshot adds to,
    chains_epoch: int = -1  # which were written under this epoch
    size_bytes: int = 0  # of the newest complete snapshot
    stores: Stores | None = None
    closed: bool = False
    ready: bool = False
    end: int | None = None  # the log's high watermark, as last heard
    heard_s: float = -math.inf  # monotonic time of that
    still: bool = False  # the position does not move although it should
    still_at: int = -1  # the position that was seen away from the end,
    still_since_s: float = math.inf  # first at this monotonic time
    writer: threading.Lock = field(default_factory=threading.Lock)

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

    def renew(self, grant: Grant, now_s: float) -> int:
        """Go on under a newer epoch and in its role, after the batch in progress; the position.

        A standby that becomes owner takes its first snapshot an interval after `now_s`, the clock's monotonic time.
        """
        with self.writer:
            if grant.epoch <= self.epoch:
                raise StaleEpoch(
                    f"partition {self.partition}: epoch {grant.epoch} is not newer than epoch {self.epoch}, under "
                    f"which this shard holds it; take the assignment from the coordinator again"
                )
            self.check_open()  # not given up while we waited
            if self.role is Role.STANDBY:
                self.attempted_s = self.saved_s = now_s
            self.grant = grant
            return self.position

    def check_open(self) -> None:
        """Raise NotOwner if the partition was given up."""
        if self.closed:
            raise NotOwner(f"partition {self.partition} was given up just now; ask for the routing table again")

    def owner_epoch(self) -> int:
        """The epoch of who owns the partition and may save it, for who holds `writer`; NotOwner for all others."""
        self.check_open()
        if self.role is not Role.OWNER:
            raise NotOwner(f"this shard is the standby of partition {self.partition}; its owner takes snapshots")
        return self.epoch

    def check_owned(self, epoch: int) -> None:
        """Raise NotOwner if the partition is not owned under `epoch` any more; for who holds `writer`."""
        if self.owner_epoch() != epoch:
            raise NotOwner(
                f"partition {self.partition} is held under epoch {self.epoch} instead of {epoch} since just now; save "
                f"it again"
            )

    def restored(self) -> Stores:
        """The stores, of a partition that is neither given up nor restoring."""
        self.check_open()
        if self.stores is None:
            raise ShardUnavailable(f"partition {self.partition} is restoring its snapshot; try again in a moment")
        return self.stores

    def writable(self, epoch: int, start: int) -> Stores:
        """The stores, for who writes from `start` on under `epoch` and holds `writer`."""
        stores = self.restored()
        if epoch != self.epoch:
            raise StaleEpoch(
                f"partition {self.partition}: the caller's epoch is {epoch}, but the shard holds it under epoch "
                f"{self.epoch}; take the assignment from the coordinator again"
            )
        if start > self.position:
            raise OffsetGap(self.partition, self.position, start)
        return stores

    def evict_idle(self, idle_s: float) -> int:
        """Move some users who were idle for `idle_s` seconds to the cold tier; how many, 0 when all are there."""
        with self.writer:
            stores = {} if self.closed else self.stores or {}
            return sum(store.evict_idle(idle_s) for store in stores.values())

    def observe_end(self, end: int, lag_max: int, now_s: float) -> None:
        """Learn the high watermark at `now_s`, the clock's monotonic time."""
        self.end, self.heard_s = end, now_s
        self.check_ready(lag_max)

    def check_ready(self, lag_max: int) -> None:
        """Ready from the first time on that the slowest arm is within `lag_max` of the high watermark."""
        if self.stores is not None and self.end is not None and self.end - self.position <= lag_max:
            self.ready = True

    def stale(self, position: int, lag_max: int, heard_since_s: float) -> bool:
        """Whether more than `lag_max` records may lie beyond `position`.

        So it is until an end is known, when none was heard since `heard_since_s`, and while the partition stands still.
        """
        return self.still or self.end is None or self.heard_s < heard_since_s or self.end - position > lag_max

    def held(self, lag_max: int, now_s: float) -> Held:
        """The partition in a heartbeat; clicks may have been applied since its end was heard."""
        self.check_ready(lag_max)
        self._check_still(lag_max, now_s)
        caught_up = self.ready and not self.still
        return Held(epoch=self.epoch, role=self.role, position=self.position, caught_up=caught_up)

    def _check_still(self, lag_max: int, now_s: float) -> None:
        """It stands still when its position stayed away from the log's end for `STILL_S`: behind it, or beyond it."""
        position = self.position
        if self.end is None or 0 <= self.end - position <= lag_max:
            self.still_since_s = math.inf
        elif position != self.still_at or self.still_since_s == math.inf:
            self.still_at, self.still_since_s = position, now_s
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
