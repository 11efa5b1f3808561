"""Snapshots: what was saved comes back, and what is damaged does not."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SnapshotError
from actors.snapshots.manifest import Chain, Manifest, StateFile
from actors.snapshots.state_file import SnapshotDamaged
from actors.snapshots.store import SnapshotStore
from tests.actors.state.images import image, read, save, states


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Snapshots in a directory that does not exist yet."""
    return SnapshotStore.from_uri(str(tmp_path / "new" / "state"), kept=2)


def files(tmp_path: Path) -> list[str]:
    """The names of all files below."""
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_what_is_saved_comes_back(store: SnapshotStore) -> None:
    """Users and rows of every arm return byte for byte, from a directory that had to be made."""
    written = save(store, 1, image(10), image(20, users=5, arm="a/b c"))
    [manifest] = store.find(3).manifests
    assert manifest == written
    assert (manifest.position, manifest.epoch, set(manifest.arms)) == (10, 1, {"main", "a/b c"})
    for arm, expected in (("main", states(10)), ("a/b c", states(20, users=5))):
        users, rows = read(store, manifest.arms[arm])
        assert np.array_equal(users, expected[0])
        assert np.array_equal(rows, expected[1])


def test_changed_rows_follow_the_base(store: SnapshotStore, tmp_path: Path) -> None:
    """A delta adds one file to the chain, an image without rows adds none,
    and a full image starts anew.
    """
    base = save(store, 1, image(10))
    delta = save(store, 1, image(20, users=7, full=False), after=base)
    same = save(store, 1, image(30, users=0, full=False), after=delta)
    full = save(store, 1, image(40), after=same)
    chains = [manifest.arms["main"] for manifest in (base, delta, same, full)]
    assert [len(chain.files) for chain in chains] == [1, 2, 2, 1]
    assert [chain.position for chain in chains] == [10, 20, 30, 40]
    assert chains[1].files[0] == chains[0].files[0]
    assert (chains[2].files, chains[2].changed_rows) == (chains[1].files, 7)
    sizes = [path.stat().st_size for path in sorted(tmp_path.rglob("*.arrow"))]
    assert [chain.size_bytes for chain in chains] == [
        sizes[0],
        sum(sizes[:2]),
        sum(sizes[:2]),
        sizes[2],
    ]
    users, _ = read(store, chains[2])
    assert np.array_equal(users, np.concatenate([states(10)[0], states(20, users=7)[0]]))


def test_a_delta_needs_a_base(store: SnapshotStore) -> None:
    """Changed rows alone are no state."""
    with pytest.raises(AssertionError, match="without the rows before"):
        save(store, 1, image(10, full=False))


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
    chain = save(store, 1, image(7, users=0)).arms["main"]
    assert list(store.read(3, chain, chain.files[0])) == []


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


DAMAGES = [
    flip,
    lambda data: data[: len(data) // 2],
    lambda data: data[:0],
    lambda data: data + b" \0",
]


@pytest.mark.parametrize("damage", DAMAGES, ids=["bit flip", "half", "empty", "longer"])
def test_a_damaged_state_file_is_found_out(
    store: SnapshotStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Any change of a state file is noticed by its end at the latest, and the file is named."""
    manifest = save(store, 1, image(10))
    [path] = tmp_path.rglob("*.arrow")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotDamaged, match=path.name) as caught:
        read(store, manifest.arms["main"])
    assert caught.value.reason == "checksum"


def test_a_missing_state_file_is_damage(store: SnapshotStore, tmp_path: Path) -> None:
    """A manifest that names a file which is gone says so."""
    manifest = save(store, 1, image(10))
    next(tmp_path.rglob("*.arrow")).unlink()
    with pytest.raises(SnapshotDamaged, match="missing"):
        read(store, manifest.arms["main"])


def test_a_file_of_another_model_is_damage(store: SnapshotStore) -> None:
    """A manifest that names a file with another meaning is not believed."""
    chain = save(store, 1, image(10)).arms["main"]
    with pytest.raises(SnapshotDamaged, match=r"mismatch.*model-1.*model-2"):
        read(store, chain.model_copy(update={"model": "model-2"}))


def test_a_file_of_another_number_of_rows_is_damage(store: SnapshotStore) -> None:
    """A manifest that counts other rows than the file has is not believed."""
    chain = save(store, 1, image(10, users=5)).arms["main"]
    wrong = chain.files[0].model_copy(update={"rows": 6})
    with pytest.raises(SnapshotDamaged, match=r"mismatch.*has 5 rows.*names 6"):
        list(store.read(3, chain, wrong))


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
    assert [(error.reason, path.name in str(error)) for error in found.damaged] == [
        ("manifest", True)
    ]


@given(st.data())
def test_a_manifest_with_any_byte_changed_never_means_something_else(data: st.DataObject) -> None:
    """One changed byte is an error, or changes nothing that is read."""
    file = StateFile(name="f", size_bytes=1, xxh3="0", rows=2, position=5)
    chain = Chain(model="m", schema_hash="s", position=5, users=2, files=(file,))
    manifest = Manifest(partition=0, epoch=1, position=5, arms={"main": chain})
    text = bytearray(manifest.to_json())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = Manifest.from_json(bytes(text))
    except ValueError:
        return
    assert changed == manifest


def test_another_format_is_not_read() -> None:
    """A later version's manifest is refused, not guessed at."""
    future = Manifest.model_construct(
        format=3, partition=0, epoch=1, position=0, arms={}, extra="later"
    )
    with warnings.catch_warnings(action="ignore"):  # pydantic sees that 3 is no 2
        text = future.to_json()
    with pytest.raises(ValueError, match="another format"):
        Manifest.from_json(text)


def test_the_previous_format_is_still_read(store: SnapshotStore, tmp_path: Path) -> None:
    """A snapshot of format 1, one whole file an arm, is a chain of one file."""
    manifest = save(store, 1, image(10))
    [file] = manifest.arms["main"].files
    meaning = {"model": "model-1", "schema_hash": "schema-1", "position": 10, "users": 3000}
    arms = {
        "main": {"name": file.name, "size_bytes": file.size_bytes, "xxh3": file.xxh3, **meaning}
    }
    content = {"format": 1, "partition": 3, "epoch": 1, "position": 10, "arms": arms}
    checksum = xxhash.xxh3_64_hexdigest(
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    )
    [path] = tmp_path.rglob("*.manifest.json")
    path.write_text(json.dumps({"xxh3": checksum, "manifest": content}))
    assert store.find(3).manifests == [manifest]


def test_arms_of_one_position_written_twice_are_one_snapshot(
    store: SnapshotStore, tmp_path: Path
) -> None:
    """A restarted owner of the same epoch may save the same offset again; names do not clash."""
    first = save(store, 1, image(10))
    assert save(store, 1, image(10)) == first
    assert len(files(tmp_path)) == 2


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The error has the path and the system's reason."""
    (tmp_path / "file").touch()
    blocked = SnapshotStore.from_uri(str(tmp_path / "file" / "state"), kept=1)
    with pytest.raises(
        SnapshotError,
        match=r"file/state/partition-00003.*(Not a directory|Errno 20).*state\.directory",
    ):
        save(blocked, 1, image(1))
