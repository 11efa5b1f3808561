"""Erasing a user: gone from every place,
whatever dies or moves meanwhile, and nobody else is touched.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from actors.backoff import Backoff
from actors.errors import ErasureIncomplete, InvalidRequest, ShardUnavailable, SnapshotError
from actors.state.maker import TierSettings
from cluster.operate import erasure
from cluster.operate.remote_erasure import retention
from tests.actors.archived_clicks import user
from tests.actors.faulty_fs import Crashed, Disk
from tests.cluster.operate.erasable import (
    KEY,
    LATER,
    REMAINS,
    STOP,
    USER,
    Deployment,
    archived,
    check_gone,
    erase,
    removed,
    replayed,
    running,
    traces,
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "BACKOFF", Backoff(min_s=0, max_s=0, patience_s=30))


def test_the_user_is_gone_and_nobody_else() -> None:
    """The receipt names every place; files and states of the others are what they were."""
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)
    others = deployment.rows(user(1))
    kept = [c for c in archived(disk) if c[1] != KEY]
    assert len(traces(disk, rows)) > 6
    receipt = erase(deployment)
    digests = {place.place: place.digest_before for place in receipt.places}
    for place, row in zip(
        ("state/main", "state/other", "standby/main", "standby/other"), rows, strict=True
    ):
        assert row is not None
        assert digests[place] == xxhash.xxh64_hexdigest(row)
    assert (receipt.user_key, receipt.partition, receipt.until) == (KEY, 0, STOP)
    assert removed(receipt, "state/") == removed(receipt, "standby/") == [1, 1]
    assert sum(removed(receipt, "archive/")) == 9
    assert len(removed(receipt, "snapshots/")) >= 3
    assert all(place.digest_before for place in receipt.places if place.removed)
    assert any(
        place.place == f"tombstone/tombstone-{KEY:016x}-{STOP}.json" for place in receipt.places
    )
    assert receipt.places[-1] == REMAINS[0]
    assert USER not in str(receipt)
    assert deployment.rows(user(1)) == others
    assert archived(disk) == kept
    check_gone(disk, deployment, rows)


def test_a_second_time_finds_nothing() -> None:
    """The same call again removes nothing and changes no state;
    what came since is removed by a later call.
    """
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)
    erase(deployment)
    digests = deployment.digests()
    again = erase(deployment)
    assert again.until == STOP
    assert removed(again, "state/") == removed(again, "standby/") == [0, 0]
    assert removed(again, "archive") == [0]
    assert deployment.digests() == digests
    deployment.fold(LATER)
    third = erase(deployment)
    assert (third.until, removed(third, "state/")) == (LATER, [1, 1])
    assert traces(disk, rows) == []


def test_an_unknown_user_has_a_receipt() -> None:
    """Nothing is removed, and the others stay as they are."""
    deployment = running(Disk())
    digests = deployment.digests()
    receipt = erase(deployment, "nobody")
    assert removed(receipt, "state/") == removed(receipt, "standby/") == [0, 0]
    assert deployment.digests() == digests
    with pytest.raises(InvalidRequest, match="user is empty"):
        erase(deployment, "")


def operations() -> tuple[int, int]:
    """The file operations at which an undisturbed erasure begins and ends."""
    deployment = running(Disk())
    start = deployment.files.operations
    erase(deployment)
    return start + 1, deployment.files.operations


def test_a_death_at_any_file_operation_is_made_good_by_another_call() -> None:
    """Everything dies, restarts, and folds on: states equal a replay's,
    and after another call the user is gone.
    """
    for crash_at in range(*operations()):
        disk = Disk()
        deployment = running(disk, crash_at=crash_at)
        rows = deployment.rows(USER)
        with pytest.raises(Crashed):
            erase(deployment)
        restarted = Deployment(disk, epoch=10).hold().fold(STOP)
        owner, standby = restarted.digests()
        assert owner == standby == replayed(disk, STOP), crash_at
        erase(restarted)
        check_gone(disk, restarted, rows)


@pytest.mark.parametrize("crash_at", range(operations()[0], operations()[0] + 8))
def test_a_failing_disk_leaves_states_that_equal_a_replay(crash_at: int) -> None:
    """An error at any operation of the tombstone: the call says so,
    and another one goes on from there.
    """
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)

    def fail(name: str, path: str) -> None:
        if deployment.files.operations == crash_at:
            raise OSError("planted")

    deployment.files.on_operation = fail
    with pytest.raises(ErasureIncomplete, match=r"planted.*Erase the user again"):
        erase(deployment)
    if not deployment.shards["shard-0"].grants():
        # given up: it was not sure whether the tombstone is there
        deployment.grant_anew()
    deployment.hold().fold(STOP)
    owner, standby = deployment.digests()
    assert owner == standby == replayed(disk, STOP)
    erase(deployment)
    check_gone(disk, deployment, rows)


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("told", [True, False])
def test_a_hand_over_between_any_two_steps(at: int, told: bool) -> None:
    """Roles change before any call of the erasure: it notices,
    and tells both replicas under their new epochs.
    """
    disk = Disk()
    steps = list[str]()
    deployment = running(disk)
    rows = deployment.rows(USER)

    def on_step(step: str, shard: str) -> None:
        steps.append(step)
        if len(steps) == at + 1:
            deployment.hand_over()
            if told:
                deployment.hold()
        elif step == "route" and not told:
            deployment.hold()

    deployment.on_step = on_step
    receipt = erase(deployment)
    deployment.hold()
    assert len(removed(receipt, "state/")) == 2
    check_gone(disk, deployment, rows)


def test_a_standby_that_runs_ahead_is_met_further_on() -> None:
    """The standby folds on while it is told:
    the erasure takes higher offsets until it is in front of it.
    """
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)
    ahead = [5, 20, 11]

    def on_step(step: str, shard: str) -> None:
        if (step, shard) == ("erase", "shard-1") and ahead:
            position = deployment.shards["shard-1"].position(0)
            deployment.fold_at("shard-1", position + ahead.pop(0))

    deployment.on_step = on_step
    receipt = erase(deployment)
    assert receipt.until > STOP + 25
    stop = receipt.until + 30
    deployment.fold(stop)
    assert all(deployment.rows(USER))
    owner, standby = deployment.digests()
    assert owner == standby == replayed(disk, stop)
    assert not any(row in content for content in disk.files.values() for row in rows if row)


def test_a_standby_that_cannot_be_told_fails_the_call_and_learns_when_it_takes_over() -> None:
    """No receipt says more than was done; promoted or not,
    the standby has erased the user before it owns.
    """
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)

    def on_step(step: str, shard: str) -> None:
        if (step, shard) == ("erase", "shard-1"):
            deployment.clock.advance(20.0)
            raise ShardUnavailable("shard-1 sleeps")

    deployment.on_step = on_step
    with pytest.raises(
        ErasureIncomplete, match=r"shard-1 sleeps.*below offset 60.*state/main \(1 removed\)"
    ):
        erase(deployment)
    deployment.hand_over()
    deployment.hold()
    assert deployment.rows(USER) == [None] * 4
    deployment.on_step = lambda step, shard: None
    erase(deployment)
    check_gone(disk, deployment, rows)


def test_a_standby_beyond_a_tombstone_it_missed_restores() -> None:
    """Its states hold clicks from before and after the erasure in one
    row, which no deletion can part.
    """
    disk = Disk()
    deployment = running(disk)
    deployment.shards["shard-0"].erase(0, KEY, STOP, deployment.route.owner.epoch)
    deployment.fold_at("shard-1", STOP + 20)
    deployment.hand_over()
    with pytest.raises(
        ShardUnavailable, match="gone beyond offset 60, below which a user was erased"
    ):
        deployment.hold()
    assert deployment.shards["shard-1"].grants() == {}
    deployment.hold().fold(LATER)
    owner, standby = deployment.digests()
    assert owner == standby == replayed(disk, LATER)


def test_a_snapshot_that_fails_is_said_and_made_good() -> None:
    """The states are gone, the files not: no receipt, but a call that can be repeated."""
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)

    def on_step(step: str, shard: str) -> None:
        if step == "forget_older":
            raise SnapshotError("no space left")

    deployment.on_step = on_step
    with pytest.raises(
        ErasureIncomplete, match=r"no space left.*standby/other \(1 removed\)"
    ) as caught:
        erase(deployment)
    assert USER not in str(caught.value)
    assert traces(disk, rows) != []
    deployment.on_step = lambda step, shard: None
    receipt = erase(deployment)
    assert removed(receipt, "state/") == [0, 0]
    check_gone(disk, deployment, rows)


def test_a_user_on_disk_is_erased(tmp_path: Path) -> None:
    """The cold tier forgets as well; the receipt says where the user was."""
    disk = Disk()
    tiers = TierSettings(cold_directory=str(tmp_path), cold_bytes_max=1 << 24, hot_bytes_max=2400)
    deployment = running(disk, tiers=tiers)
    for stop in range(STOP + 1, STOP + 7):  # one click of each other user
        deployment.fold(stop)
    rows = deployment.rows(USER)
    assert all(rows)
    receipt = erase(deployment)
    notes = {place.place: place.note for place in receipt.places}
    assert "was on disk" in notes["state/main"]
    check_gone(disk, deployment, rows)


def test_without_a_standby() -> None:
    """One replica is enough."""
    disk = Disk()
    deployment = running(disk)
    rows = deployment.rows(USER)
    deployment.route = type(deployment.route)(owner=deployment.route.owner)
    deployment.shards["shard-1"].release(0)
    receipt = erase(deployment)
    assert removed(receipt, "standby/") == []
    assert traces(disk, rows) == []


def test_retention_is_told_in_words() -> None:
    """As the topic is set; what the broker does not say is not made up."""
    assert retention({"retention.ms": "604800000", "cleanup.policy": "delete"}) == "7 days"
    assert retention({"retention.ms": "-1"}) == "retention.ms -1: for ever"
    assert retention({"cleanup.policy": "compact", "retention.ms": "1"}).startswith(
        "cleanup.policy compact: for ever"
    )
    assert retention({}) == "retention.ms unknown: ask the broker"
