"""Gauges of a shard's states, computed when they are read, not at each batch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from actors.state.store import PartitionStore
from monitoring.metrics import Metrics


def export(
    metrics: Metrics, arm: str, bytes_per_user: int, stores: Callable[[], list[PartitionStore]]
) -> None:
    """Show one arm's states, of the partitions whose `stores` there are at the time of asking."""

    def compression_error() -> float:
        errors = [error for store in stores() for error in store.compression_errors()]
        return statistics.fmean(errors) if errors else math.nan

    metrics.compression_error.labels(arm).set_function(compression_error)
    metrics.state_bytes_per_user.labels(arm).set(bytes_per_user)
    metrics.state_users.labels(arm, "hot").set_function(lambda: sum(s.users_hot for s in stores()))
    metrics.state_bytes.labels(arm, "hot").set_function(lambda: sum(s.bytes_hot for s in stores()))
    metrics.state_users.labels(arm, "cold").set_function(
        lambda: sum(s.users_cold for s in stores())
    )
    metrics.state_bytes.labels(arm, "cold").set_function(
        lambda: sum(s.bytes_cold for s in stores())
    )
    metrics.cold_tier_full.labels(arm).set_function(lambda: sum(s.cold_full for s in stores()))
