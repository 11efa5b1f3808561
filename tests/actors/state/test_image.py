"""Images of a store: one moment each, whatever is folded while they are copied."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import SystemClock
from actors.state.image import PIECE_ROWS, StateImage
from actors.state.store import PartitionStore
from tests.actors.click_log import ClickLog, bundle
from tests.actors.state.state_copier import Copier, rows_by_user, states_of

LOG = ClickLog()


def store() -> PartitionStore:
    """An empty store that has to grow from the first user on."""
    return PartitionStore(bundle(), users_initial=1, bytes_per_user_max=4096, clock=SystemClock())


STEPS = st.one_of(
    st.tuples(st.just("fold"), st.integers(1, 150)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("pieces"), st.integers(1, 3)),
    st.tuples(st.just("close"), st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_chains_of_images_hold_the_states_of_their_starts(steps: list[tuple[str, int]]) -> None:
    """Base and deltas give the states as of the last start, whatever was folded,
    failed or left over meanwhile.
    """
    states = store()
    copier = Copier(states)
    for what, number in [*steps, ("close", True), ("start", False), ("close", True)]:
        if what == "fold":
            states.fold(LOG.batch(states.position, min(LOG.length, states.position + number)))
        elif what == "start":
            copier.start(bool(number))
        elif what == "pieces":
            copier.take(number)
        else:
            copier.close(bool(number))


def clicks_of(users: int) -> PartitionStore:
    """A store of so many users with loaded states."""
    states = store()
    rows = np.random.default_rng(1).integers(
        0, 255, (users, states.bundle.layout.row_bytes), dtype=np.uint8
    )
    states.load(np.arange(users, dtype=np.uint64), rows)
    return states


def count(image: StateImage) -> list[int]:
    """The sizes of all pieces; completes the image."""
    sizes = [len(users) for users, _ in image.pieces()]
    image.close(True)
    return sizes


def test_loaded_rows_are_not_changed_and_come_in_full_pieces() -> None:
    """A delta after a restore is empty, a full image has everything,
    in pieces that are full but for the last.
    """
    states = clicks_of(2 * PIECE_ROWS + 10)
    assert count(states.image("main", full=False)) == []
    assert count(states.image("main", full=True)) == [PIECE_ROWS, PIECE_ROWS, 10]


def test_loading_again_replaces_the_rows() -> None:
    """A later state of a user takes the place of the earlier one,
    also of a user whose row is waiting in an image.
    """
    states = clicks_of(300)
    first = states.row(7)
    image = states.image("main", full=True)
    rows = np.zeros((2, states.bundle.layout.row_bytes), dtype=np.uint8)
    states.load(np.array([7, 1000], dtype=np.uint64), rows)
    assert states.users == 301
    assert not states.row(7).any()
    assert first is not None
    assert rows_by_user(list(image.pieces()))[7] == first.tobytes()


def test_rows_saved_slice_by_slice_are_put_together() -> None:
    """An image whose every row changes before its turn still comes in few pieces."""
    states = store()
    states.fold(LOG.all())
    users = states.users
    image = states.image("main", full=True)
    for _ in range(20):  # one click at a time, so that each row is saved alone
        length = states.position
        states.fold(ClickLog(length + 20).batch(length, length + 20))
    assert states.users == users
    assert len(count(image)) == 1


def test_one_image_at_a_time() -> None:
    """A second one is refused until the first is closed;
    closing again does nothing to a later one.
    """
    states = clicks_of(3)
    first = states.image("main", full=True)
    with pytest.raises(RuntimeError, match="open already"):
        states.image("main", full=True)
    first.close(False)
    second = states.image("main", full=True)
    first.close(True)
    assert count(second) == [3]


def test_a_closed_image_gives_nothing_more() -> None:
    """Who takes pieces of an image that somebody closed hears of it,
    rather than writing half a file.
    """
    image = clicks_of(3).image("main", full=True)
    pieces = image.pieces()
    image.close(False)
    with pytest.raises(RuntimeError, match="closed"):
        next(pieces)


def test_an_image_taken_beside_a_writer_is_of_one_moment() -> None:
    """Pieces copied by another thread while slices are folded and the store
    grows equal a store that stopped there.
    """
    log = ClickLog(30_000)
    log.users[:] = np.random.default_rng(3).integers(0, 3000, len(log.users))
    states = store()
    clean = store()
    states.fold(log.batch(0, 10_000))
    writer = threading.Thread(target=states.fold, args=(log.batch(10_000, log.length),))
    writer.start()
    image = states.image("main", full=True)
    found = rows_by_user(list(image.pieces()))
    image.close(True)
    writer.join(timeout=30)
    clean.fold(log.batch(0, image.position))
    assert len(found) == clean.users == image.users
    assert found == states_of(clean)


def test_marks_that_vanish_while_they_are_looked_for_do_no_harm() -> None:
    """A scan for the rows that are left finds rows only, whatever is saved beside it."""
    users = 60_000
    done = threading.Event()
    image = clicks_of(users)._tiers.open(True)

    def save() -> None:
        random = np.random.default_rng(2)
        while not done.is_set():
            image._pending[random.integers(0, users, 250)] = False  # what saving does
            image._pending[random.integers(0, users, 250)] = True  # so that there is no end of it

    saving = threading.Thread(target=save)
    saving.start()
    try:
        for _ in range(1000):
            found = np.concatenate(list(image._scan()))
            assert 0 <= found.min() <= found.max() < users
    finally:
        done.set()
        saving.join()
