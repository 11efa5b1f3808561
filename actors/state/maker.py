"""New stores for a shard's partitions and arms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actors.clock import Clock
from actors.state import cold
from actors.state.cold import ColdTier
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics


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
        shadows_one_in: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._users_initial = users_initial
        self._bytes_per_user_max = bytes_per_user_max
        self._tiers = tiers
        self._shadows_one_in = shadows_one_in
        self._metrics = metrics
        self._clock = clock
        if tiers is not None:
            self._root = Path(tiers.cold_directory, shard_id)
            cold.clear(self._root)

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
            shadows_one_in=self._shadows_one_in,
        )

    def _cold_tier(self, bundle: Bundle) -> ColdTier | None:
        if self._tiers is None:
            return None
        return ColdTier.below(
            self._root, bundle.version, bundle.layout.row_bytes, self._tiers.cold_bytes_max
        )
