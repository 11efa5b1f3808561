"""One partition and arm: exactly once, whatever the batches."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clicks.click import key
from actors.clock import SystemClock
from actors.errors import ConfigError, OffsetGap
from actors.locks import FairLock
from actors.state.row_memory import RowMemory
from actors.state.rows import BYTES_BESIDE_ROW_MAX, HotRows
from actors.state.store import PartitionStore
from model.bundle.bundle import UNKNOWN_ACTION, Bundle
from tests.actors.click_log import CONFIG, ClickLog, bundle, bundle_of, deliveries

LOG = ClickLog()


def store(model: Bundle | None = None) -> PartitionStore:
    """An empty store that has to grow from the first user on."""
    return PartitionStore(
        model or bundle(), users_initial=1, bytes_per_user_max=4096, clock=SystemClock()
    )


@pytest.fixture(scope="module")
def clean() -> PartitionStore:
    """The whole log, applied as one batch."""
    fresh = store()
    fresh.fold(LOG.all())
    return fresh


@settings(max_examples=25, deadline=None)
@given(ranges=deliveries(LOG.length))
def test_any_delivery_gives_the_same_bytes(
    clean: PartitionStore, ranges: list[tuple[int, int]]
) -> None:
    """Cuts, repeats and overlaps leave no trace in the states."""
    other = store()
    for start, stop in ranges:
        other.fold(LOG.batch(start, stop))
    assert other.position == LOG.length
    assert other.digest() == clean.digest()
    for user in np.unique(LOG.users):
        assert np.array_equal(other.row(int(user)), clean.row(int(user)))


def test_events_are_counted_once(clean: PartitionStore) -> None:
    """Each user's state has as many events as the log has clicks of the user."""
    for user, clicks in zip(*np.unique(LOG.users, return_counts=True), strict=True):
        row = clean.row(int(user))
        assert row is not None
        assert clean.bundle.remembered(row).events == clicks


def test_a_gap_is_refused_and_changes_nothing(clean: PartitionStore) -> None:
    """A batch beyond the position raises, with both offsets."""
    before = clean.digest()
    with pytest.raises(OffsetGap, match=f"starts at offset {LOG.length + 1}.*is {LOG.length}"):
        clean.fold(LOG.batch(LOG.length + 1, LOG.length + 2))
    assert clean.digest() == before


class FailsOnce(Bundle):
    """Refuses the second slice once, before it changes anything."""

    calls = 0

    def fold(self, *columns) -> None:  # type: ignore[no-untyped-def]
        self.calls += 1
        if self.calls == 2:
            raise FloatingPointError("planted")
        super().fold(*columns)


def test_a_batch_that_stopped_between_slices_goes_on_there(clean: PartitionStore) -> None:
    """The position covers exactly the slices that were folded,
    so sending the whole batch again applies the rest.
    """
    states = store(bundle_of(FailsOnce))
    with pytest.raises(FloatingPointError):
        states.fold(LOG.all())
    assert states.position == LOG.offsets[255] + 1
    states.fold(LOG.all())
    assert states.digest() == clean.digest()


def test_a_range_of_holes_only_moves_the_position() -> None:
    """No clicks in a range is progress all the same."""
    fresh = store()
    applied = fresh.fold(ClickLog(0).batch(0, 50))
    assert (applied.events, fresh.position, fresh.users) == (0, 50, 0)


def test_position_is_part_of_the_digest() -> None:
    """Equal rows at different offsets are different states."""
    fresh = store()
    before = fresh.digest()
    fresh.skip_to(1)
    assert fresh.digest() != before


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_digest_does_not_depend_on_the_order_of_users(order: list[int]) -> None:
    """Users loaded in any order give the same digest."""
    users = np.arange(12, dtype=np.uint64)
    rows = np.random.default_rng(0).integers(
        0, 255, (12, bundle().layout.row_bytes), dtype=np.uint8
    )
    one = store()
    other = store()
    one.load(users, rows)
    other.load(users[order], rows[order])
    assert one.digest() == other.digest()


def test_unknown_users_and_items() -> None:
    """A user without clicks has no row; clicks on unknown items are folded and counted."""
    fresh = store()
    applied = fresh.fold(LOG.all())
    unknown = int((LOG.items < 5).sum())
    assert (applied.events, applied.unknown_items) == (len(LOG.offsets), unknown)
    assert unknown > 0
    assert fresh.row(999) is None


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    cuts=deliveries(LOG.length),
)
def test_clicks_with_actions_that_the_model_does_not_know_are_passed_over(
    seed: int, share: float, cuts: list[tuple[int, int]]
) -> None:
    """They change no state and make no user, however the log is cut;
    the position passes them, and they are counted.
    """
    strange = np.random.default_rng(seed).random(len(LOG.offsets)) < share
    whole = LOG.all()
    mixed = replace(
        whole, actions=np.where(strange, np.uint64(key("order_refunded")), whole.actions)
    )
    one = store()
    other = store()
    one.fold(whole.where(~strange))
    found = [other.fold(mixed.after(start).before(stop)) for start, stop in cuts]
    assert other.position == LOG.length
    assert other.digest() == one.digest()
    assert sum(applied.events for applied in found) == int((~strange).sum())
    assert sum(applied.unknown_actions for applied in found) == int(strange.sum())
    assert other.users == len(np.unique(LOG.users[~strange]))


def test_each_arm_folds_what_its_own_model_knows() -> None:
    """An action that one of two models was trained on counts for that
    one alone, by its own number.
    """
    wide = bundle(config=dataclasses.replace(CONFIG, actions=("view", "buy", "click")))
    actions = np.array([key("buy"), key("click"), key("order_refunded")], dtype=np.uint64)
    batch = LOG.batch(0, 20)
    batch = replace(batch, actions=actions[np.arange(len(batch)) % 3])
    plain = store().fold(batch)
    rich = store(wide).fold(batch)
    assert (plain.events, plain.unknown_actions) == (len(batch) // 3, len(batch) - len(batch) // 3)
    assert rich.unknown_actions == len(batch) // 3
    assert wide.action_ids(actions).tolist() == [1, 2, UNKNOWN_ACTION]


def test_a_user_beyond_the_budget_is_refused() -> None:
    """The error names what a user needs and what is allowed."""
    needed = bundle().layout.row_bytes + BYTES_BESIDE_ROW_MAX
    PartitionStore(bundle(), users_initial=1, bytes_per_user_max=needed, clock=SystemClock())
    with pytest.raises(
        ConfigError, match=rf"needs {needed} bytes.*bytes_per_user_max = {needed - 1}"
    ):
        PartitionStore(
            bundle(), users_initial=1, bytes_per_user_max=needed - 1, clock=SystemClock()
        )


class TwoEnds(Bundle):
    """Writes the event's number to both ends of the row, with another thread's turn in between."""

    slices = 0
    between = threading.Event()

    def fold(self, rows, index, *_) -> None:  # type: ignore[no-untyped-def]
        self.slices += 1
        row = index[0]
        rows[row, :8] = self.slices % 256
        self.between.wait(0.001)  # let readers run here: nobody sets it
        rows[row, 8:] = self.slices % 256


def test_reads_are_never_torn_and_do_not_starve() -> None:
    """A row read while slices are folded is from one moment,
    and readers get in between slices of one batch.
    """
    model = bundle_of(TwoEnds)
    user = 1
    states = store(model)
    length = 256 * 60
    batch = ClickLog(length * 2).batch(0, length * 2)
    done = threading.Event()
    torn = []
    positions = set()

    def read() -> None:
        while not done.is_set():
            row, position = states.read(user)
            positions.add(position)
            if row is not None and len(np.unique(row)) != 1:
                torn.append(row)

    batch.users[:] = user
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    states.fold(batch)
    done.set()
    for reader in readers:
        reader.join(timeout=10)
    assert not torn
    assert len(positions) > model.slices // 2


def test_fair_lock_lets_the_waiting_thread_in_first() -> None:
    """A thread that takes the lock in a loop lets another in after one turn."""
    lock = FairLock()
    arrived = threading.Event()
    turns = []

    def wait_for_lock() -> None:
        arrived.set()
        with lock:
            turns.append("other")

    other = threading.Thread(target=wait_for_lock)
    with lock:
        other.start()
        arrived.wait(10)
        deadline = time.monotonic() + 10
        while not lock._turnstile.locked():  # until the other thread stands in the turnstile
            assert time.monotonic() < deadline
    with lock:
        turns.append("loop")
    other.join(timeout=10)
    assert turns == ["other", "loop"]


def test_row_memory_keeps_its_rows_when_it_grows() -> None:
    """Rows survive growing in place, and growing by copy while somebody holds a view."""
    memory = RowMemory(24, 2)
    memory.matrix[:] = 7
    memory.reserve(3)
    assert (memory.matrix[:2] == 7).all()
    assert not memory.matrix[2:].any()
    view = memory.matrix[:2]
    memory.reserve(100_000)
    assert len(memory.matrix) >= 100_000
    assert (memory.matrix[:2] == 7).all()
    assert not memory.matrix[2:].any()
    memory.matrix[0] = 9
    assert (view == 7).all()


def test_row_memory_given_back_is_zero_and_usable() -> None:
    """Released rows lose their bytes, those before them keep them,
    and all can be written to again.
    """
    memory = RowMemory(4096, 4096)
    memory.matrix[:] = 7
    memory.release(1000, 4096)
    assert (memory.matrix[:1000] == 7).all()
    assert not memory.matrix[1024:].any()  # the next huge page, and all that follow
    memory.matrix[4000] = 9
    assert (memory.matrix[4000] == 9).all()


def test_dropped_rows_are_zero_for_whoever_comes_next() -> None:
    """Rows keep their users and bytes when others are dropped, and a new user starts from zeros."""
    hot = HotRows(64, 1)
    rng = np.random.default_rng(2)
    hot.reserve(5000)
    rows = hot.add(np.arange(5000, dtype=np.uint64))  # replaces the matrix, so first
    hot.matrix[rows] = rng.integers(1, 255, (5000, 64), dtype=np.uint8)
    rows = rng.choice(5000, 4900, replace=False)
    gone = hot.keys[rows]
    expected = {
        int(user): hot.matrix[hot.rows_of(np.array([user]))[0]].copy() for user in range(5000)
    }
    for first in range(0, len(gone), 100):
        hot.drop(hot.rows_of(gone[first : first + 100]))
        hot.release()
    assert len(hot) == 100
    assert all(
        np.array_equal(row, expected[int(user)])
        for user, row in zip(hot.keys, hot.matrix, strict=False)
    )
    hot.reserve(5000)
    rows = hot.add(gone)
    assert not hot.matrix[rows].any()
