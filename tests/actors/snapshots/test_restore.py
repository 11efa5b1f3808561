"""From snapshots to stores: the newest set that is whole, and nothing of any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.errors import SnapshotError
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import CONFIG, ClickLog, bundle, sample, shard
from tests.actors.faulty_fs import Disk, FaultyFiles

LOG = ClickLog()
STOPS = (600, 603, 606, 612, 700, 703, 706, 709)  # a chain of five files, then one of three
ARMS = {"main": bundle()}


def snapshots(
    disk: Disk, on_operation: Callable[[str, str], None] = lambda name, path: None
) -> SnapshotStore:
    """Two are kept."""
    return SnapshotStore(FaultyFiles(disk, on_operation=on_operation).filesystem(), "state", kept=2)


def saved(tmp_path: Path, disk: Disk, stops: tuple[int, ...] = STOPS) -> dict[int, str]:
    """Fill the disk with snapshots at `stops`; the digest at each."""
    owner = shard(tmp_path, ARMS, snapshots(disk))
    digests = {}
    owner.hold(0, 1)
    for stop in stops:
        owner.apply(LOG.batch(owner.positions()[0], stop), 1)
        owner.snapshot(0)
        digests[stop] = owner.digest(0, "main")
    return digests


def flip(disk: Disk, name: str) -> None:
    """Change one bit of a file."""
    [path] = (path for path in disk.files if path.endswith(name))
    content = bytearray(disk.files[path])
    content[len(content) // 2] ^= 1
    disk.files[path] = bytes(content)


def test_any_damaged_file_leaves_the_newest_set_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever file is damaged, the states are exactly those of the newest
    snapshot that does not need it.
    """
    whole = Disk()
    digests = saved(tmp_path, whole)
    chains = {
        manifest.position: manifest.arms["main"] for manifest in snapshots(whole).find(0).manifests
    }
    assert [(position, len(chain.files)) for position, chain in chains.items()] == [
        (709, 3),
        (706, 2),
        (700, 5),
    ]
    for file in {file.name: file for chain in chains.values() for file in chain.files}:
        disk = Disk()
        disk.files = dict(whole.files)
        disk.directories = set(whole.directories)
        flip(disk, file)
        caplog.clear()
        owner = shard(tmp_path, ARMS, snapshots(disk))
        usable = [
            position
            for position, chain in chains.items()
            if file not in {one.name for one in chain.files}
        ]
        assert owner.hold(0, 2) == usable[0]
        assert owner.digest(0, "main") == digests[usable[0]]
        read = usable[0] < 709  # only then anybody looked at it
        assert sample(owner._metrics, "snapshot_failures_total", reason="checksum") == read
        assert (
            sum(file in record.message for record in caplog.records if record.levelname == "ERROR")
            == read
        )


def test_damage_everywhere_starts_from_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With no whole set left the arm is empty, at offset 0, and a replay gives the states again."""
    disk = Disk()
    digests = saved(tmp_path, disk)
    for path in list(disk.files):
        if path.endswith(".arrow"):
            flip(disk, path)
    owner = shard(tmp_path, ARMS, snapshots(disk))
    assert owner.hold(0, 2) == 0
    assert "no usable snapshot among 3" in caplog.text
    owner.apply(LOG.batch(0, 709), 2)
    assert owner.digest(0, "main") == digests[709]


def test_each_damaged_file_is_read_once(tmp_path: Path) -> None:
    """A base that several snapshots stand on is neither read nor reported for each of them."""
    disk = Disk()
    read = []
    saved(tmp_path, disk)
    base = snapshots(disk).find(0).manifests[0].arms["main"].files[0].name
    flip(disk, base)
    owner = shard(
        tmp_path,
        ARMS,
        snapshots(disk, lambda name, path: read.append(path) if name == "read" else None),
    )
    assert owner.hold(0, 2) == 700
    assert sum(path.endswith(base) for path in read) == 1


def test_a_chain_of_another_schema_or_model_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither base nor changes are read; the log names both versions;
    the arm is rebuilt from offset 0.
    """
    disk = Disk()
    saved(tmp_path, disk)
    lookalike = bundle(
        config=CONFIG.from_json(CONFIG.to_json().replace('"gap_buckets":32', '"gap_buckets":31'))
    )
    lookalike.version = bundle().version
    for other in (bundle(1), lookalike):
        caplog.clear()
        owner = shard(tmp_path, {"main": other}, snapshots(disk))
        assert owner.hold(0, 2) == 0
        assert "no usable snapshot among 3" in caplog.text
        assert bundle().config.schema_hash() in caplog.text
        assert other.config.schema_hash() in caplog.text
        assert owner.stats()[0].arms["main"].users == 0


def test_the_last_owner_may_still_save_and_retire(tmp_path: Path) -> None:
    """A zombie that replaces what was just listed costs another look, not the states."""
    disk = Disk()
    zombie = shard(tmp_path, ARMS, snapshots(disk))
    zombie.hold(0, 1)
    zombie.apply(LOG.batch(0, 100), 1)
    zombie.snapshot(0)
    fetched: list[str] = []

    def works_on(name: str, path: str) -> None:
        if name == "read" and path.endswith(".arrow"):
            fetched.append(path)
            if len(fetched) <= 2:
                for _ in range(3):
                    go_on(zombie)

    owner = shard(tmp_path, ARMS, snapshots(disk, works_on))
    assert owner.hold(0, 2) == zombie.positions()[0] > 600
    assert owner.digest(0, "main") == zombie.digest(0, "main")
    assert len(fetched) > 2


def go_on(owner: Shard) -> None:
    """A hundred offsets more and a snapshot of everything,
    so that older files are needed no more.
    """
    position = owner.positions()[0]
    owner.apply(LOG.batch(position, position + 100), owner.owned()[0])
    owner.forget_older(0)


def test_files_that_cannot_be_read_are_not_taken_for_damaged(tmp_path: Path) -> None:
    """Where the file system refuses,
    holding fails rather than rebuild from a log that may not reach back.
    """
    disk = Disk()
    saved(tmp_path, disk)

    def refuses(name: str, path: str) -> None:
        if name == "read" and path.endswith(".arrow"):
            raise PermissionError(13, "Permission denied", path)

    owner = shard(tmp_path, ARMS, snapshots(disk, refuses))
    with pytest.raises(SnapshotError, match=r"one may be there.*Permission denied"):
        owner.hold(0, 2)
    assert owner.owned() == {}


def test_erased_users_do_not_come_back(tmp_path: Path) -> None:
    """Rows of a file at or below the tombstone's offset are dropped,
    later rows are new; the stores know the user.
    """
    disk = Disk()
    user = int(LOG.users[0])
    owner = shard(tmp_path, ARMS, snapshots(disk))
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 600), 1)
    owner.snapshot(0)
    snapshots(disk).tombstones.write(0, user, 640)

    successor = shard(tmp_path, ARMS, snapshots(disk))
    assert successor.hold(0, 2) == 600
    assert successor.read(0, "main", user).row is None
    clean = shard(tmp_path / "clean", ARMS)
    clean.hold(0, 1)
    clean._held[0].restored()["main"].set_tombstone(user, 640)
    clean.apply(LOG.batch(0, 700), 1)
    successor.apply(LOG.batch(600, 700), 2)
    assert successor.digest(0, "main") == clean.digest(0, "main")


def test_an_erased_user_may_click_again(tmp_path: Path) -> None:
    """Of a chain that reaches over the tombstone,
    the base's row is dropped and the later change's row stays.
    """
    disk = Disk()
    user = int(LOG.users[0])
    owner = shard(tmp_path, ARMS, snapshots(disk))
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 600), 1)
    owner.snapshot(0)
    later = int(LOG.offsets[(LOG.users == LOG.users[0]) & (LOG.offsets >= 610)][0])
    [store] = owner._held[0].restored().values()
    snapshots(disk).tombstones.write(0, user, 610)
    store.set_tombstone(user, 610)
    assert store.erase(user) is not None
    owner.apply(LOG.batch(600, 605), 1)
    owner.snapshot(0)
    without = shard(tmp_path, ARMS, snapshots(disk))
    assert (without.hold(0, 2), without.read(0, "main", user).row) == (605, None)
    assert without.digest(0, "main") == owner.digest(0, "main")
    owner.apply(LOG.batch(605, later + 1), 1)
    owner.snapshot(0)
    assert len(snapshots(disk).find(0).manifests[0].arms["main"].files) == 3
    again = shard(tmp_path, ARMS, snapshots(disk))
    assert again.hold(0, 3) == later + 1
    assert again.read(0, "main", user).row is not None
    assert again.digest(0, "main") == owner.digest(0, "main")


def test_a_damaged_tombstone_stops_the_restore(tmp_path: Path) -> None:
    """Better no partition than one in which an erased user may have come back."""
    disk = Disk()
    saved(tmp_path, disk)
    path = snapshots(disk).tombstones.write(0, 7, 100)
    disk.files[path] = b""
    owner = shard(tmp_path, ARMS, snapshots(disk))
    with pytest.raises(SnapshotError, match=r"tombstone-0000000000000007-100.json is damaged"):
        owner.hold(0, 2)
    assert owner.owned() == {}
