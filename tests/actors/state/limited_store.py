"""A store that keeps few users in memory and the others on disk."""

from __future__ import annotations

from pathlib import Path

from actors.clock import SystemClock
from actors.state.cold import ColdTier
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from actors.state.store import PartitionStore
from tests.actors.click_log import bundle

ROW_BYTES = bundle().layout.row_bytes
HOT_USERS = 40
MAP_BYTES = 1 << 24


def limited(
    root: Path, hot_users: int | None = HOT_USERS, cold_bytes: int = MAP_BYTES, **others
) -> PartitionStore:
    """A store that keeps so many users in memory, and those of a slice."""
    return PartitionStore(
        bundle(),
        users_initial=1,
        bytes_per_user_max=4096,
        hot_bytes_max=None if hot_users is None else hot_users * (ROW_BYTES + BYTES_BESIDE_ROW_MAX),
        cold=ColdTier.below(root, "test", ROW_BYTES, cold_bytes),
        **({"clock": SystemClock()} | others),
    )
