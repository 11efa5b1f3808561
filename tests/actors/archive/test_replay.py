"""Replay: two histories as one, folded to the same bytes as any other
way; saved, restored, compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.archive.replay import ArchiveThenLog, fold
from actors.clicks.click import ClickBatch
from actors.clock import SystemClock
from actors.errors import OffsetGap, SnapshotError
from actors.ingest.ports import Gap
from actors.snapshots import rebuild
from actors.snapshots.restore import restore
from actors.snapshots.store import SnapshotStore
from actors.state.difference import compare
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle
from tests.actors.click_log import ClickLog, bundle
from tests.actors.ingest.fake_history import FakeHistory

LOG = ClickLog(1000)


def new_store(of: Bundle) -> PartitionStore:
    """An empty store."""
    return PartitionStore(of, users_initial=4, bytes_per_user_max=4096, clock=SystemClock())


def folded(pieces: Iterable[ClickBatch | Gap], stop: int = LOG.length) -> PartitionStore:
    """A store after the pieces."""
    store = new_store(bundle())
    for _ in fold(pieces, {"main": store}, {"main": stop}):
        pass
    return store


def snapshots(root: Path) -> SnapshotStore:
    """Snapshots in a directory."""
    return SnapshotStore.from_uri(str(root), kept=3)


@given(
    archived=st.sets(st.integers(0, 39)),
    logged=st.sets(st.integers(0, 39)),
    ends=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    place=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    batch=st.integers(1, 9),
)
def test_archive_and_log_give_each_offset_once(
    archived: set[int], logged: set[int], ends: tuple[int, int], place: tuple[int, int], batch: int
) -> None:
    """What either holds comes once, in order;
    what both lack below the archive's end is a gap; the log ends it.
    """
    archive = FakeHistory({at for at in archived if at < ends[0]}, ends[0], batch)
    log = FakeHistory(
        {at for at in logged if at < ends[1]},
        ends[1],
        batch,
        short=True,
        reason="the log starts later",
    )
    start = min(place)
    stop = max(place)
    both = ArchiveThenLog(archive, log)
    assert (both.end(0) or 0) == max(ends)
    pieces = list(both.read(0, start, stop))
    assert [start, *(piece.stop for piece in pieces)][:-1] == [piece.start for piece in pieces]
    reached = pieces[-1].stop if pieces else start
    assert reached == max(start, min(stop, max(ends)))
    held = archive.held | log.held
    clicks = [int(at) for piece in pieces if isinstance(piece, ClickBatch) for at in piece.offsets]
    assert clicks == [at for at in range(start, reached) if at in held]
    missing = [
        at for piece in pieces if isinstance(piece, Gap) for at in range(piece.start, piece.stop)
    ]
    assert missing == [at for at in range(start, reached) if at not in held]


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, LOG.length)), stop=st.integers(0, LOG.length))
def test_any_cut_gives_the_same_bytes(cuts: list[int], stop: int) -> None:
    """Pieces of any size, up to any offset,
    give what a store has that got the clicks in one batch.
    """
    edges = sorted({0, *cuts, LOG.length})
    pieces = [LOG.batch(start, end) for start, end in itertools.pairwise(edges)]
    live = new_store(bundle())
    live.fold(LOG.batch(0, stop))
    assert folded(pieces, stop).digest() == live.digest()


def test_arms_stop_and_start_where_they_are_told() -> None:
    """Snapshots of two arms may lie at different offsets:
    each arm is folded up to its own, from its own.
    """
    stores = {"a": new_store(bundle()), "b": new_store(bundle(1))}
    stores["b"].fold(LOG.batch(0, 300))
    pieces = [LOG.batch(start, start + 100) for start in range(0, 1000, 100)]
    for _ in fold(pieces, stores, {"a": 250, "b": 777}):
        pass
    for arm, seed, stop in (("a", 0, 250), ("b", 1, 777)):
        live = new_store(bundle(seed))
        live.fold(LOG.batch(0, stop))
        assert stores[arm].digest() == live.digest()


def test_a_gap_moves_the_position_and_no_state() -> None:
    """As a shard does when it skips; pieces that do not follow each other are refused."""
    gapped = folded([LOG.batch(0, 100), Gap(0, 100, 400, "lost"), LOG.batch(400, 1000)])
    live = new_store(bundle())
    live.fold(LOG.batch(0, 100))
    live.skip_to(400)
    live.fold(LOG.batch(400, 1000))
    assert gapped.digest() == live.digest()
    with pytest.raises(OffsetGap):
        folded([LOG.batch(0, 100), LOG.batch(400, 1000)])


def test_an_error_while_reading_ahead_is_raised() -> None:
    """It does not end the replay early, as if the history were over."""

    def pieces() -> Iterable[ClickBatch]:
        yield LOG.batch(0, 10)
        raise SnapshotError("unreadable")

    with pytest.raises(SnapshotError, match="unreadable"):
        folded(pieces())


def test_saved_states_are_restored_as_the_newest(tmp_path: Path) -> None:
    """A rebuilt arm takes its place beside the others, which keep their states;
    a second save replaces the first.
    """
    store = snapshots(tmp_path)
    main = new_store(bundle())
    other = new_store(bundle(1))
    for one in (main, other):
        one.fold(LOG.batch(0, 600))
    assert rebuild.save(0, {"main": main, "other": other}, store).epoch == 0
    main.fold(LOG.batch(600, 1000))
    manifest = rebuild.save(0, {"main": main}, store)
    assert (set(manifest.arms), manifest.position) == ({"main", "other"}, 600)
    arms = {"main": bundle(), "other": bundle(1)}
    restored = restore(0, arms, snapshots(tmp_path), new_store, pytest.fail)
    assert restored["main"].store.digest() == main.digest()
    assert restored["other"].store.digest() == other.digest()


def test_states_behind_the_newest_snapshot_are_not_saved(tmp_path: Path) -> None:
    """They would never be restored; the message says how far to replay."""
    ahead = new_store(bundle())
    behind = new_store(bundle())
    ahead.fold(LOG.batch(0, 600))
    behind.fold(LOG.batch(0, 599))
    rebuild.save(0, {"main": ahead}, snapshots(tmp_path))
    with pytest.raises(
        SnapshotError, match="newest snapshot is at offset 600, ahead of these states at 599"
    ):
        rebuild.save(0, {"main": behind}, snapshots(tmp_path))


@pytest.mark.parametrize("step", ["add", "seal"])
def test_a_crash_while_saving_leaves_the_snapshots_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The manifest comes last; the states can be saved again afterwards."""
    main = new_store(bundle())
    main.fold(LOG.batch(0, 500))
    before = rebuild.save(0, {"main": main}, snapshots(tmp_path))
    main.fold(LOG.batch(500, 1000))

    def fail(*_: Any) -> None:
        raise SnapshotError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(SnapshotStore, step, fail)
        with pytest.raises(SnapshotError, match="no space left"):
            rebuild.save(0, {"main": main}, snapshots(tmp_path))
    assert snapshots(tmp_path).find(0).manifests == [before]
    assert rebuild.save(0, {"main": main}, snapshots(tmp_path)).position == 1000


def test_a_replay_begins_at_the_newest_snapshot_at_or_below(tmp_path: Path) -> None:
    """Of three snapshots the one that is not above the offset; below the first there is none."""
    store = new_store(bundle())
    for stop in (200, 500, 900):
        store.fold(LOG.batch(store.position, stop))
        rebuild.save(0, {"main": store}, snapshots(tmp_path))
    for at_most, position in ((1000, 900), (900, 900), (899, 500), (200, 200)):
        found = restore(
            0, {"main": bundle()}, snapshots(tmp_path), new_store, pytest.fail, at_most
        )["main"]
        assert found.chain is not None
        assert found.store.position == found.chain.position == position
    assert (
        restore(0, {"main": bundle()}, snapshots(tmp_path), new_store, pytest.fail, 199)[
            "main"
        ].chain
        is None
    )


def test_equal_stores_do_not_differ() -> None:
    """However their rows came to be where they are."""
    difference = compare(folded([LOG.all()]), folded([LOG.batch(0, 500), LOG.batch(500, 1000)]))
    assert (difference.users, difference.shown) == (0, ())
    assert difference.users_expected == difference.users_found == 40


def test_a_difference_names_user_and_part() -> None:
    """A changed byte, a user too many and one too few:
    each with its digests, and what of the row differs.
    """
    expected = folded([LOG.all()])
    found = folded([LOG.all()])
    changed = int(LOG.users[5])
    extra = 99
    row = found.row(changed)
    assert row is not None
    row[bundle().layout.ring_items] ^= 1
    row[bundle().layout.slots + 3] ^= 1
    found.load(np.array([changed, extra], dtype=np.uint64), np.stack([row, row]))
    difference = compare(expected, found)
    assert (difference.users, difference.users_expected, difference.users_found) == (2, 40, 41)
    by_user = {one.user: one for one in difference.shown}
    assert by_user[changed].parts == ("ring_items", "slots")
    assert by_user[changed].expected != by_user[changed].found is not None
    assert (by_user[extra].expected, by_user[extra].parts) == (None, ())
    assert compare(found, expected, shown=1).shown == (
        min(compare(found, expected).shown, key=lambda one: one.user),
    )
