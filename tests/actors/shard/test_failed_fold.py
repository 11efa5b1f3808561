"""A fold that fails half-way leaves nothing behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from actors.errors import NotOwner
from actors.shard.held import HeldPartition
from actors.shard.roles import Grant
from actors.shard.shard import Shard
from model.bundle.bundle import Bundle
from tests.actors.click_log import ClickLog, bundle_of, shard

LOG = ClickLog()
USER = int(LOG.users[0])


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of an uninterrupted run."""
    fresh = shard(tmp_path_factory.mktemp("clean"))
    fresh.hold(0, 1)
    fresh.apply(LOG.all(), 1)
    return fresh.digest(0, "main")


class Failing(Bundle):
    """Fails in the middle of one slice."""

    armed = True

    def fold(self, rows, index, users, items, actions, times_ms, offsets) -> None:  # type: ignore[no-untyped-def]
        if self.armed and offsets[0] >= 500:
            rows[index[0]] = 255
            raise FloatingPointError("planted")
        super().fold(rows, index, users, items, actions, times_ms, offsets)


def test_a_failed_fold_gives_the_partition_up(tmp_path: Path, clean: str) -> None:
    """Half-changed rows are never served, saved or folded on; holding again restores sound ones."""
    model = bundle_of(Failing)
    owner = shard(tmp_path, {"main": model})
    owner.hold(0, 1)
    owner.apply(LOG.batch(0, 300), 1)
    owner.snapshot(0)
    with pytest.raises(FloatingPointError, match="planted"):
        owner.apply(LOG.batch(300, LOG.length), 1)
    with pytest.raises(NotOwner):
        owner.read(0, "main", USER)
    model.armed = False
    assert owner.hold(0, 2) == 300
    owner.apply(LOG.batch(300, LOG.length), 2)
    assert owner.digest(0, "main") == clean


class FailsUnderWay(Bundle):
    """Fails while another thread waits to do something to the partition."""

    def meet(self, other: threading.Thread, owner: Shard) -> None:
        self.other = other
        self.owner = owner

    def fold(self, *_) -> None:  # type: ignore[no-untyped-def]
        self.other.start()
        while not self.owner._holding.locked() and self.other.is_alive():
            pass  # until the other thread is past its first lock, or through
        raise FloatingPointError("planted")


def test_a_release_or_renewal_that_waited_for_a_failed_fold(tmp_path: Path) -> None:
    """The partition is gone for both: releasing it again is nothing,
    and a newer epoch is told so.
    """
    model = bundle_of(FailsUnderWay)
    refused = []

    def renew(owner: Shard, held: HeldPartition) -> None:
        with owner._holding, pytest.raises(NotOwner, match="given up"):
            held.renew(Grant(2), 0.0)
        refused.append(True)

    for action in (lambda owner, _: owner.release(0), renew):
        owner = shard(tmp_path, {"main": model})
        owner.hold(0, 1)
        other = threading.Thread(target=action, args=(owner, owner._held[0]))
        model.meet(other, owner)
        with pytest.raises(FloatingPointError):
            owner.apply(LOG.all(), 1)
        other.join(10)
        assert owner.owned() == {}
    assert refused == [True]
