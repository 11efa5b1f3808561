"""Snapshots: what was saved comes back, and what is damaged does not."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from actors.errors import SnapshotError
from actors.image import Piece, StateImage
from actors.manifest import Manifest, StateFile
from actors.snapshot import SnapshotStore
from actors.state_file import SnapshotDamaged


def states(position: int, users: int = 3000) -> Piece:
    """Random states of random users, the same for the same position."""
    random = np.random.default_rng(position)
    return random.integers(0, 2**63, users).astype(np.uint64), random.integers(0, 255, (users, 48), dtype=np.uint8)


def image(position: int, users: int = 3000, arm: str = "main") -> StateImage:
    """An image of `states`."""
    keys, rows = states(position, users)
    return StateImage(
        arm=arm,
        model="model-1",
        schema="schema-1",
        position=position,
        full=True,
        users=users,
        row_bytes=48,
        pieces=lambda: ((keys[at : at + 256], rows[at : at + 256]) for at in range(0, users, 256)),
        close=lambda completed: None,
    )


def save(store: SnapshotStore, epoch: int, *images: StateImage) -> Manifest:
    """Save partition 3."""
    return store.save(3, epoch, iter(images))


def read(store: SnapshotStore, file: StateFile) -> tuple[np.ndarray, np.ndarray]:
    """All users and rows of a file."""
    users, rows = zip(*store.read(3, file), strict=True)
    return np.concatenate(users), np.concatenate(rows)


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Snapshots in a directory that does not exist yet."""
    return SnapshotStore.from_uri(str(tmp_path / "new" / "state"), kept=2)


def files(tmp_path: Path) -> list[str]:
    """The names of all files below."""
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_what_is_saved_comes_back(store: SnapshotStore) -> None:
    """Users and rows of every arm return byte for byte, from a directory that had to be made."""
    one, two = image(10), image(20, users=5, arm="a/b c")
    written = save(store, 1, one, two)
    [manifest] = store.find(3).manifests
    assert manifest == written
    assert (manifest.position, manifest.epoch, set(manifest.arms)) == (10, 1, {"main", "a/b c"})
    for arm, expected in (("main", states(10)), ("a/b c", states(20, users=5))):
        users, rows = read(store, manifest.arms[arm])
        assert np.array_equal(users, expected[0])
        assert np.array_equal(rows, expected[1])


def test_a_file_uri_is_a_directory_too(tmp_path: Path) -> None:
    """Snapshots saved under a path are found under its URI."""
    manifest = save(SnapshotStore.from_uri(str(tmp_path), kept=1), 1, image(1))
    assert SnapshotStore.from_uri(tmp_path.as_uri(), kept=1).find(3).manifests == [manifest]


def test_an_unknown_scheme_is_explained() -> None:
    """A URI that nothing can open names itself."""
    with pytest.raises(SnapshotError, match="nowhere://x"):
        SnapshotStore.from_uri("nowhere://x", kept=1)


def test_no_users_are_a_snapshot_too(store: SnapshotStore) -> None:
    """An arm without users is saved with its position."""
    manifest = save(store, 1, image(7, users=0))
    assert list(store.read(3, manifest.arms["main"])) == []


def test_newest_is_by_epoch_then_position(store: SnapshotStore, tmp_path: Path) -> None:
    """A newer epoch wins over a larger offset, whatever was written last."""
    keeper = SnapshotStore.from_uri(str(tmp_path / "new" / "state"), kept=9)
    for epoch, position in ((2, 50), (10, 5), (2, 400), (1, 9000)):
        save(keeper, epoch, image(position, users=1))
    found = [(manifest.epoch, manifest.position) for manifest in store.find(3).manifests]
    assert found == [(10, 5), (2, 400), (2, 50), (1, 9000)]


def flip(data: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES = [flip, lambda data: data[: len(data) // 2], lambda data: data[:0], lambda data: data + b" \0"]


@pytest.mark.parametrize("damage", DAMAGES, ids=["bit flip", "half", "empty", "longer"])
def test_a_damaged_state_file_is_found_out(
    store: SnapshotStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Any change of a state file is noticed before a row of it is used, and the file is named."""
    manifest = save(store, 1, image(10))
    [path] = tmp_path.rglob("*.arrow")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotDamaged, match=path.name) as caught:
        next(store.read(3, manifest.arms["main"]))
    assert caught.value.reason == "checksum"


def test_a_missing_state_file_is_damage(store: SnapshotStore, tmp_path: Path) -> None:
    """A manifest that names a file which is gone says so."""
    manifest = save(store, 1, image(10))
    next(tmp_path.rglob("*.arrow")).unlink()
    with pytest.raises(SnapshotDamaged, match="missing"):
        next(store.read(3, manifest.arms["main"]))


def test_a_file_of_another_model_is_damage(store: SnapshotStore) -> None:
    """A manifest that names a file with another meaning is not believed."""
    file = save(store, 1, image(10)).arms["main"]
    with pytest.raises(SnapshotDamaged, match=r"mismatch.*model-1.*model-2"):
        next(store.read(3, file.model_copy(update={"model": "model-2"})))


@pytest.mark.parametrize("damage", DAMAGES, ids=["bit flip", "half", "empty", "longer"])
def test_a_damaged_manifest_leaves_the_previous(
    store: SnapshotStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Other manifests are found, and the damaged one is named."""
    first = save(store, 1, image(10))
    save(store, 1, image(20))
    path = max(tmp_path.rglob("*.manifest.json"))
    path.write_bytes(damage(path.read_bytes()))
    found = store.find(3)
    assert found.manifests == [first]
    assert [(error.reason, path.name in str(error)) for error in found.damaged] == [("manifest", True)]


@given(st.data())
def test_a_manifest_with_any_byte_changed_never_means_something_else(data: st.DataObject) -> None:
    """One changed byte is an error, or changes nothing that is read."""
    file = StateFile(name="f", size_bytes=1, xxh3="0", model="m", schema_hash="s", position=5, users=2)
    manifest = Manifest(partition=0, epoch=1, position=5, arms={"main": file})
    text = bytearray(manifest.to_json())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = Manifest.from_json(bytes(text))
    except ValueError:
        return
    assert changed == manifest


def test_another_format_is_not_read() -> None:
    """A later version's manifest is refused, not guessed at."""
    future = Manifest.model_construct(format=2, partition=0, epoch=1, position=0, arms={}, extra="later")
    with warnings.catch_warnings(action="ignore"):  # pydantic sees that 2 is no 1
        text = future.to_json()
    with pytest.raises(ValueError, match="another format"):
        Manifest.from_json(text)


def test_retention_keeps_the_newest(store: SnapshotStore, tmp_path: Path) -> None:
    """Two of four snapshots stay, with their files; leftovers of crashes and nothing else go."""
    for position in (1, 2, 3, 4):
        save(store, 5, image(position))
    directory = next(tmp_path.rglob("partition-00003"))
    orphan, torn = "000000000005-0000000000000000002-main-0.arrow", "000000000005-0000000000000000004-main.tmp"
    newer, foreign = "000000000006-0000000000000000001-main.tmp", "README"
    for name in (orphan, torn, newer, foreign):
        (directory / name).touch()
    store.retire(3)
    assert [manifest.position for manifest in store.find(3).manifests] == [4, 3]
    for manifest in store.find(3).manifests:
        read(store, manifest.arms["main"])
    left = files(tmp_path)
    assert len(left) == 2 * 2 + 2
    assert {newer, foreign} <= set(left)


def test_retention_does_not_count_damaged_manifests(store: SnapshotStore, tmp_path: Path) -> None:
    """With the newest manifest damaged, the two before it stay."""
    for position in (1, 2, 3):
        save(store, 5, image(position))
    max(tmp_path.rglob("*.manifest.json")).write_bytes(b"{}")
    store.retire(3)
    assert [manifest.position for manifest in store.find(3).manifests] == [2, 1]


def test_a_slow_owner_of_an_old_epoch_cannot_harm_the_new_one(store: SnapshotStore) -> None:
    """Saving and retiring under an old epoch leaves the newer epoch's snapshots."""
    for position in (10, 20):
        save(store, 8, image(position))
    save(store, 7, image(5000))
    store.retire(3)
    assert [(manifest.epoch, manifest.position) for manifest in store.find(3).manifests] == [(8, 20), (8, 10)]


def test_arms_of_one_position_written_twice_are_one_snapshot(store: SnapshotStore, tmp_path: Path) -> None:
    """A restarted owner of the same epoch may save the same offset again; names do not clash."""
    first = save(store, 1, image(10))
    assert save(store, 1, image(10)) == first
    assert len(files(tmp_path)) == 2


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The error has the path and the system's reason."""
    (tmp_path / "file").touch()
    blocked = SnapshotStore.from_uri(str(tmp_path / "file" / "state"), kept=1)
    with pytest.raises(
        SnapshotError, match=r"file/state/partition-00003.*(Not a directory|Errno 20).*state\.directory"
    ):
        save(blocked, 1, image(1))


class FullDisk:
    """A local file system with room for `room` bytes of each file."""

    def __init__(self, room: int) -> None:
        self.room, self._real = room, fs.LocalFileSystem()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def open_output_stream(self, path: str) -> Any:
        return FullStream(self._real.open_output_stream(path), self.room)


class FullStream:
    def __init__(self, stream: Any, room: int) -> None:
        self._stream, self._room = stream, room

    def write(self, data: Any) -> None:
        self._room -= len(memoryview(data).cast("B"))
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._stream.write(data)

    def __enter__(self) -> FullStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@pytest.mark.parametrize("room", [0, 100, 50_000])
def test_a_full_disk_leaves_the_previous_snapshot(store: SnapshotStore, tmp_path: Path, room: int) -> None:
    """A write that fails half-way is an error with its cause, and the older snapshot stays the newest."""
    first = save(store, 1, image(10))
    full = SnapshotStore(FullDisk(room), str(tmp_path / "new" / "state"), kept=2)  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="No space left on device"):
        save(full, 1, image(20))
    assert store.find(3).manifests == [first]
    save(store, 1, image(20))
    store.retire(3)
    assert not [name for name in files(tmp_path) if name.endswith(".tmp")]
