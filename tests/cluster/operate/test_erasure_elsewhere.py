"""Erasing a user whose records lie in other partitions than the user's home."""

from __future__ import annotations

import pytest

from actors.clicks.partitioner import partition_of
from tests.actors.click_log import bundle
from tests.actors.faulty_fs import Crashed, Disk
from tests.cluster.operate.erasable import (
    KEY,
    STOP,
    USER,
    Deployment,
    check_gone,
    erase,
    removed,
    running,
)


def misplaced(disk: Disk, **options: object) -> Deployment:
    """The same, among three partitions of which partition 0 is not the
    user's: its records had other keys.
    """
    assert partition_of(USER, 3) != 0
    return running(disk, partitions=3, **options)


def test_a_user_whose_records_lie_elsewhere_is_gone_from_there() -> None:
    """States, snapshots and archive of another partition than the user's home
    are cleaned; the receipt names each.
    """
    disk = Disk()
    deployment = misplaced(disk)
    rows = deployment.rows(USER)
    assert all(rows)
    receipt = erase(deployment)
    home = partition_of(USER, 3)
    assert receipt.partition == home
    assert removed(receipt, "state/") == [0, 0]
    assert (
        removed(receipt, "partition-0/state/") == removed(receipt, "partition-0/standby/") == [1, 1]
    )
    assert sum(removed(receipt, "archive/partition=0")) == 9
    assert any(
        place.place == f"partition-0/tombstone/tombstone-{KEY:016x}-{STOP}.json"
        for place in receipt.places
    )
    [clean] = [place for place in receipt.places if place.place == f"partition-{3 - home}"]
    assert "named the user" in clean.note
    check_gone(disk, deployment, rows)


def test_partitions_that_never_heard_of_a_user_are_left_alone() -> None:
    """Neither a tombstone nor a new snapshot there,
    and the receipt says so, partition by partition.
    """
    disk = Disk()
    deployment = misplaced(disk)
    stranger = next(f"stranger-{n}" for n in range(100) if partition_of(f"stranger-{n}", 3) == 1)
    before = {path: content for path, content in disk.files.items() if "partition-00000" in path}
    receipt = erase(deployment, stranger)
    assert {
        path: content for path, content in disk.files.items() if "partition-00000" in path
    } == before
    assert [place.place for place in receipt.places if place.place.startswith("partition-")] == [
        "partition-0",
        "partition-2",
    ]
    assert [place.note for place in receipt.places if place.place == "archive"] == [
        "no file of any partition held a click of the user"
    ]


def test_a_death_while_other_partitions_are_cleaned_is_made_good_by_another_call() -> None:
    """At any file operation of the erasure: the next call leaves nothing of the user."""
    deployment = misplaced(Disk())
    rows = deployment.rows(USER)
    first = deployment.files.operations
    erase(deployment)
    last = deployment.files.operations
    for at in range(first + 1, last + 1):
        disk = Disk()
        with pytest.raises(Crashed):
            erase(misplaced(disk, crash_at=at))
        again = Deployment(disk, epoch=11, partitions=3).hold().fold(STOP)
        erase(again)
        check_gone(disk, again, rows)


def test_archived_clicks_without_a_state_go_for_good() -> None:
    """A tombstone keeps a replay from folding what the archive held elsewhere."""
    disk = Disk()
    deployment = Deployment(disk, partitions=3).hold().archived(STOP)
    receipt = erase(deployment)
    assert sum(removed(receipt, "archive/partition=0")) == 9
    assert any(place.place.startswith("partition-0/tombstone/") for place in receipt.places)
    deployment.fold(STOP)
    assert deployment.rows(USER) == [None] * 4


def test_a_snapshot_of_a_model_that_is_gone_keeps_nobody() -> None:
    """States of an arm that is not served any more are deleted with the old
    snapshots of another partition.
    """
    disk = Disk()
    misplaced(disk).snapshot()
    later = Deployment(disk, epoch=11, partitions=3)
    later.shards = {name: later.shard_of(name, {"main": bundle(2)}) for name in later.shards}
    later.hold()
    receipt = erase(later)
    assert removed(receipt, "partition-0/snapshots/") != []
    assert [
        path
        for path, content in disk.files.items()
        if "state" in path and KEY.to_bytes(8, "little") in content
    ] == []
