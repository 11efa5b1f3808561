"""How patient the coordinator is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """How patient the coordinator is, and how much it keeps in reserve."""

    standbys: int = 0  # of each partition: 0 or 1
    lease_s: float = 1.0  # without a heartbeat for so long, a shard's standbys take over
    grace_s: float = 5.0  # and so much later its partitions go to others
    # a shard that has not registered yet gets so long: the first start compiles
    start_s: float = 120.0
    handover_lag_max: int = 1000  # records by which a new owner may be behind the old one
    # partitions that move at a time: each is in memory twice, and without its standby
    moves_max: int = 4
