"""Tombstones: an erased user stays erased."""

from __future__ import annotations

import json

import pytest

from actors.errors import SnapshotError
from actors.snapshots.tombstone_files import TombstoneFiles
from tests.actors.faulty_fs import Crashed, Disk, FaultyFiles

USER = 0xF1A2B3C4D5E6F7
OTHER = 2**64 - 1


def tombstones(files: FaultyFiles) -> TombstoneFiles:
    """Tombstones below `state`."""
    return TombstoneFiles(files.filesystem(), "state/")


def test_what_is_written_is_read() -> None:
    """Each partition has its own; the largest offset of a user counts;
    writing again changes nothing.
    """
    disk = Disk()
    stones = tombstones(FaultyFiles(disk))
    assert stones.read(3) == {}
    assert (
        stones.write(3, USER, 1200) == "state/partition-00003/tombstone-00f1a2b3c4d5e6f7-1200.json"
    )
    for user, until in ((USER, 1500), (USER, 900), (OTHER, 0)):
        stones.write(3, user, until)
    stones.write(4, USER, 7)
    before = dict(disk.files)
    stones.write(3, USER, 1200)
    assert (stones.read(3), stones.read(4)) == ({USER: 1500, OTHER: 0}, {USER: 7})
    assert disk.files == before


def test_a_death_at_any_operation_leaves_all_or_nothing() -> None:
    """A tombstone whose writer died is there as a whole or not at all, and can be written again."""
    undisturbed = FaultyFiles(Disk())
    tombstones(undisturbed).write(3, USER, 1200)
    for crash_at in range(1, undisturbed.operations + 1):
        disk = Disk()
        with pytest.raises(Crashed):
            tombstones(FaultyFiles(disk, crash_at=crash_at)).write(3, USER, 1200)
        stones = tombstones(FaultyFiles(disk))
        assert stones.read(3) in ({}, {USER: 1200})
        stones.write(3, USER, 1200)
        assert stones.read(3) == {USER: 1200}


@pytest.mark.parametrize(
    "content", [b"", b'{"user_key": "00f1', json.dumps({"user_key": "0", "until": 1200}).encode()]
)
def test_a_damaged_tombstone_is_never_ignored(content: bytes) -> None:
    """A tombstone that does not say what its name says stops whoever reads,
    and is named; writing it again heals it.
    """
    disk = Disk()
    stones = tombstones(FaultyFiles(disk))
    path = stones.write(3, USER, 1200)
    disk.files[path] = content
    with pytest.raises(
        SnapshotError, match=r"tombstone-00f1a2b3c4d5e6f7-1200.json is damaged.*erase"
    ):
        stones.read(3)
    stones.write(3, USER, 1200)
    assert stones.read(3) == {USER: 1200}


def test_a_name_that_is_none_of_ours_is_not_ignored_either() -> None:
    """Something that looks like a tombstone but names no user stops whoever reads."""
    disk = Disk()
    stones = tombstones(FaultyFiles(disk))
    stones.write(3, USER, 1200)
    disk.files["state/partition-00003/tombstone-user.json"] = b"{}"
    with pytest.raises(SnapshotError, match=r"tombstone-user.json is damaged: its name"):
        stones.read(3)


def test_a_disk_that_refuses_is_explained() -> None:
    """Neither writing nor listing fails in silence."""
    disk = Disk()
    with pytest.raises(SnapshotError, match=r"cannot write the tombstone.*Read-only.*not erased"):
        tombstones(FaultyFiles(disk, read_only=True)).write(3, USER, 1200)

    def refuses(name: str, path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(
        SnapshotError,
        match=r"cannot list the tombstones in state/partition-00003.*Permission denied",
    ):
        tombstones(FaultyFiles(disk, on_operation=refuses)).read(3)
