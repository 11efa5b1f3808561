"""New stores for a shard's partitions and arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.clock import Clock
from actors.locks import THREADS, Locks
from actors.state.cold import ColdDirectory, ColdTier
from actors.state.image import PIECE_ROWS
from actors.state.store import SLICE_EVENTS, PartitionStore
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

OpenCold = Callable[[Path], ColdDirectory]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSettings:
    """When users leave the memory, and where they go."""

    cold_directory: str
    cold_bytes_max: int  # of one partition and arm
    hot_bytes_max: int | None = None  # of one partition and arm
    idle_s: float | None = None


class StoreMaker:
    """Makes empty stores, each with a cold tier of its own where `tiers` asks for one.

    What an earlier process of the same shard left in the cold tier is deleted: its users come from
    snapshots.
    """

    def __init__(
        self,
        shard_id: str,
        *,
        users_initial: int,
        bytes_per_user_max: int,
        tiers: TierSettings | None,
        twins_one_in: int,
        metrics: Metrics,
        clock: Clock,
        open_cold: OpenCold = ColdDirectory,
        locks: Locks = THREADS,
        slice_events: int = SLICE_EVENTS,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self._users_initial = users_initial
        self._bytes_per_user_max = bytes_per_user_max
        self._tiers = tiers
        self._twins_one_in = twins_one_in
        self._metrics = metrics
        self._clock = clock
        self._locks = locks
        self._slice_events = slice_events
        self._piece_rows = piece_rows
        if tiers is not None:
            self._cold = open_cold(Path(tiers.cold_directory, shard_id))
            self._cold.clear()

    def __call__(self, bundle: Bundle) -> PartitionStore:
        """A store of `bundle` at offset 0.

        Raises:
            ConfigError: a user would take too many bytes, or the cold tier's directory cannot be
                used.
        """
        return PartitionStore(
            bundle,
            users_initial=self._users_initial,
            bytes_per_user_max=self._bytes_per_user_max,
            hot_bytes_max=None if self._tiers is None else self._tiers.hot_bytes_max,
            cold=self._cold_tier(bundle),
            clock=self._clock,
            on_evicted=lambda reason, users: self._metrics.evictions_total.labels(reason).inc(
                users
            ),
            twins_one_in=self._twins_one_in,
            new_lock=self._locks.fair,
            slice_events=self._slice_events,
            piece_rows=self._piece_rows,
        )

    def _cold_tier(self, bundle: Bundle) -> ColdTier | None:
        if self._tiers is None:
            return None
        return self._cold.tier(bundle.version, bundle.layout.row_bytes, self._tiers.cold_bytes_max)
