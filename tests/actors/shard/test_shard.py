"""The shard: ownership, recovery, and what it counts."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import (
    ConfigError,
    InvalidRequest,
    NotOwner,
    OffsetGap,
    ShardUnavailable,
    SnapshotError,
    StaleEpoch,
)
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from tests.actors.click_log import CONFIG, ClickLog, bundle, sample, shard

LOG = ClickLog()
USER = int(LOG.users[0])


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of an uninterrupted run."""
    fresh = shard(tmp_path_factory.mktemp("clean"))
    fresh.hold(0, 1)
    fresh.apply(LOG.all(), 1)
    return fresh.digest(0, "main")


def advance(owner: Shard, seconds: float) -> None:
    """Let time pass for the shard."""
    owner._clock.advance(seconds)  # type: ignore[attr-defined]


def test_epochs_fence(tmp_path: Path) -> None:
    """Only the current epoch may apply; only a newer one may hold,
    and it goes on with the states there are.
    """
    owner = shard(tmp_path)
    assert owner.hold(0, 5) == 0
    owner.apply(LOG.batch(0, 100), 5)
    for stale in (4, 5):
        with pytest.raises(StaleEpoch, match=f"epoch {stale} is not newer than epoch 5"):
            owner.hold(0, stale)
    assert owner.hold(0, 6) == 100
    for other in (5, 7):
        with pytest.raises(StaleEpoch, match=f"epoch is {other}.*epoch 6"):
            owner.apply(LOG.batch(100, 200), other)
        with pytest.raises(StaleEpoch):
            owner.skip(0, 100, 200, "test", other)
    assert (owner.owned(), owner.positions()) == ({0: 6}, {0: 100})


def test_what_is_not_owned_is_refused(tmp_path: Path) -> None:
    """Every call about a foreign or released partition says so."""
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.release(0)
    owner.release(0)
    for call in (
        lambda: owner.apply(LOG.all(), 1),
        lambda: owner.read(0, "main", USER),
        lambda: owner.snapshot(0),
        lambda: owner.digest(0, "main"),
        lambda: owner.observe_end(0, 1),
    ):
        with pytest.raises(NotOwner, match="does not own partition 0"):
            call()
    assert not owner.ready(0)
    assert (owner.owned(), owner.positions(), owner.durable(), owner.stats()) == ({}, {}, {}, [])


def test_a_gap_is_refused(tmp_path: Path) -> None:
    """A batch beyond the position is refused before any arm sees it."""
    owner = shard(tmp_path)
    owner.hold(0, 1)
    with pytest.raises(OffsetGap) as caught:
        owner.apply(LOG.batch(10, 20), 1)
    assert (caught.value.expected, caught.value.start) == (0, 10)


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["go on", "snapshot", "crash"])), max_size=12
    )
)
def test_crashes_leave_no_trace(
    clean: str, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """Snapshots and crashes anywhere, then replay: the digest of an uninterrupted run."""
    root = tmp_path_factory.mktemp("state")
    owner = shard(root)
    epoch = 1
    position = owner.hold(0, epoch)
    for size, then in [*steps, (LOG.length, "crash"), (LOG.length, "go on")]:
        position = owner.apply(LOG.batch(position, min(LOG.length, position + size)), epoch)
        if then == "snapshot":
            assert owner.snapshot(0) == position == owner.durable()[0]
        elif then == "crash":
            durable = owner.durable()[0]
            epoch = epoch + 1
            owner = shard(root)
            position = owner.hold(0, epoch)
            assert position == durable
    owner.apply(LOG.batch(position, LOG.length), epoch)
    assert owner.digest(0, "main") == clean


@pytest.mark.parametrize(
    ("kind", "reason"), [("*.arrow", "checksum"), ("*.manifest.json", "manifest")]
)
def test_a_damaged_snapshot_costs_a_longer_replay(
    tmp_path: Path, clean: str, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    """The previous snapshot is used; the damaged file is logged by name and counted."""
    owner = shard(tmp_path)
    owner.hold(0, 1)
    for stop in (300, 600):
        owner.apply(LOG.batch(stop - 300, stop), 1)
        owner.snapshot(0)
    path = max(tmp_path.rglob(kind))
    path.write_bytes(path.read_bytes()[:-9])
    other = shard(tmp_path)
    assert other.hold(0, 2) == 300
    assert path.name in caplog.text
    assert sample(other._metrics, "snapshot_failures_total", reason=reason) == 1
    other.apply(LOG.batch(300, LOG.length), 2)
    assert other.digest(0, "main") == clean


def test_unreadable_snapshots_are_not_taken_for_none(tmp_path: Path) -> None:
    """Where files cannot be read, holding fails instead of starting from nothing."""
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.apply(LOG.all(), 1)
    owner.snapshot(0)
    [manifest] = tmp_path.rglob("*.manifest.json")
    manifest.unlink()
    manifest.mkdir()  # reading it is an error, also for root
    other = shard(tmp_path)
    with pytest.raises(SnapshotError, match=f"one may be there.*{manifest.name}"):
        other.hold(0, 2)
    assert other.owned() == {}
    manifest.rmdir()
    assert other.hold(0, 2) == 0


def test_another_model_starts_from_nothing_and_catches_up(
    tmp_path: Path, clean: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A known arm skips what it has while a new arm and a changed one
    are rebuilt by the same batches.
    """
    owner = shard(tmp_path, {"main": bundle(), "changed": bundle(1)})
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 600), 1)
    owner.snapshot(0)
    arms = {"main": bundle(), "changed": bundle(2), "new": bundle(3)}
    other = shard(tmp_path, arms)
    assert other.hold(0, 2) == 0
    assert "arm changed: no usable snapshot among 1" in caplog.text
    assert other.durable() == {0: 0}
    assert {arm: stats.position for arm, stats in other.stats()[0].arms.items()} == {
        "main": 600,
        "changed": 0,
        "new": 0,
    }
    other.apply(LOG.batch(0, 500), 2)
    assert (other.positions(), other.read(0, "main", USER).offset) == ({0: 500}, 600)
    assert other.snapshot(0) == 500
    restarted = shard(tmp_path, arms)
    assert restarted.hold(0, 3) == 500
    restarted.apply(LOG.batch(500, LOG.length), 3)
    assert restarted.digest(0, "main") == clean
    alone = shard(tmp_path / "alone", {"new": bundle(3)})
    alone.hold(0, 1)
    alone.apply(LOG.all(), 1)
    assert restarted.digest(0, "new") == alone.digest(0, "new")


def test_a_snapshot_of_another_schema_is_never_used(tmp_path: Path) -> None:
    """An arm whose rows mean something else now starts from nothing,
    also if the bytes would fit.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.apply(LOG.all(), 1)
    owner.snapshot(0)
    lookalike = bundle(
        config=CONFIG.from_json(CONFIG.to_json().replace('"gap_buckets":32', '"gap_buckets":31'))
    )
    lookalike.version = bundle().version
    assert lookalike.layout == bundle().layout
    assert shard(tmp_path, {"main": lookalike}).hold(0, 2) == 0


def test_snapshots_are_due_by_interval_and_only_for_news(tmp_path: Path) -> None:
    """Nothing is due early; nothing new is nothing written; the age counts from the last look."""
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.hold(4, 1)
    assert owner.snapshot_due(0.0) == []
    advance(owner, 10.0)
    assert owner.snapshot_due(10.0) == [0, 4]
    assert sample(owner._metrics, "snapshot_age_seconds", partition="0") == 10
    owner.apply(LOG.all(), 1)
    assert owner.snapshot_all_due() == []
    assert owner.durable() == {0: LOG.length, 4: 0}
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    assert owner.snapshot_due(10.0) == []
    assert sample(owner._metrics, "snapshot_age_seconds", partition="0") == 0
    owner.snapshot(0)
    assert sample(owner._metrics, "snapshot_seconds_count") == 1
    assert len(list(tmp_path.rglob("*.manifest.json"))) == 1


def test_an_unwritable_directory_does_not_stop_the_shard(tmp_path: Path) -> None:
    """Failed snapshots are counted and tried again an interval later; clicks and reads go on."""
    blocker = tmp_path / "blocker"
    owner = shard(blocker / "state")
    owner.hold(0, 1)
    blocker.touch()
    owner.apply(LOG.batch(0, 500), 1)
    with pytest.raises(SnapshotError, match="blocker/state"):
        owner.snapshot(0)
    assert owner.snapshot_due(9.9) == []
    advance(owner, 10)
    assert len(owner.snapshot_all_due()) == 1
    assert sample(owner._metrics, "snapshot_failures_total", reason="write") == 2
    assert owner.apply(LOG.batch(500, LOG.length), 1) == LOG.length
    assert owner.read(0, "main", USER).offset == LOG.length
    blocker.unlink()
    advance(owner, 10)
    assert owner.snapshot_all_due() == []
    assert owner.durable() == {0: LOG.length}


def test_reads_tell_state_offset_and_time(tmp_path: Path) -> None:
    """A user's read has the copy, the offset and the newest click's
    time; a stranger's has the offset.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.apply(LOG.all(), 1)
    known = owner.read(0, "main", USER)
    stranger = owner.read(0, "main", 12345)
    assert known.row is not None
    assert known.last_event_ms == LOG.times_ms[LOG.users == USER].max()
    assert (stranger.row, stranger.last_event_ms, stranger.offset) == (None, -1, LOG.length)
    known.row[:] = 0
    assert owner.read(0, "main", USER).row.any()  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match=r"no arm 'other'.*main"):
        owner.read(0, "other", USER)


def test_stale_until_near_the_end_and_ready_from_then_on(tmp_path: Path) -> None:
    """Without a known end all is stale; ready stays once reached, stale follows the lag."""
    owner = shard(tmp_path, ready_lag_records_max=100)
    owner.hold(0, 1)
    assert (owner.ready(0), owner.read(0, "main", USER).stale) == (False, True)
    owner.observe_end(0, 500)
    assert (owner.ready(0), owner.read(0, "main", USER).stale) == (False, True)
    owner.apply(LOG.batch(0, 400), 1)
    owner.observe_end(0, 500)
    assert (owner.ready(0), owner.read(0, "main", USER).stale) == (True, False)
    owner.observe_end(0, 501)
    assert (owner.ready(0), owner.read(0, "main", USER).stale) == (True, True)


class SlowSnapshots(SnapshotStore):
    """Snapshots whose restore waits until it is allowed."""

    def __init__(self, root: Path) -> None:
        real = SnapshotStore.from_uri(str(root), kept=3)
        super().__init__(real._filesystem, real._root, 3)
        self.begun = threading.Event()
        self.allowed = threading.Event()

    def find(self, partition: int):  # type: ignore[no-untyped-def]
        self.begun.set()
        assert self.allowed.wait(10)
        return super().find(partition)


def test_while_restoring_reads_are_stale_and_writes_wait(tmp_path: Path) -> None:
    """A restoring partition answers reads with an empty stale state and
    sends writers away to come back.
    """
    snapshots = SlowSnapshots(tmp_path)
    owner = shard(tmp_path, snapshots=snapshots)
    holding = threading.Thread(target=owner.hold, args=(0, 1))
    holding.start()
    assert snapshots.begun.wait(10)
    read = owner.read(0, "main", USER)
    assert (read.row, read.offset, read.stale) == (None, 0, True)
    assert (owner.owned(), owner.positions(), owner.snapshot_due(1e9)) == ({0: 1}, {}, [])
    for call in (lambda: owner.apply(LOG.all(), 1), lambda: owner.digest(0, "main")):
        with pytest.raises(ShardUnavailable, match="restoring"):
            call()
    snapshots.allowed.set()
    holding.join(10)
    assert owner.apply(LOG.all(), 1) == LOG.length


def test_callbacks_hear_of_every_position(tmp_path: Path) -> None:
    """Applied batches, repeats and skips report the position."""
    owner = shard(tmp_path)
    heard = []
    owner.on_applied(lambda partition, position: heard.append((partition, position)))
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 100), 1)
    owner.apply(LOG.batch(50, 80), 1)
    owner.skip(0, 100, 150, "retention", 1)
    assert heard == [(0, 100), (0, 100), (0, 150)]


def test_skip_moves_only_arms_that_need_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Offsets that the log lost are passed over once, logged and counted;
    gaps before them are refused.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    with pytest.raises(OffsetGap):
        owner.skip(0, 10, 20, "retention", 1)
    assert owner.skip(0, 0, 200, "retention", 1) == 200
    assert owner.skip(0, 0, 150, "retention", 1) == 200
    assert "200 offsets from 0 on are gone from the log (retention)" in caplog.text
    assert sample(owner._metrics, "events_total", partition="0", outcome="lost") == 200
    assert owner.apply(LOG.batch(200, 300), 1) == 300


def test_metrics_count_events_states_and_freshness(tmp_path: Path) -> None:
    """Applied, repeated and unknown are counted once each; states are measured;
    freshness is the record's age.
    """
    owner = shard(tmp_path)
    metrics = owner._metrics
    clicks = len(LOG.offsets)
    owner.hold(0, 1)
    batch = LOG.all()
    batch.record_ms[:] = owner._clock.now_ms() - 80
    batch.record_ms[:3] = (owner._clock.now_ms() + 5000, 0, owner._clock.now_ms() - 2000)
    batch.actions[-2:] = 7
    owner.apply(batch, 1)
    owner.apply(batch, 1)
    assert sample(metrics, "events_total", partition="0", outcome="applied") == clicks
    assert sample(metrics, "events_total", partition="0", outcome="duplicate") == clicks
    assert (
        sample(metrics, "unknown_items_total", arm="main", source="event")
        == (LOG.items[:-2] < 5).sum()
    )
    assert sample(metrics, "unknown_actions_total", arm="main") == 2
    assert sample(metrics, "state_users", arm="main", tier="hot") == len(np.unique(LOG.users))
    assert (
        sample(metrics, "state_bytes", arm="main", tier="hot")
        == owner.stats()[0].arms["main"].state_bytes
    )
    assert (
        sample(metrics, "state_bytes_per_user", arm="main")
        == bundle().layout.row_bytes + BYTES_BESIDE_ROW_MAX
    )
    assert sample(metrics, "event_to_score_seconds_count") == clicks - 1
    assert sample(metrics, "event_to_score_seconds_bucket", le="0.075") == 1
    assert sample(metrics, "event_to_score_seconds_bucket", le="0.1") == clicks - 2
    assert sample(metrics, "restore_seconds_count") == 1
    assert sample(metrics, "fold_seconds_count") == 2
    owner.release(0)
    assert sample(metrics, "state_users", arm="main", tier="hot") == 0


def test_a_shard_needs_an_arm(tmp_path: Path) -> None:
    """Without an arm there is nothing to fold into."""
    owner = shard(tmp_path)
    snapshots = SnapshotStore.from_uri(str(tmp_path), kept=1)
    with pytest.raises(ConfigError, match="at least one arm"):
        Shard("shard-1", {}, snapshots, owner._metrics, owner._clock, owner._settings)


def test_the_budget_is_checked_before_anything_is_owned(tmp_path: Path) -> None:
    """A shard with an arm that is too big for a user does not start."""
    with pytest.raises(ConfigError, match="bytes_per_user_max = 100"):
        shard(tmp_path, bytes_per_user_max=100)
