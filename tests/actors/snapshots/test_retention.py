"""Retention: what is needed stays, whatever happens; the rest goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SnapshotError
from actors.snapshots.manifest import Manifest
from actors.snapshots.store import SnapshotStore
from tests.actors.state.images import image, is_sound, read, save


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Two snapshots are kept."""
    return SnapshotStore.from_uri(str(tmp_path), kept=2)


def files(tmp_path: Path) -> list[str]:
    """The names of all files below."""
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def orders(store: SnapshotStore) -> list[tuple[int, int]]:
    """Epoch and position of every manifest, newest first; each must be sound."""
    manifests = store.find(3).manifests
    assert all(is_sound(store, manifest) for manifest in manifests)
    return [(manifest.epoch, manifest.position) for manifest in manifests]


def save_chain(store: SnapshotStore, epoch: int, *positions: int) -> list[Manifest]:
    """A base, then deltas."""
    saved = [save(store, epoch, image(positions[0], users=9))]
    for position in positions[1:]:
        saved.append(save(store, epoch, image(position, users=3, full=False), after=saved[-1]))
    return saved


def test_the_newest_stay(store: SnapshotStore, tmp_path: Path) -> None:
    """Two of four snapshots stay, with their files; leftovers of crashes and nothing else go."""
    for position in (1, 2, 3, 4):
        save(store, 5, image(position))
    directory = next(tmp_path.rglob("partition-00003"))
    orphan = "000000000005-0000000000000000002-main-0.arrow"
    torn = "000000000005-0000000000000000004-main.tmp"
    newer = "000000000006-0000000000000000001-main.tmp"
    foreign = "README"
    for name in (orphan, torn, newer, foreign):
        (directory / name).touch()
    assert store.retire(3, 9) == 2 * 2 + 2
    assert orders(store) == [(5, 4), (5, 3)]
    left = files(tmp_path)
    assert len(left) == 2 * 2 + 2
    assert {newer, foreign} <= set(left)


def test_files_of_a_chain_stay_with_it(store: SnapshotStore, tmp_path: Path) -> None:
    """The base of a kept snapshot stays, although it is older than every manifest that is kept."""
    save_chain(store, 5, 10, 20, 30, 40)
    assert store.retire(3, 9) == 2
    assert orders(store) == [(5, 40), (5, 30)]
    assert len(files(tmp_path)) == 4 + 2


def test_one_snapshot_with_another_base_stays(store: SnapshotStore, tmp_path: Path) -> None:
    """While the newest two stand on one base,
    the newest one that does not stays too, and no longer.
    """
    save_chain(store, 5, 10, 20, 30)
    save_chain(store, 5, 40, 50, 60, 70)
    store.retire(3, 9)
    assert orders(store) == [(5, 70), (5, 60), (5, 30)]
    assert len(files(tmp_path)) == 3 + 3 + 4
    save_chain(store, 6, 80)
    store.retire(3, 9)
    assert orders(store) == [(6, 80), (5, 70)]
    assert len(files(tmp_path)) == 2 + 1 + 4


def test_each_arm_has_a_spare(store: SnapshotStore) -> None:
    """Where arms start anew at different times, each finds another base in what is kept."""
    saved = save(store, 1, image(10, users=5), image(10, users=5, arm="b"))
    for position in (20, 30, 40, 50):
        images = (
            image(position, 1, arm, full=(position, arm) in ((20, "main"), (40, "b")))
            for arm in ("main", "b")
        )
        saved = save(store, 1, *images, after=saved)
    store.retire(3, 9)
    assert orders(store) == [(1, 50), (1, 40), (1, 10)]
    for arm in ("main", "b"):
        assert len({manifest.arms[arm].files[0].name for manifest in store.find(3).manifests}) == 2


def test_one_kept_is_one(tmp_path: Path) -> None:
    """Who asks for one snapshot gets no spare."""
    store = SnapshotStore.from_uri(str(tmp_path), kept=1)
    save_chain(store, 5, 10, 20)
    save_chain(store, 5, 30, 40)
    store.retire(3, 9)
    assert orders(store) == [(5, 40)]
    assert len(files(tmp_path)) == 3


def test_damaged_manifests_do_not_count(store: SnapshotStore, tmp_path: Path) -> None:
    """With the newest manifest damaged, the two before it stay."""
    for position in (1, 2, 3):
        save(store, 5, image(position))
    max(tmp_path.rglob("*.manifest.json")).write_bytes(b"{}")
    store.retire(3, 9)
    assert orders(store) == [(5, 2), (5, 1)]


def test_a_slow_owner_of_an_old_epoch_cannot_harm_the_new_one(
    store: SnapshotStore, tmp_path: Path
) -> None:
    """Saving, retiring and forgetting under an old epoch leave every file
    of a newer one, needed or not.
    """
    save_chain(store, 8, 10)
    save_chain(store, 8, 20)
    save_chain(store, 8, 30)
    newer = set(files(tmp_path))
    save_chain(store, 7, 5000, 6000)
    store.retire(3, 7)
    assert set(files(tmp_path)) == newer
    with pytest.raises(SnapshotError, match="is of epoch 8, not of epoch 7; nothing is deleted"):
        store.forget_older(3, 7)
    store.retire(3, 8)
    assert orders(store) == [(8, 30), (8, 20)]


def test_nothing_is_retired_without_a_snapshot(store: SnapshotStore, tmp_path: Path) -> None:
    """Files without any readable manifest stay, and so does an empty directory's peace."""
    assert store.retire(3, 9) == 0
    save(store, 1, image(1))
    next(tmp_path.rglob("*.manifest.json")).write_bytes(b"")
    assert store.retire(3, 9) == 0
    assert len(files(tmp_path)) == 2


def test_forgetting_leaves_the_newest_set_alone(store: SnapshotStore, tmp_path: Path) -> None:
    """All but the newest snapshot's files go, leftovers too,
    and each is named with the checksum that it had.
    """
    save_chain(store, 4, 100)
    save_chain(store, 5, 10, 20)
    directory = next(tmp_path.rglob("partition-00003"))
    (directory / "000000000005-0000000000000000025-main.tmp").write_bytes(b"half")
    newest = save(store, 5, image(30))
    newer = "000000000006-0000000000000000001-main.tmp"
    (directory / newer).touch()
    store.tombstones.write(3, 1, 2)
    checksums = {path.name for path in directory.glob("*.arrow")}
    deleted = store.forget_older(3, 5)
    [states] = newest.arms["main"].files
    assert len(deleted) == 2 + 4 + 1
    assert all(file.xxh3 in file.name for file in deleted if file.name.endswith(".arrow"))
    assert {file.name for file in deleted if file.name.endswith(".arrow")} == checksums - {
        states.name
    }
    assert len(files(tmp_path)) == 2 + 1 + 1
    assert len(read(store, newest.arms["main"])[0]) == 3000
    assert store.forget_older(3, 5) == []


def test_nothing_is_forgotten_for_a_damaged_snapshot(store: SnapshotStore, tmp_path: Path) -> None:
    """If the only set that would be left is damaged, or there is none, all others stay."""
    with pytest.raises(SnapshotError, match="is not there, not of epoch 5; nothing is deleted"):
        store.forget_older(3, 5)
    save(store, 5, image(1))
    save(store, 5, image(2))
    path = max(tmp_path.rglob("*.arrow"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotError, match=path.name):
        store.forget_older(3, 5)
    assert len(files(tmp_path)) == 4
