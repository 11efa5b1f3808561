"""A cold tier that is full at times: users stay in memory,
and states equal those of a store that never evicts.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import ManualClock
from actors.errors import ColdTierError
from actors.state.cold import NOBODY, ColdTier
from actors.state.cold_room import ColdRoom
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from actors.state.store import PartitionStore
from model.arrays import Bytes, Keys
from tests.actors.click_log import ClickLog, bundle
from tests.actors.state.state_copier import Copier, states_of

ROW_BYTES = bundle().layout.row_bytes
HOT_USERS = 40
LOG = ClickLog(3000)
LOG.users[:] = np.random.default_rng(8).integers(0, 300, len(LOG.users)).astype(
    np.uint64
) << np.uint64(40)
EVERYBODY = np.unique(LOG.users)


class FullAtTimes(ColdTier):
    """A cold tier whose disk is full while `full` is set,
    also for those who only want to delete.
    """

    full = False

    def exchange(self, users: Keys, rows: Bytes, gone: Keys) -> None:
        if self.full and len(users) + len(gone):
            raise ColdTierError("no space left on the planted disk")
        super().exchange(users, rows, gone)


def store_on(cold: ColdTier | None, clock: ManualClock) -> PartitionStore:
    """A store with few users in memory where there is a cold tier."""
    hot_bytes = None if cold is None else HOT_USERS * (ROW_BYTES + BYTES_BESIDE_ROW_MAX)
    return PartitionStore(
        bundle(),
        users_initial=1,
        bytes_per_user_max=4096,
        hot_bytes_max=hot_bytes,
        cold=cold,
        clock=clock,
    )


def fold(start: int, stop: int, *stores: PartitionStore) -> None:
    """The log's offsets, 50 at a time, so that few users are needed at once."""
    for at in range(start, stop, 50):
        for each in stores:
            each.fold(LOG.batch(at, min(stop, at + 50)))


@contextmanager
def files_up_to(bytes_max: int) -> Iterator[None]:
    """No file of this process may grow beyond that:
    the nearest thing to a full disk that needs no rights.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


STEPS = st.one_of(
    st.tuples(st.just("fold"), st.integers(1, 400)),
    st.tuples(st.just("full"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, 100)),
    st.tuples(st.just("read"), st.integers(0, len(EVERYBODY) - 1)),
    st.tuples(st.just("idle"), st.integers(0, 8)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("pieces"), st.integers(1, 3)),
    st.tuples(st.just("close"), st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=30))
def test_a_disk_that_is_full_at_times_changes_no_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Clicks, reads, idle time and images while the disk fills and empties:
    no error, no difference, nobody twice.
    """
    clock = ManualClock()
    cold = FullAtTimes(tmp_path_factory.mktemp("cold"), "test", ROW_BYTES, 1 << 24)
    store = store_on(cold, clock)
    free = store_on(None, clock)
    copier = Copier(store)
    for what, number in [*steps, ("close", True), ("start", False), ("close", True)]:
        if what == "fold":
            batch = LOG.batch(free.position, min(LOG.length, free.position + number))
            assert store.fold(batch) == free.fold(batch)
        elif what == "full":
            cold.full = bool(number)
        elif what == "wait":
            clock.advance(number)
        elif what == "read":
            one, other = (s.row(int(EVERYBODY[number])) for s in (store, free))
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)
        elif what == "idle":
            while store.evict_idle(idle_s=number):
                pass
        else:
            {"start": copier.start, "pieces": copier.take, "close": copier.close}[what](number)
    assert store.digest() == free.digest()
    assert store.users == store.users_hot + store.users_cold == free.users
    assert copier.saved == states_of(free)


def test_users_leave_again_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is tried again less and less often; with room,
    memory shrinks to its limit, and the log says so.
    """
    clock = ManualClock()
    cold = FullAtTimes(tmp_path, "test", ROW_BYTES, 1 << 24)
    store = store_on(cold, clock)
    cold.full = True
    for start in range(0, 2000, 50):
        store.fold(LOG.batch(start, start + 50))
        clock.advance(30)
    assert (store.users_hot, store.users_cold, store.cold_full) == (store.users, 0, True)
    told = [record for record in caplog.records if "above the limit" in record.message]
    assert 3 <= len(told) <= 7  # at 0, 1, 2, 4, 8, 16 minutes of 20
    cold.full = False
    clock.advance(60)
    store.fold(LOG.batch(2000, 2050))
    assert store.users_hot <= max(HOT_USERS, 50)
    assert not store.cold_full
    assert "users leave the memory again" in caplog.text


def test_who_returned_to_a_full_disk_is_there_once(tmp_path: Path) -> None:
    """The outdated row on disk is not counted, not imaged, not read,
    and gone once the disk lets go of it.
    """
    clock = ManualClock()
    cold = FullAtTimes(tmp_path, "test", ROW_BYTES, 1 << 24)
    store = store_on(cold, clock)
    free = store_on(None, clock)
    fold(0, 1000, store, free)
    assert store.users_cold > 100
    cold.full = True
    fold(1000, 2000, store, free)
    assert len(cold) > store.users_cold
    assert states_of(store) == states_of(free)
    user = next(int(user) for user in cold.get(EVERYBODY)[0] if user in store._tiers.hot.keys)
    cold.full = False
    assert store.erase(user) == free.erase(user) is not None
    assert store.row(user) is None
    assert store.digest() == free.digest()
    clock.advance(60)
    fold(2000, 2300, store)
    assert len(cold) == store.users_cold


def test_an_exchange_too_large_for_the_file_moves_what_fits(tmp_path: Path) -> None:
    """860 users do not fit into a file for 200: it takes some, and the others are told to stay."""
    room = ColdRoom(ColdTier.below(tmp_path, "test", 3920, 1 << 20), ManualClock())
    users = np.arange(860, dtype=np.uint64)
    rows = np.random.default_rng(1).integers(0, 255, (860, 3920), dtype=np.uint8)
    moved = room.exchange(users, rows, NOBODY)
    assert 150 < moved == len(room) < 256
    assert room.full
    assert np.array_equal(room.get(users)[1], rows[:moved])


def test_a_full_file_still_lets_users_go(tmp_path: Path) -> None:
    """Whoever returns makes room for others, for ever:
    no page of a full file is held by rows that count no more.
    """
    clock = ManualClock()
    tier = ColdTier.below(tmp_path, "test", 3920, 1 << 20)
    room = ColdRoom(tier, clock)
    users = np.arange(400, dtype=np.uint64)
    rows = np.random.default_rng(1).integers(0, 255, (400, 3920), dtype=np.uint8)
    here = users[: room.exchange(users, rows, NOBODY)]
    for _ in range(50):
        clock.advance(60)
        returned = here[:40]
        outside = np.setdiff1d(users, here)
        moved = room.exchange(outside, rows[outside.astype(int)], returned)
        assert moved >= 30
        here = np.concatenate([here[40:], outside[:moved]])
        assert len(tier) == len(room) == len(here)
    assert np.array_equal(room.get(here)[1], rows[here.astype(int)])


def test_a_disk_that_fills_up_below_the_file_stops_nobody(tmp_path: Path) -> None:
    """The file may not grow: users stay in memory; once it may,
    they leave, and all states are right.
    """
    clock = ManualClock()
    store = store_on(ColdTier.below(tmp_path, "test", ROW_BYTES, 1 << 24), clock)
    free = store_on(None, clock)
    with files_up_to(64 << 10):
        fold(0, 2000, store)
    assert store.cold_full
    assert store.users_hot > 2 * HOT_USERS
    clock.advance(60)
    fold(2000, LOG.length, store)
    fold(0, LOG.length, free)
    assert not store.cold_full
    assert store.digest() == free.digest()


def test_a_disk_without_room_for_an_empty_file_keeps_no_partition_from_starting(
    tmp_path: Path,
) -> None:
    """The directory is made once there is room; until then all users are in memory."""
    clock = ManualClock()
    with files_up_to(0):
        tier = ColdTier.below(tmp_path, "test", ROW_BYTES, 1 << 24)
        store = store_on(tier, clock)
        fold(0, 1000, store)
    assert (store.users_cold, store.bytes_cold, store.cold_full) == (0, 0, True)
    assert list(tmp_path.iterdir()) == []
    clock.advance(60)
    fold(1000, 1100, store)
    assert store.users_cold > 0
    # by which LMDB's errors are told apart
    assert os.strerror(errno.ENOSPC) == "No space left on device"
