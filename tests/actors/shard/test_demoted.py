"""A shard that loses a partition while it waits to save it, or while it saves,
writes nothing that outranks anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

from actors.errors import NotOwner
from actors.shard.roles import Role
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from tests.actors.click_log import ClickLog, bundle, sample, shard

LOG = ClickLog()
SAVES: dict[str, Callable[[Shard], object]] = {
    "snapshot": lambda owner: owner.snapshot(0),
    "forget_older": lambda owner: owner.forget_older(0),
}


class Waiting:
    """The lock of whoever saves, got only after something has happened."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def __enter__(self) -> None:
        self._happens()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


class Interrupted(SnapshotStore):
    """Snapshots during which something happens, after a file of an arm is written."""

    after: dict[str, Callable[[], object]]

    def add(self, partition, epoch, image, users, before):  # type: ignore[no-untyped-def]
        chain = super().add(partition, epoch, image, users, before)
        self.after.pop(image.arm, lambda: None)()
        return chain


def files(root: Path) -> set[str]:
    """The names of everything that is saved."""
    return {path.name for path in root.rglob("*") if path.is_file()}


def owner_of(root: Path, **others: object) -> Shard:
    """An owner with something to save."""
    owner = shard(root, **others)  # type: ignore[arg-type]
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 300), 1)
    owner.snapshot(0)
    owner.apply(LOG.batch(300, 400), 1)
    return owner


@pytest.mark.parametrize("how", SAVES)
def test_who_is_demoted_while_it_waits_saves_nothing(tmp_path: Path, how: str) -> None:
    """Neither files nor deletes: the standby's epoch is newer than the
    new owner's first files may be.
    """
    owner = owner_of(tmp_path)
    saved = files(tmp_path)
    owner._snapshotter._one_at_a_time = Waiting(lambda: owner.hold(0, 3, Role.STANDBY))  # type: ignore[assignment]
    with pytest.raises(NotOwner, match="is the standby of partition 0"):
        SAVES[how](owner)
    assert files(tmp_path) == saved


@pytest.mark.parametrize("how", SAVES)
def test_who_gives_up_while_it_waits_saves_nothing(tmp_path: Path, how: str) -> None:
    """A partition that was released is somebody else's."""
    owner = owner_of(tmp_path)
    saved = files(tmp_path)
    owner._snapshotter._one_at_a_time = Waiting(lambda: owner.release(0))  # type: ignore[assignment]
    with pytest.raises(NotOwner, match="given up"):
        SAVES[how](owner)
    assert files(tmp_path) == saved


@pytest.mark.parametrize("how", SAVES)
@pytest.mark.parametrize("arm", ["main", "other"])
def test_who_is_demoted_while_it_saves_completes_nothing(
    tmp_path: Path, how: str, arm: str
) -> None:
    """After one arm or after the last: no manifest appears, and the new owner's files stay."""
    real = SnapshotStore.from_uri(str(tmp_path), kept=9)
    interrupted = Interrupted(real._filesystem, real._root, 9)
    interrupted.after = {}
    arms = {"main": bundle(), "other": bundle(1)}
    owner = owner_of(tmp_path, snapshots=interrupted, arms=arms)
    interrupted.after[arm] = lambda: owner.hold(0, 3, Role.STANDBY)
    with pytest.raises(NotOwner):
        SAVES[how](owner)
    assert [manifest.position for manifest in real.find(0).manifests] == [300]
    successor = shard(tmp_path, arms=arms)
    assert successor.hold(0, 2) == 300
    assert successor.digest(0, "other") != owner.digest(0, "other")
    successor.apply(LOG.batch(300, 400), 2)
    assert successor.snapshot(0) == 400
    assert real.find(0).manifests[0].epoch == 2


def test_saving_everything_resets_the_age(tmp_path: Path) -> None:
    """A snapshot that an erasure takes is a snapshot."""
    owner = owner_of(tmp_path)
    owner._clock.advance(50)  # type: ignore[attr-defined]
    assert sample(owner._metrics, "snapshot_age_seconds", partition="0") == 50
    owner.forget_older(0)
    assert sample(owner._metrics, "snapshot_age_seconds", partition="0") == 0
