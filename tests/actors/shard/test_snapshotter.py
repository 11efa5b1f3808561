"""What a shard saves and when: bases, changes, compaction, and what failures leave."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from actors.errors import SnapshotError
from actors.shard.shard import Shard
from actors.shard.snapshotter import DELTAS_MAX
from actors.snapshots.manifest import Chain
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import ClickLog, bundle, sample, shard
from tests.actors.faulty_fs import Crashed, Disk, FaultyFiles

LOG = ClickLog()


def advance(owner: Shard, seconds: float) -> None:
    """Let time pass for the shard."""
    owner._clock.advance(seconds)  # type: ignore[attr-defined]


def digest_at(position: int, root: Path) -> str:
    """The digest of an uninterrupted run up to `position`."""
    clean = shard(root / f"clean-{position}")
    clean.hold(0, 1)
    clean.apply(LOG.batch(0, position), 1)
    return clean.digest(0, "main")


def snapshots(files: FaultyFiles, kept: int = 3) -> SnapshotStore:
    """Snapshots on a disk of the test's."""
    return SnapshotStore(files.filesystem(), "state", kept=kept)


def save_at(owner: Shard, epoch: int, *stops: int) -> None:
    """Apply up to each of `stops` and save there."""
    for stop in stops:
        owner.apply(LOG.batch(owner.positions()[0], stop), epoch)
        assert owner.snapshot(0) == stop


def chain(store: SnapshotStore, arm: str = "main") -> Chain:
    """The newest snapshot's chain."""
    return store.find(0).manifests[0].arms[arm]


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    """After a base come the users of the clicks since;
    an offset without a click adds no file; all is restored.
    """
    store = SnapshotStore.from_uri(str(tmp_path), kept=3)
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600, 610, 615)
    changed = [
        len(set(LOG.batch(start, stop).users.tolist()))
        for start, stop in ((0, 600), (600, 610), (610, 615))
    ]
    assert [file.rows for file in chain(store).files] == changed
    hole = next(offset for offset in range(615, LOG.length) if offset not in LOG.offsets)
    save_at(owner, 1, hole)
    files = len(list(tmp_path.rglob("*.arrow")))
    save_at(owner, 1, hole + 1)
    assert (chain(store).position, len(list(tmp_path.rglob("*.arrow")))) == (hole + 1, files)
    successor = shard(tmp_path)
    assert successor.hold(0, 2) == hole + 1
    assert successor.digest(0, "main") == owner.digest(0, "main")


def test_a_new_epoch_starts_with_a_base(tmp_path: Path) -> None:
    """Neither a renewed epoch nor a restart adds to files of an older epoch."""
    store = SnapshotStore.from_uri(str(tmp_path), kept=9)
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600, 605)
    owner.hold(0, 2)
    save_at(owner, 2, 610, 615)
    restarted = shard(tmp_path, snapshots=store)
    restarted.hold(0, 3)
    save_at(restarted, 3, 620)
    chains = [manifest.arms["main"].files for manifest in reversed(store.find(0).manifests)]
    assert [len(files) for files in chains] == [1, 2, 1, 2, 1]
    assert {len({file.name[:12] for file in files}) for files in chains} == {1}


def test_changes_that_outgrow_half_of_the_base_are_compacted(tmp_path: Path) -> None:
    """The chain never reads much more than the base and half of it."""
    store = SnapshotStore.from_uri(str(tmp_path), kept=3)
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600)
    lengths = []
    for stop in range(606, 700, 6):
        before = chain(store)
        save_at(owner, 1, stop)
        lengths.append(len(chain(store).files))
        assert (lengths[-1] == 1) == (2 * before.changed_rows > before.files[0].rows)
    assert {1, 2, 3} <= set(lengths)


def test_many_small_changes_are_compacted(tmp_path: Path) -> None:
    """A chain has a base and `DELTAS_MAX` files at most, however few rows change."""
    store = SnapshotStore.from_uri(str(tmp_path), kept=3)
    log = ClickLog(200)
    log.users[log.offsets >= 100] = log.users[0]  # one user clicks on and on
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    for stop in range(100, 200, 5):
        owner.apply(log.batch(owner.positions()[0], stop), 1)
        owner.snapshot(0)
        expected = (stop - 100) // 5 % (DELTAS_MAX + 1) + 1
        assert len(chain(store).files) == expected


class Refusing:
    """Refuses to complete files with `part` in their path, while it is armed."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.armed = False

    def __call__(self, name: str, path: str) -> None:
        if self.armed and name == "move" and self.part in path:
            raise OSError(errno.EIO, "planted", path)


@pytest.mark.parametrize("part", [".arrow", ".manifest.json"])
@pytest.mark.parametrize("at", ["base", "delta"])
def test_what_a_failed_snapshot_held_is_in_the_next(tmp_path: Path, part: str, at: str) -> None:
    """Rows whose file or manifest could not be written are saved the next time,
    though no click touched them again.
    """
    refusing = Refusing(part)
    disk = Disk()
    store = snapshots(FaultyFiles(disk, on_operation=refusing))
    owner = shard(tmp_path, {"main": bundle(), "other": bundle(1)}, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, *[600] * (at == "delta"))
    owner.apply(LOG.batch(owner.positions()[0], 612), 1)
    refusing.armed = True
    with pytest.raises(SnapshotError, match="planted"):
        owner.snapshot(0)
    assert sample(owner._metrics, "snapshot_failures_total", reason="write") == 1
    refusing.armed = False
    save_at(owner, 1, 615)
    successor = shard(
        tmp_path, {"main": bundle(), "other": bundle(1)}, snapshots=snapshots(FaultyFiles(disk))
    )
    assert successor.hold(0, 2) == 615
    for arm in ("main", "other"):
        assert successor.digest(0, arm) == owner.digest(0, arm)


def test_an_arm_that_was_written_is_not_written_again(tmp_path: Path) -> None:
    """Where the second arm fails, the first one's file is named by the next manifest."""
    refusing = Refusing("-b-")
    store = snapshots(FaultyFiles(Disk(), on_operation=refusing))
    owner = shard(tmp_path, {"a": bundle(), "b": bundle(1)}, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600)
    owner.apply(LOG.batch(600, 605), 1)
    refusing.armed = True
    with pytest.raises(SnapshotError, match="planted"):
        owner.snapshot(0)
    refusing.armed = False
    save_at(owner, 1, 607)
    assert (len(chain(store, "a").files), len(chain(store, "b").files)) == (3, 2)


def test_a_death_at_any_operation_leaves_no_trace(tmp_path: Path) -> None:
    """Folding, saving and retiring, killed at each operation:
    the successor's states are those of its offset.
    """
    stops = (600, 605, 640)
    arms = {"main": bundle()}
    digests = {position: digest_at(position, tmp_path) for position in (0, *stops)}

    def live(files: FaultyFiles, epoch: int, covered: list[int]) -> None:
        owner = shard(tmp_path, arms, snapshots(files, kept=1))
        covered.append(owner.hold(0, epoch))
        assert owner.digest(0, "main") == digests[covered[-1]]
        for stop in (stop for stop in stops if stop > covered[-1]):
            owner.apply(LOG.batch(covered[-1], stop), epoch)
            covered.append(owner.snapshot(0))

    undisturbed = FaultyFiles(Disk())
    live(undisturbed, 1, [])
    for crash_at in range(1, undisturbed.operations + 1):
        disk = Disk()
        covered = [0]
        after = list[int]()
        with pytest.raises(Crashed):
            live(FaultyFiles(disk, crash_at=crash_at), 1, covered)
        live(FaultyFiles(disk), 2, after)
        assert after[0] >= covered[-1], crash_at
        assert after[-1] == stops[-1]


def test_recovery_is_predicted(tmp_path: Path) -> None:
    """The gauges know the bytes of the newest set,
    and the time to read it and to fold what lies above.
    """
    owner = shard(tmp_path)
    owner.hold(0, 1)
    owner.observe_end(0, 700)
    assert sample(owner._metrics, "snapshot_bytes", partition="0") == 0
    empty = sample(owner._metrics, "recovery_predicted_seconds", partition="0")
    assert empty == owner._snapshotter.forecast.seconds(0, 700) > 0
    save_at(owner, 1, 600, 610)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.arrow"))
    assert sample(owner._metrics, "snapshot_bytes", partition="0") == size
    predicted = sample(owner._metrics, "recovery_predicted_seconds", partition="0")
    assert predicted == owner._snapshotter.forecast.seconds(size, 90) < empty
    successor = shard(tmp_path)
    successor.hold(0, 2)
    assert sample(successor._metrics, "snapshot_bytes", partition="0") == size
    successor.release(0)
    for name in ("snapshot_bytes", "recovery_predicted_seconds", "snapshot_age_seconds"):
        assert (
            successor._metrics.registry.get_sample_value(f"echorank_{name}", {"partition": "0"})
            is None
        )


def test_forgetting_saves_everything_anew(tmp_path: Path) -> None:
    """Afterwards one snapshot of the present is all there is,
    also if nothing was new; later changes add to it.
    """
    store = SnapshotStore.from_uri(str(tmp_path), kept=3)
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600, 605, 610)
    deleted = owner.forget_older(0)
    assert len(deleted) == 2 + 3  # the manifest at 610 is replaced, not deleted
    assert len(list(tmp_path.rglob("*.*"))) == 2
    save_at(owner, 1, 615)
    assert len(chain(store).files) == 2
    successor = shard(tmp_path)
    assert successor.hold(0, 2) == 615
    assert successor.digest(0, "main") == owner.digest(0, "main")


def test_the_wall_clock_decides_nothing(tmp_path: Path) -> None:
    """Clocks that jump, and files that seem years old or young,
    change neither order nor retention.
    """
    store = SnapshotStore.from_uri(str(tmp_path), kept=2)
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    for stop, jump_ms in ((600, -(10**10)), (605, 10**12), (610, -(10**12))):
        owner._clock._now_ms = owner._clock.now_ms() + jump_ms  # type: ignore[attr-defined]
        save_at(owner, 1, stop)
        for age, path in enumerate(sorted(tmp_path.rglob("*.*"))):
            os.utime(path, (10**9 - age * 10**6,) * 2)
    assert [manifest.position for manifest in store.find(0).manifests] == [610, 605]
    assert shard(tmp_path).hold(0, 2) == 610


@pytest.mark.parametrize("loss", ["directory", "base", "cut off"])
def test_files_that_vanish_are_saved_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    """A chain whose files somebody removed or cut is not added to:
    the next snapshot has all rows, and says why.
    """
    disk = Disk()
    store = snapshots(FaultyFiles(disk))
    owner = shard(tmp_path, snapshots=store)
    owner.hold(0, 1)
    save_at(owner, 1, 600, 605)
    if loss == "directory":
        disk.files.clear()
        disk.directories.clear()
    elif loss == "base":
        del disk.files[f"state/partition-00000/{chain(store).files[0].name}"]
    else:
        disk.files[f"state/partition-00000/{chain(store).files[1].name}"] = b""
    save_at(owner, 1, 610)
    assert len(chain(store).files) == 1
    assert "so all rows are saved anew" in caplog.text
    assert sample(owner._metrics, "snapshot_failures_total", reason="missing") == 1
    successor = shard(tmp_path, snapshots=store)
    assert successor.hold(0, 2) == 610
    assert successor.digest(0, "main") == owner.digest(0, "main")
