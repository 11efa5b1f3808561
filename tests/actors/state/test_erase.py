"""Erased users: gone from every tier, and not brought back by the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import SystemClock
from actors.errors import ColdTierError
from actors.state.image import Piece
from actors.state.store import PartitionStore
from tests.actors.click_log import ClickLog, bundle, deliveries
from tests.actors.state.limited_store import limited
from tests.actors.state.state_copier import Copier, rows_by_user, states_of

LOG = ClickLog()
USERS = [int(user) for user in np.unique(LOG.users)]
EVENTS = st.integers(0, len(LOG.offsets) - 1)
# About one of the user's own events, so that the event at the very offset is tried as often as the
# one below.
TOMBSTONES = st.lists(st.tuples(EVENTS, st.booleans()), max_size=5).map(
    lambda drawn: {int(LOG.users[event]): int(LOG.offsets[event]) + below for event, below in drawn}
)


def store() -> PartitionStore:
    """An empty store without a cold tier."""
    return PartitionStore(bundle(), users_initial=1, bytes_per_user_max=4096, clock=SystemClock())


def small(root: Path, hot_users: int) -> PartitionStore:
    """A store at offset 300 that keeps few users in memory."""
    states = limited(root, hot_users)
    for start in range(0, 300, 10):
        states.fold(LOG.batch(start, start + 10))
    assert (states.users_cold > 10) == (hot_users < 25)
    return states


@settings(max_examples=30, deadline=None)
@given(until=TOMBSTONES, ranges=deliveries(LOG.length))
def test_tombstones_leave_the_states_of_a_log_without_those_events(
    until: dict[int, int], ranges: list[tuple[int, int]]
) -> None:
    """However the log is cut, events below a tombstone are not folded,
    all others are, and the position moves on.
    """
    clean = store()
    erasing = store()
    everything = LOG.all()
    stay = np.array(
        [
            offset >= until.get(int(user), 0)
            for user, offset in zip(LOG.users, LOG.offsets, strict=True)
        ]
    )
    columns = {
        name: getattr(everything, name)[stay]
        for name in ("offsets", "users", "items", "actions", "times_ms", "record_ms")
    }
    clean.fold(replace(everything, **columns))
    for user, offset in until.items():
        erasing.set_tombstone(user, offset)
    for start, stop in ranges:
        erasing.fold(LOG.batch(start, stop))
    assert erasing.position == LOG.length
    assert erasing.digest() == clean.digest()
    assert dict(erasing.tombstones) == until


def test_a_tombstone_below_the_position_is_refused() -> None:
    """Events that may be folded already cannot be forbidden;
    what was set before can be set again at any time.
    """
    states = store()
    states.set_tombstone(USERS[0], 100)
    states.fold(LOG.batch(0, 200))
    with pytest.raises(
        ValueError, match="until offset 199 comes too late for a state that is at 200"
    ):
        states.set_tombstone(USERS[1], 199)
    states.set_tombstone(USERS[0], 100)
    states.set_tombstone(USERS[0], 50)
    states.set_tombstone(USERS[1], 200)
    assert dict(states.tombstones) == {USERS[0]: 100, USERS[1]: 200}


def test_applied_events_leave_out_the_erased_ones() -> None:
    """A batch counts what it folded."""
    states = store()
    states.set_tombstone(USERS[0], LOG.length)
    applied = states.fold(LOG.all())
    assert applied.events == np.count_nonzero(USERS[0] != LOG.users)


def test_an_erased_user_is_gone_from_either_tier(tmp_path: Path) -> None:
    """The last state is handed back once, wherever it was; everybody else stays as before."""
    states = small(tmp_path, 5)
    before = states_of(states)
    cold = next(user for user in before if user not in states._tiers.hot.keys)
    hot = int(states._tiers.hot.keys[0])
    for user in (cold, hot):
        assert states.erase(user) == before.pop(user)
        assert states.row(user) is None
        assert states.erase(user) is None
        assert states_of(states) == before
    assert states.users == len(before)


@settings(max_examples=40, deadline=None)
@given(
    taken=st.integers(0, 3),
    full=st.booleans(),
    touched=st.booleans(),
    number=st.integers(0, len(USERS) - 1),
)
def test_an_open_image_leaves_out_whoever_is_erased(
    tmp_path_factory: pytest.TempPathFactory, taken: int, full: bool, touched: bool, number: int
) -> None:
    """Only pieces that were taken before may hold the user,
    wherever the row waited; all others come through.
    """
    states = small(tmp_path_factory.mktemp("cold"), 20)
    before = states_of(states)
    user = USERS[number]
    image = states.image("main", full)
    pieces = image.pieces()
    found = list[Piece]()
    for _ in range(taken):
        found += [piece] if (piece := next(pieces, None)) else []
    early = rows_by_user(found)
    if touched:
        states.fold(LOG.batch(300, 500))
    states.erase(user)
    late = rows_by_user(list(pieces))
    assert user not in late
    assert early | late == {key: row for key, row in before.items() if key != user or key in early}
    image.close(True)
    assert user not in states_of(states)


@pytest.mark.parametrize("hot_users", [5, 10_000])
def test_nobody_is_forgotten_by_a_failed_image_when_one_is_erased(
    tmp_path: Path, hot_users: int
) -> None:
    """After an image failed around an erasure,
    the next delta holds all other changes, and not the erased user.
    """
    states = small(tmp_path, hot_users)
    image = states.image("main", full=False)
    for user in USERS[::5]:
        states.erase(user)
    image.close(False)
    copier = Copier(states)
    copier.start(full=False)
    copier.close(completed=True)


def test_a_user_comes_back_with_events_after_the_tombstone() -> None:
    """Later events start a new state, as if there had been none before."""
    states = store()
    clean = store()
    user = USERS[3]
    states.fold(LOG.batch(0, 500))
    states.set_tombstone(user, 600)
    states.erase(user)
    states.fold(LOG.batch(500, LOG.length))
    later = LOG.batch(600, LOG.length)
    mine = later.users == user
    columns = {
        n: getattr(later, n)[mine]
        for n in ("offsets", "users", "items", "actions", "times_ms", "record_ms")
    }
    clean.skip_to(600)
    clean.fold(replace(later, **columns))
    assert np.array_equal(states.row(user), clean.row(user))


def test_a_full_disk_keeps_the_user_whole(tmp_path: Path) -> None:
    """A cold user who cannot be deleted is still there, in the states and in the next delta."""
    states = small(tmp_path, 5)
    before = states_of(states)
    user = next(user for user in before if user not in states._tiers.hot.keys)

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(tier, name)

        def __len__(self) -> int:
            return len(tier)

        def exchange(self, *columns: object) -> None:
            raise ColdTierError("planted")

    room = states._tiers.cold
    assert room is not None
    tier = room._cold
    room._cold = Full()
    with pytest.raises(ColdTierError):
        states.erase(user)
    room._cold = tier
    assert states_of(states) == before
    copier = Copier(states)
    copier.start(full=False)
    copier.close(completed=True)
