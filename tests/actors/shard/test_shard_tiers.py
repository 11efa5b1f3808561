"""A shard whose memory is limited: the same states, counted by tier,
and saved and restored with both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.shard.shard import Shard
from actors.state.maker import TierSettings
from cluster.settings.config import Settings
from cluster.settings.for_parts import shard_settings
from tests.actors.click_log import ClickLog, bundle, sample, shard

LOG = ClickLog(4000)
LOG.users[:] = np.random.default_rng(3).integers(0, 500, len(LOG.users)).astype(np.uint64)


def small(root: Path, cold_bytes: int = 1 << 24, **settings: float) -> Shard:
    """A shard that keeps 50 users in memory."""
    cold = root / "cold"
    tiers = TierSettings(cold_directory=str(cold), cold_bytes_max=cold_bytes, **settings)
    return shard(root / "state", tiers=tiers)


def apply(owner: Shard, start: int, stop: int, epoch: int = 1) -> None:
    """Fold the log's offsets, 100 at a time."""
    for at in range(start, stop, 100):
        owner.apply(LOG.batch(at, min(stop, at + 100)), epoch)


def digest(root: Path, stop: int) -> str:
    """The digest of a shard whose memory is not limited."""
    owner = shard(root)
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, stop), 1)
    return owner.digest(0, "main")


def test_limited_memory_changes_no_state_and_survives_a_crash(tmp_path: Path) -> None:
    """Users in both tiers are saved, restored by a successor with as little memory,
    and equal those of a large one.
    """
    hot_bytes = 50 * 1000
    owner = small(tmp_path, hot_bytes_max=hot_bytes)
    owner.hold(0, 1)
    apply(owner, 0, 1500)
    owner.snapshot(0)
    apply(owner, 1500, 2500)
    owner.snapshot(0)  # a delta, of users who have been on disk since
    assert sample(owner._metrics, "evictions_total", reason="memory") > 400
    # clears what the first left, which goes on all the same
    successor = small(tmp_path, hot_bytes_max=hot_bytes)
    assert successor.hold(0, 2) == 2500
    assert successor.digest(0, "main") == owner.digest(0, "main") == digest(tmp_path / "a", 2500)
    apply(successor, 2500, LOG.length, epoch=2)
    assert successor.digest(0, "main") == digest(tmp_path / "b", LOG.length)


def test_idle_users_move_to_disk_and_are_counted(tmp_path: Path) -> None:
    """After the idle time all users are cold,
    gauges and counter say so, and clicks bring them back.
    """
    owner = small(tmp_path, idle_s=60.0)
    owner.hold(0, 1)
    apply(owner, 0, 2000)
    users = len(np.unique(LOG.batch(0, 2000).users))
    metrics = owner._metrics

    def tier(name: str, tier: str) -> float:
        return sample(metrics, name, arm="main", tier=tier)

    owner._clock.advance(59)
    owner.evict_idle()
    assert (tier("state_users", "hot"), tier("state_users", "cold")) == (users, 0)
    assert tier("state_bytes", "cold") == 0
    owner._clock.advance(2)
    owner.evict_idle()
    assert (tier("state_users", "hot"), tier("state_users", "cold")) == (0, users)
    assert tier("state_bytes", "cold") >= users * bundle().layout.row_bytes
    assert sample(metrics, "evictions_total", reason="idle") == users
    apply(owner, 2000, LOG.length)
    assert tier("state_users", "hot") > 0
    assert owner.digest(0, "main") == digest(tmp_path / "a", LOG.length)


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Users stay in memory, above the limit, where the disk takes no more; log,
    gauge and states say what is so.
    """
    owner = small(tmp_path, cold_bytes=1 << 17, hot_bytes_max=50 * 1000)
    owner.hold(0, 1)
    apply(owner, 0, LOG.length)
    assert owner.positions()[0] == LOG.length
    assert owner.digest(0, "main") == digest(tmp_path / "a", LOG.length)
    users = [
        sample(owner._metrics, "state_users", arm="main", tier=tier) for tier in ("hot", "cold")
    ]
    assert sum(users) == len(np.unique(LOG.users))
    assert sample(owner._metrics, "state_bytes", arm="main", tier="hot") > 50 * 1000
    assert sample(owner._metrics, "cold_tier_full", arm="main") == 1
    assert caplog.text.count("users stay in memory, above the limit") == 1
    owner.snapshot(0)
    # whose disk has no more room either
    successor = small(tmp_path, cold_bytes=1 << 17, hot_bytes_max=50 * 1000)
    assert successor.hold(0, 2) == LOG.length
    assert successor.digest(0, "main") == owner.digest(0, "main")
    assert sample(successor._metrics, "cold_tier_full", arm="main") == 1


def test_idle_users_stay_while_the_disk_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who finds no room is said in the log once and stays;
    it is tried again later, which harms nothing.
    """
    owner = small(tmp_path, cold_bytes=1 << 17, idle_s=60.0)
    owner.hold(0, 1)
    apply(owner, 0, 2000)
    owner._clock.advance(100)
    for _ in range(20):
        owner.evict_idle()
        owner._clock.advance(1)
    assert (
        0
        < sample(owner._metrics, "state_users", arm="main", tier="cold")
        < len(np.unique(LOG.users))
    )
    assert caplog.text.count("users stay in memory, above the limit") == 1
    assert owner.digest(0, "main") == digest(tmp_path / "a", 2000)


def test_memory_is_shared_by_the_stores_a_shard_should_hold() -> None:
    """A store's part is the shard's bytes by its partitions, arms and standbys;
    without a limit there are no tiers.
    """
    settings = Settings()
    assert shard_settings(settings).tiers is None
    state = settings.state.model_copy(update={"memory_bytes_max": 80 << 20})
    limited = settings.model_copy(update={"state": state})  # 8 partitions, 2 shards, 1 arm
    tiers = shard_settings(limited).tiers
    assert tiers is not None
    assert tiers.hot_bytes_max == 20 << 20
    serving = settings.serving.model_copy(update={"standbys": 1})
    tiers = shard_settings(limited.model_copy(update={"serving": serving})).tiers
    assert tiers is not None
    assert tiers.hot_bytes_max == 10 << 20
    idle = settings.model_copy(update={"state": settings.state.model_copy(update={"idle_s": 5.0})})
    tiers = shard_settings(idle).tiers
    assert tiers is not None
    assert (tiers.hot_bytes_max, tiers.idle_s) == (None, 5.0)
