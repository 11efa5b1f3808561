"""What a shard needs of the deployment's settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actors.state.image import PIECE_ROWS
from actors.state.maker import TierSettings
from actors.state.store import SLICE_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """How a shard snapshots, tiers and measures, and when it calls a state stale."""

    snapshot_interval_s: float = 10.0
    snapshot_share_max: float = 0.03  # of a processor's time
    bytes_per_user_max: int = 4096
    users_initial: int = 1024
    ready_lag_records_max: int = 1000
    silence_s: float = math.inf  # without news of the log's end, after which newer clicks may exist
    # arms that are asked unless one is named; none: all count alike
    traffic: frozenset[str] = frozenset()
    # an arm further behind the most advanced one is fed apart from it
    arms_apart_records: int = 1000
    tiers: TierSettings | None = None  # None: everybody stays in memory
    twins_one_in: int = 0  # users, of whom one is also kept unrounded; 0: nobody
    slice_events: int = SLICE_EVENTS  # folded under a store's lock at a time
    piece_rows: int = PIECE_ROWS  # copied under it at a time
