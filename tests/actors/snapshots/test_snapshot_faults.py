"""A file system that fails at any step costs no acknowledged snapshot."""

from __future__ import annotations

import pytest

from actors.errors import SnapshotError
from actors.snapshots.manifest import Manifest
from actors.snapshots.store import SnapshotStore
from tests.actors.faulty_fs import Crashed, Disk, FaultyFiles
from tests.actors.state.images import image, is_sound, read, save, states

STEPS = (
    (1, 10, True),
    (1, 20, False),
    (1, 30, False),
    (1, 40, True),
    (1, 50, False),
    (2, 60, True),
    (2, 70, False),
)


def snapshots(files: FaultyFiles) -> SnapshotStore:
    """Two are kept."""
    return SnapshotStore(files.filesystem(), "state", kept=2)


def live(store: SnapshotStore, acknowledged: list[int]) -> None:
    """A life of seven snapshots under two epochs;
    the position of each that is complete is appended.
    """
    last = None
    for epoch, position, full in STEPS:
        images = (
            image(position, users=600 if full else 5, arm=arm, full=full) for arm in ("a", "b")
        )
        last = save(store, epoch, *images, after=last)
        acknowledged.append(last.position)
        store.retire(3, epoch)


def states_of(store: SnapshotStore, manifest: Manifest, arm: str) -> dict[int, bytes]:
    """User -> row after the whole chain."""
    users, rows = read(store, manifest.arms[arm])
    return {int(user): row.tobytes() for user, row in zip(users, rows, strict=True)}


def expected(position: int) -> dict[int, bytes]:
    """User -> row at a position, from the images themselves."""
    held: dict[int, bytes] = {}
    for _, at, full in STEPS:
        if at <= position:
            users, rows = states(at, users=600 if full else 5)
            new = {int(user): row.tobytes() for user, row in zip(users, rows, strict=True)}
            held = new if full else held | new
    return held


def operations() -> int:
    """How many operations the life takes when nothing happens."""
    process = FaultyFiles(Disk())
    live(snapshots(process), [])
    return process.operations


def test_a_death_at_any_operation_leaves_the_newest_acknowledged_set() -> None:
    """Whatever the last operation was: each manifest is whole,
    none acknowledged is lost, a successor cleans up.
    """
    for crash_at in range(1, operations() + 1):
        disk = Disk()
        acknowledged = [0]
        with pytest.raises(Crashed):
            live(snapshots(FaultyFiles(disk, crash_at=crash_at)), acknowledged)
        store = snapshots(FaultyFiles(disk))
        found = store.find(3)
        assert found.damaged == []
        assert all(is_sound(store, manifest) for manifest in found.manifests)
        newest = found.manifests[0] if found.manifests else None
        assert (newest.position if newest else 0) >= acknowledged[-1], crash_at
        if newest:
            assert states_of(store, newest, "b") == expected(newest.position)
        for position in (100, 110):
            save(store, 3, image(position, users=4, arm="a"), image(position, users=4, arm="b"))
        store.retire(3, 3)
        assert len(disk.files) == 2 * 3, crash_at


@pytest.mark.parametrize("room", range(0, 150_000, 7_000))
def test_a_full_disk_costs_nothing_that_was_saved(room: int) -> None:
    """Wherever the space ends, the error names the cause,
    what was acknowledged stays, and it goes on with space.
    """
    disk = Disk(room)
    acknowledged = list[int]()
    store = snapshots(FaultyFiles(disk))
    with pytest.raises(
        SnapshotError, match=r"cannot write state/partition-00003.*No space left on device"
    ):
        live(store, acknowledged)
    found = store.find(3)
    assert all(is_sound(store, manifest) for manifest in found.manifests)
    assert [manifest.position for manifest in found.manifests[:1]] == acknowledged[-1:]
    disk.room = None
    save(store, 3, image(100))
    store.retire(3, 3)
    assert store.find(3).manifests[0].position == 100


def test_a_read_only_directory_is_explained() -> None:
    """Reading goes on; saving and retiring say what is wrong and where."""
    disk = Disk()
    live(snapshots(FaultyFiles(disk)), [])
    before = dict(disk.files)
    store = snapshots(FaultyFiles(disk, read_only=True))
    assert is_sound(store, store.find(3).manifests[0])
    with pytest.raises(
        SnapshotError, match=r"state/partition-00003.*Read-only file system.*permissions"
    ):
        save(store, 3, image(100))
    with pytest.raises(
        SnapshotError, match=r"cannot delete state/partition-00003.*Read-only file system"
    ):
        SnapshotStore(FaultyFiles(disk, read_only=True).filesystem(), "state", kept=1).retire(3, 2)
    assert disk.files == before


def test_files_that_another_owner_deleted_meanwhile_are_no_error() -> None:
    """Two owners may retire the same old files; what is gone is gone."""
    disk = Disk()
    store = snapshots(FaultyFiles(disk))
    for position in (10, 20, 30, 40):
        save(store, 1, image(position, users=1))

    def other(name: str, path: str) -> None:
        if name == "delete":
            disk.files.pop(path, None)

    snapshots(FaultyFiles(disk, on_operation=other)).retire(3, 2)
    assert [manifest.position for manifest in store.find(3).manifests] == [40, 30]
    assert len(disk.files) == 4
