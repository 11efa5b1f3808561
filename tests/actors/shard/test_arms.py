"""Arms at positions of their own: who lags holds up nobody,
and nobody says of a state that it is newer than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from actors.clicks.click import ClickBatch
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import OffsetGap
from actors.ingest.ingest import Ingest, IngestSettings
from actors.shard.roles import Feed, Role
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from monitoring.metrics import Metrics
from tests.actors.click_log import ClickLog, bundle, sample, shard
from tests.actors.ingest.ingest_fakes import FakeLog, good

LOG = ClickLog()
USER = int(LOG.users[0])
APART = {"arms_apart_records": 100, "ready_lag_records_max": 100, "traffic": frozenset({"main"})}


def with_new_arms(root: Path, *names: str) -> Shard:
    """A shard whose main arm is restored at 600, and whose other arms are new."""
    before = shard(root)
    before.hold(0, 1)
    before.apply(LOG.batch(0, 600), 1)
    before.snapshot(0)
    arms = {"main": bundle(), **{name: bundle(number + 1) for number, name in enumerate(names)}}
    owner = shard(root, arms, **APART)
    assert owner.hold(0, 2) == 600
    return owner


def positions(owner: Shard) -> dict[str, int]:
    """Of each arm."""
    return {arm: stats.position for arm, stats in owner.stats()[0].arms.items()}


def test_others_go_on_while_an_arm_catches_up(tmp_path: Path) -> None:
    """New clicks are folded at once into the arm that is there;
    the new one is fed from its own position.
    """
    owner = with_new_arms(tmp_path, "new")
    assert owner.next_offsets() == {0: 600}
    assert owner.next_offsets(Feed.BEHIND) == {0: 0}
    assert owner.apply(LOG.batch(600, 700), 2) == 700
    assert positions(owner) == {"main": 700, "new": 0}
    assert owner.apply(LOG.batch(0, 250), 2, Feed.BEHIND) == 250
    assert owner.apply(LOG.batch(700, 1000), 2) == 1000
    assert owner.apply(LOG.batch(250, 1000), 2, Feed.BEHIND) == 1000
    assert not owner.reports()[0].behind
    for arm, seed in (("main", 0), ("new", 1)):
        clean = shard(tmp_path / arm, {arm: bundle(seed)})
        clean.hold(0, 1)
        clean.apply(LOG.all(), 1)
        assert owner.digest(0, arm) == clean.digest(0, arm)


def test_each_answer_is_as_stale_as_its_own_arm(tmp_path: Path) -> None:
    """The arm with the newest clicks is not stale, the one without them is;
    the one with traffic decides on ready.
    """
    owner = with_new_arms(tmp_path, "new")
    owner.observe_end(0, 700)
    owner.apply(LOG.batch(600, 700), 2)
    assert [owner.read(0, arm, USER).stale for arm in ("main", "new")] == [False, True]
    held = owner.reports()[0]
    assert (held.caught_up, held.position, held.behind) == (True, 700, True)
    assert sample(owner._metrics, "arm_lag_records", partition="0", arm="main") == 0
    assert sample(owner._metrics, "arm_lag_records", partition="0", arm="new") == 700


def test_an_arm_with_traffic_that_lags_is_not_ready(tmp_path: Path) -> None:
    """Where the arm that takes traffic is the one behind, the partition is not ready."""
    with_new_arms(tmp_path, "new")
    owner = shard(tmp_path, {"main": bundle(5), "new": bundle()}, **APART)
    owner.hold(0, 3)
    owner.observe_end(0, 0)
    assert owner.ready(0)
    owner = shard(
        tmp_path, {"main": bundle(), "new": bundle(1)}, **(APART | {"traffic": frozenset({"new"})})
    )
    owner.hold(0, 4)
    owner.observe_end(0, 700)
    owner.apply(LOG.batch(600, 700), 4)
    assert not owner.reports()[0].caught_up


def test_the_nearest_arm_catches_up_first(tmp_path: Path) -> None:
    """An arm that is nearly there is not held up by one that begins; that one follows."""
    owner = with_new_arms(tmp_path, "near", "far")
    owner.apply(LOG.batch(0, 400), 2, Feed.BEHIND)
    owner.snapshot(0)
    arms = {"main": bundle(), "near": bundle(1), "far": bundle(7)}
    owner = shard(tmp_path, arms, **APART)
    owner.hold(0, 3)
    assert positions(owner) == {"main": 600, "near": 400, "far": 0}
    assert owner.next_offsets(Feed.BEHIND) == {0: 400}
    # near enough for the front, but not yet level
    assert owner.apply(LOG.batch(400, 550), 3, Feed.BEHIND) == 550
    assert owner.next_offsets() == {0: 550}
    # the front takes it along; now it is the other one's turn
    assert owner.apply(LOG.batch(550, 700), 3) == 700
    assert owner.next_offsets(Feed.BEHIND) == {0: 0}
    with pytest.raises(OffsetGap) as gap:
        owner.apply(LOG.batch(550, 600), 3, Feed.BEHIND)
    assert gap.value.expected == 0
    assert positions(owner) == {"main": 700, "near": 700, "far": 0}


def test_who_catches_up_does_not_overtake_the_front(tmp_path: Path) -> None:
    """The front's reader writes the dead letters, so nobody is ahead of it."""
    owner = with_new_arms(tmp_path, "new")
    owner.apply(LOG.batch(0, 1000), 2, Feed.BEHIND)
    assert positions(owner) == {"main": 600, "new": 600}
    owner = with_new_arms(tmp_path / "skipping", "new")
    assert owner.skip(0, 0, 900, "test", 2, Feed.BEHIND) == 600
    assert positions(owner) == {"main": 600, "new": 600}


def test_lost_offsets_are_passed_by_each_arm_for_itself(tmp_path: Path) -> None:
    """What the log lost below the front is skipped by the arm that lacks it."""
    owner = with_new_arms(tmp_path, "new")
    assert owner.skip(0, 600, 650, "test", 2) == 650
    assert positions(owner) == {"main": 650, "new": 0}
    assert owner.skip(0, 0, 300, "test", 2, Feed.BEHIND) == 300
    assert positions(owner) == {"main": 650, "new": 300}


def test_what_catches_up_is_counted_apart(tmp_path: Path) -> None:
    """Applied clicks are those of the log, however often arms are built anew."""
    owner = with_new_arms(tmp_path, "new")
    owner.apply(LOG.batch(600, 700), 2)
    owner.apply(LOG.batch(0, 300), 2, Feed.BEHIND)
    outcomes = {"applied": len(LOG.batch(600, 700)), "catching_up": len(LOG.batch(0, 300))}
    for outcome, count in outcomes.items():
        assert sample(owner._metrics, "events_total", partition="0", outcome=outcome) == count


def test_snapshots_go_on_while_an_arm_stands_still(tmp_path: Path) -> None:
    """What the others have folded is saved; all that is durable is what every arm has."""
    owner = with_new_arms(tmp_path, "new")
    for stop in (700, 800):
        owner.apply(LOG.batch(stop - 100, stop), 2)
        assert owner.snapshot(0) == 0
    restarted = shard(tmp_path, {"main": bundle(), "new": bundle(1)}, **APART)
    restarted.hold(0, 3)
    assert positions(restarted) == {"main": 800, "new": 0}
    assert restarted.digest(0, "main") == owner.digest(0, "main")


def test_old_files_go_while_an_arm_stands_still(tmp_path: Path) -> None:
    """Neither retiring nor erasing leaves files of an arm behind
    because another one is far back.
    """
    owner = with_new_arms(tmp_path, "new")
    root = tmp_path / "partition-00000"
    owner.apply(LOG.batch(600, 700), 2)
    owner.snapshot(0)
    owner.forget_older(0)
    owner.apply(LOG.batch(700, 800), 2)
    owner.forget_older(0)
    newest = SnapshotStore.from_uri(str(tmp_path), kept=3).find(0).manifests[0]
    named = {file.name for chain in newest.arms.values() for file in chain.files}
    assert {path.name for path in root.glob("*.arrow")} == named
    for stop in range(810, 1000, 10):
        owner.apply(LOG.batch(stop - 10, stop), 2)
        owner.snapshot(0)
    assert len(list(root.glob("*main*.arrow"))) <= 20


def test_a_standby_is_as_near_as_its_arms_with_traffic(tmp_path: Path) -> None:
    """A hand-over does not wait for an arm without traffic."""
    with_new_arms(tmp_path, "new")
    standby = shard(tmp_path, {"main": bundle(), "new": bundle(1)}, **APART)
    standby.hold(0, 5, Role.STANDBY)
    standby.observe_end(0, 600)
    held = standby.reports()[0]
    assert (held.position, held.caught_up, held.behind) == (600, True, True)


class Fed:
    """One shard, called by the reader of one group of its arms."""

    def __init__(self, owner: Shard, feed: Feed) -> None:
        self._owner = owner
        self._feed = feed

    async def positions(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return self._owner.next_offsets(self._feed)

    async def deliver(self, batch: ClickBatch, epoch: int) -> int:
        return self._owner.apply(batch, epoch, self._feed)

    async def skip(self, partition: int, start: int, stop: int, reason: str, epoch: int) -> int:
        return self._owner.skip(partition, start, stop, reason, epoch, self._feed)

    async def durable(self) -> Mapping[int, int]:
        return self._owner.durable()

    def observe_ends(self, ends: Mapping[int, int]) -> None:
        for partition, end in ends.items():
            self._owner.observe_end(partition, end)


def reader(owner: Shard, log: FakeLog, feed: Feed) -> Ingest:
    """The reader of one group of arms."""
    metrics = Metrics(CollectorRegistry())
    clock = ManualClock()
    settings = IngestSettings(commits=False)
    ingest = Ingest(
        log, None, Decoder(EventFormat(), clock), Fed(owner, feed), metrics, clock, settings
    )
    ingest.assign({0: 2})
    return ingest


def test_without_new_clicks_an_arm_comes_level_all_the_same(tmp_path: Path) -> None:
    """The front's reader hears of it with the next click alone,
    so the other reader goes on until nothing is left.
    """
    owner = with_new_arms(tmp_path, "new")
    assert owner.apply(LOG.batch(0, 550), 2, Feed.BEHIND) == 550
    assert owner.reports()[0].behind
    assert owner.apply(LOG.batch(550, 600), 2, Feed.BEHIND) == 600
    assert (owner.reports()[0].behind, positions(owner)) == (False, {"main": 600, "new": 600})
    with pytest.raises(OffsetGap):
        owner.apply(LOG.batch(700, 800), 2)


async def test_two_readers_bring_the_arms_together(tmp_path: Path) -> None:
    """The front's reader alone follows the log's end;
    beside it the other one brings the new arm there.
    """
    records = [good(offset) for offset in range(600)]
    before = shard(tmp_path)
    before.hold(0, 1)
    before.apply(Decoder(EventFormat(), ManualClock()).decode_batch(0, 0, 400, records[:400])[0], 1)
    before.snapshot(0)
    owner = shard(tmp_path, {"main": bundle(), "new": bundle(1)}, **APART)
    owner.hold(0, 2)
    log = FakeLog({0: list(records)}, records_per_poll=70)
    front = reader(owner, log, Feed.FRONT)
    behind = reader(owner, FakeLog(log.partitions, 70), Feed.BEHIND)
    for _ in range(5):
        await front.run_once()
    assert positions(owner) == {"main": 600, "new": 0}
    while owner.reports()[0].behind:
        await behind.run_once()
    log.partitions[0].extend(good(offset) for offset in range(600, 650))
    while min(positions(owner).values()) < 650:
        await front.run_once()
    for ingest in (front, behind):
        await ingest.close()
    clean = shard(tmp_path / "clean", {"main": bundle(), "new": bundle(1)})
    clean.hold(0, 1)
    clean.apply(
        Decoder(EventFormat(), ManualClock()).decode_batch(0, 0, 650, log.partitions[0])[0], 1
    )
    assert owner.fingerprints(0) == clean.fingerprints(0)
