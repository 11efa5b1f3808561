"""Snapshots keep to an interval and to a share of a processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actors.shard.allowance import SnapshotAllowance
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import ClickLog, sample, shard
from tests.actors.faulty_fs import Disk, FaultyFiles

INTERVAL_S = 10.0
SHARE = 0.05


def begins(
    cost_s: Callable[[float], float], partitions: int, until_s: float
) -> list[tuple[float, int]]:
    """When which partition is saved, where each snapshot costs what `cost_s`
    says of the time and takes none.
    """
    allowance = SnapshotAllowance(INTERVAL_S, SHARE)
    attempted_s = [0.0] * partitions
    found = list[tuple[float, int]]()
    for now_s in np.arange(0, until_s, 0.5).tolist():
        for partition in sorted(range(partitions), key=lambda each: attempted_s[each]):
            if allowance.is_due(attempted_s[partition], now_s):
                attempted_s[partition] = now_s
                allowance.spend(now_s, cost_s(now_s))
                found.append((now_s, partition))
    return found


@pytest.mark.parametrize(("cost_s", "partitions"), [(0.0, 3), (0.001, 50), (0.4, 1), (0.06, 8)])
def test_cheap_snapshots_come_every_interval(cost_s: float, partitions: int) -> None:
    """Where all of a shard's snapshots together take less than the share,
    each partition is saved on time.
    """
    found = begins(lambda _: cost_s, partitions, 101)
    assert sorted(found) == [
        (10.0 * turn, each) for turn in range(1, 11) for each in range(partitions)
    ]


@pytest.mark.parametrize(("cost_s", "partitions"), [(1.0, 1), (8.0, 1), (1.0, 8), (0.05, 40)])
def test_dear_snapshots_keep_to_the_share(cost_s: float, partitions: int) -> None:
    """On average no more than the share is spent,
    nearly all of it is, and partitions take turns.
    """
    until_s = 4000.0
    found = begins(lambda _: cost_s, partitions, until_s)
    spent_s = len(found) * cost_s
    assert SHARE * until_s - 2 * cost_s <= spent_s <= SHARE * (until_s + INTERVAL_S) + cost_s
    turns = [partition for _, partition in found]
    assert max(map(turns.count, range(partitions))) - min(map(turns.count, range(partitions))) <= 1


def test_idle_time_is_not_saved_up() -> None:
    """After an hour of nothing to save, dear snapshots are as far apart as ever."""
    found = [now_s for now_s, _ in begins(lambda now_s: 0.0 if now_s < 3600 else 1.0, 1, 3800)]
    dear = [now_s for now_s in found if now_s >= 3600]
    assert len(dear) <= 200 * SHARE + 2


LOG = ClickLog()


def busy_shard(cost_s: float) -> Shard:
    """A shard whose every state file takes so much processor time to write."""

    def spend(name: str, path: str) -> None:
        if name == "move" and path.endswith(".arrow"):
            owner._clock.spend(cost_s)  # type: ignore[attr-defined]

    store = SnapshotStore(FaultyFiles(Disk(), on_operation=spend).filesystem(), "state", kept=3)
    owner = shard(None, snapshots=store, snapshot_share_max=SHARE)
    owner.hold(0, 1)
    return owner


def later(owner: Shard, seconds: float) -> bool:
    """Whether a snapshot is taken when so much time has passed and some clicks."""
    owner._clock.advance(seconds)  # type: ignore[attr-defined]
    position = owner.positions()[0]
    owner.apply(LOG.batch(position, position + 10), 1)
    owner.snapshot_all_due()
    return owner.durable() == {0: position + 10}


def test_a_shard_waits_for_what_snapshots_cost() -> None:
    """A snapshot of two seconds is followed by one 40 s later,
    if nobody asks for one before; the forecast knows.
    """
    owner = busy_shard(2.0)
    assert [later(owner, 10) for _ in range(10)] == [True] + [False] * 2 + [True] + [False] * 3 + [
        True
    ] + [False] * 2
    owner.observe_end(0, owner.positions()[0])
    before_s = sample(owner._metrics, "recovery_predicted_seconds", partition="0")
    assert owner.snapshot(0) == owner.positions()[0]
    assert sample(owner._metrics, "recovery_predicted_seconds", partition="0") < before_s


def test_what_is_asked_for_neither_waits_nor_counts() -> None:
    """Snapshots on request and erasures are done at once, and postpone no other partition's."""
    owner = busy_shard(2.0)
    owner.hold(1, 1)
    for _ in range(5):
        later(owner, 0.1)
        assert owner.snapshot(0) == owner.positions()[0]
        owner.forget_older(0)
    owner._clock.advance(10)  # type: ignore[attr-defined]
    assert owner.snapshot_due(owner._clock.monotonic()) == [0, 1]


def test_failures_count_too(tmp_path: Path) -> None:
    """A snapshot that fails after it was written costs as much,
    and is tried again when that is paid for.
    """
    blocker = tmp_path / "blocker"
    owner = shard(blocker / "state", snapshot_share_max=SHARE)
    owner.hold(0, 1)
    blocker.touch()
    spent = iter([0.0, 2.0] + [2.0] * 10)
    owner._clock.processor = lambda: next(spent)  # type: ignore[method-assign]
    owner.apply(LOG.batch(0, 10), 1)
    owner._clock.advance(10)  # type: ignore[attr-defined]
    assert len(owner.snapshot_all_due()) == 1
    assert owner.snapshot_due(39.9) == []
    assert owner.snapshot_due(40.0) == [0]
