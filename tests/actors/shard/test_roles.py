"""Owner and standby: what each does, and how one becomes the other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import NotOwner, SnapshotError
from actors.shard.roles import Grant, Role, steps
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import ClickLog, sample, shard

LOG = ClickLog()
USER = int(LOG.users[0])
grants = st.dictionaries(
    st.integers(0, 5), st.builds(Grant, st.integers(1, 5), st.sampled_from(Role))
)


@given(held=grants, granted=grants)
def test_steps_lead_from_held_to_granted(held: dict[int, Grant], granted: dict[int, Grant]) -> None:
    """Done once they are exactly what was granted,
    but for grants that are older than what is held.
    """
    todo = steps(held, granted)
    after = (
        {p: grant for p, grant in held.items() if p not in todo.release} | todo.renew | todo.hold
    )
    assert after == {p: _newer(held.get(p), grant) for p, grant in granted.items()}


def _newer(held: Grant | None, granted: Grant) -> Grant:
    return held if held and held.epoch >= granted.epoch else granted


def test_a_standby_folds_alike_but_saves_nothing(tmp_path: Path) -> None:
    """Bytes are those of the owner; its answers are stale,
    its snapshots nobody's, its clicks counted apart.
    """
    owner = shard(tmp_path)
    standby = shard(tmp_path)
    owner.hold(0, 1)
    standby.hold(0, 2, Role.STANDBY)
    for one, epoch in ((owner, 1), (standby, 2)):
        one.apply(LOG.all(), epoch)
        one.observe_end(0, LOG.length)
    assert standby.digest(0, "main") == owner.digest(0, "main")
    assert (owner.read(0, "main", USER).stale, standby.read(0, "main", USER).stale) == (False, True)
    standby._clock.advance(100)  # type: ignore[attr-defined]
    assert standby.snapshot_due(100.0) == []
    assert (standby.owned(), standby.durable()) == ({}, {})
    with pytest.raises(NotOwner, match="is the standby of partition 0; its owner takes snapshots"):
        standby.snapshot(0)
    assert sample(standby._metrics, "events_total", partition="0", outcome="standby") == len(
        LOG.offsets
    )
    assert sample(standby._metrics, "events_total", partition="0", outcome="applied") == 0
    assert sample(standby._metrics, "event_to_score_seconds_count") == 0
    assert sample(standby._metrics, "snapshot_age_seconds", partition="0") == 0


def test_a_standby_takes_over_where_it_stands(tmp_path: Path) -> None:
    """Under a newer epoch its answers count at once, nothing is restored,
    its first snapshot is an interval away.
    """
    standby = shard(tmp_path)
    standby.hold(0, 2, Role.STANDBY)
    standby.apply(LOG.batch(0, 300), 2)
    standby.observe_end(0, 300)
    standby._clock.advance(100)  # type: ignore[attr-defined]
    assert standby.hold(0, 3) == 300
    assert not standby.read(0, "main", USER).stale
    assert standby.reports()[0].caught_up
    assert standby.snapshot_due(109.0) == []
    assert standby.snapshot_due(110.0) == [0]
    assert standby.snapshot(0) == 300
    assert sample(standby._metrics, "restore_seconds_count") == 1


def test_an_owner_without_a_lease_says_so(tmp_path: Path) -> None:
    """Beyond its lease somebody else may own the partition:
    answers are stale until the next lease.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.observe_end(0, 0)
    owner.lease(1.0, {0: Grant(1)})
    assert not owner.read(0, "main", USER).stale
    owner._clock.advance(1.1)  # type: ignore[attr-defined]
    assert owner.read(0, "main", USER).stale
    owner.lease(2.0, {0: Grant(1)})
    assert not owner.read(0, "main", USER).stale


@pytest.mark.parametrize("grants", [{}, {0: Grant(2, Role.STANDBY)}], ids=["gone", "standby"])
def test_a_lease_is_no_word_for_what_is_somebody_else_s(
    tmp_path: Path, grants: dict[int, Grant]
) -> None:
    """An owner that slept hears in one answer that it is well and that the partition is another's:
    until it has let go, its answers are stale.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.observe_end(0, 0)
    owner.lease(1.0, grants)
    assert owner.read(0, "main", USER).stale


def test_an_owner_that_hears_nothing_of_the_log_says_so(tmp_path: Path) -> None:
    """Without news of the log's end for `silence_s`, clicks may wait that nobody told of."""
    owner = shard(tmp_path, silence_s=10.0)
    owner.hold(0, 1)
    owner.observe_end(0, 0)
    owner._clock.advance(10.0)  # type: ignore[attr-defined]
    assert not owner.read(0, "main", USER).stale
    owner._clock.advance(0.1)  # type: ignore[attr-defined]
    assert owner.read(0, "main", USER).stale
    owner.observe_end(0, 0)
    assert not owner.read(0, "main", USER).stale


@pytest.mark.parametrize("end", [LOG.length + 6000, 2])
def test_a_partition_that_stands_still_is_not_well(tmp_path: Path, end: int) -> None:
    """Clicks that wait for 10 s while nothing moves, and a state beyond its log,
    end both health and freshness.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.observe_end(0, LOG.length)
    owner.apply(LOG.batch(0, 300), 1)
    assert owner.reports()[0].caught_up
    owner.observe_end(0, end)
    assert owner.reports()[0].caught_up
    owner._clock.advance(9.9)  # type: ignore[attr-defined]
    assert owner.reports()[0].caught_up
    owner._clock.advance(0.1)  # type: ignore[attr-defined]
    assert not owner.reports()[0].caught_up
    assert owner.read(0, "main", USER).stale
    owner.apply(LOG.batch(300, LOG.length), 1)  # it moves again
    owner.observe_end(0, LOG.length)
    assert owner.reports()[0].caught_up
    assert not owner.read(0, "main", USER).stale


class SlowSnapshots(SnapshotStore):
    """Snapshots whose restore waits until it is allowed, and may fail."""

    def __init__(self, root: Path) -> None:
        real = SnapshotStore.from_uri(str(root), kept=3)
        super().__init__(real._filesystem, real._root, 3)
        self.begun = threading.Event()
        self.allowed = threading.Event()
        self.fails = False

    def find(self, partition: int):  # type: ignore[no-untyped-def]
        self.begun.set()
        assert self.allowed.wait(10)
        if self.fails:
            raise SnapshotError("planted")
        return super().find(partition)


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_released_while_it_restored_stays_released(tmp_path: Path, fails: bool) -> None:
    """A restore that ends late takes nothing, and leaves what was taken anew meanwhile alone."""
    snapshots = SlowSnapshots(tmp_path)
    owner = shard(tmp_path, snapshots=snapshots)
    caught = []

    def hold() -> None:
        with pytest.raises(SnapshotError if fails else NotOwner) as raised:
            owner.hold(0, 1)
        caught.append(raised.value)

    holding = threading.Thread(target=hold)
    holding.start()
    assert snapshots.begun.wait(10)
    owner.release(0)
    assert owner.grants() == {}
    again = threading.Thread(target=owner.hold, args=(0, 2))
    snapshots.fails = fails
    snapshots.allowed.set()
    holding.join(10)
    snapshots.fails = False
    again.start()
    again.join(10)
    assert len(caught) == 1
    assert owner.positions() == {0: 0}
    assert owner.grants() == {0: Grant(2)}


def test_a_role_may_change_while_it_restores(tmp_path: Path) -> None:
    """The states are the same for both, so the restore goes on under the newer epoch."""
    snapshots = SlowSnapshots(tmp_path)
    owner = shard(tmp_path, snapshots=snapshots)
    holding = threading.Thread(target=owner.hold, args=(0, 1, Role.STANDBY))
    holding.start()
    assert snapshots.begun.wait(10)
    assert owner.hold(0, 2) == 0
    assert owner.reports() == {}
    snapshots.allowed.set()
    holding.join(10)
    assert owner.grants() == {0: Grant(2)}
    assert owner.apply(LOG.all(), 2) == LOG.length


def test_other_partitions_are_taken_and_released_during_a_restore(tmp_path: Path) -> None:
    """One slow file system call holds up its own partition only."""
    snapshots = SlowSnapshots(tmp_path)
    owner = shard(tmp_path, snapshots=snapshots)
    snapshots.allowed.set()
    owner.hold(1, 1)
    snapshots.allowed.clear()
    snapshots.begun.clear()
    holding = threading.Thread(target=owner.hold, args=(0, 1))
    holding.start()
    assert snapshots.begun.wait(10)
    assert owner.hold(1, 2) == 0
    owner.release(1)
    assert owner.grants() == {0: Grant(1)}
    snapshots.allowed.set()
    holding.join(10)


def test_a_release_wakes_who_waits(tmp_path: Path) -> None:
    """Whoever waits for an offset of a partition hears of its end, and is told to ask elsewhere."""
    owner = shard(tmp_path)
    heard = []
    owner.on_applied(lambda partition, position: heard.append(partition))
    owner.hold(0, 1)
    assert owner.position(0) == 0
    owner.release(0)
    assert heard == [0]
    with pytest.raises(NotOwner):
        owner.position(0)
