"""Histories, vocabulary, windows and batches."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from model.config import ModelConfig
from model.network.export import random_bundle
from tests.training.logs import cyclic_log, make_log
from training.data.sequences import (
    Held,
    Histories,
    Vocabulary,
    Windows,
    groups,
    pad,
    training_windows,
)
from training.errors import DatasetError


def histories_of_lengths(*lengths: int) -> Histories:
    """Histories whose items count up from 0 through all users."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    events = np.arange(starts[-1], dtype=np.int64)
    return Histories(
        users=tuple(str(user) for user in range(len(lengths))),
        items=events,
        actions=events * 0,
        times_ms=events,
        starts=starts,
    )


def test_vocabulary_numbers_items_as_a_bundle_does() -> None:
    """Catalogue rows and hashed rows agree with `Bundle.item_rows`,
    for frequent, rare and unknown items.
    """
    log = make_log([("u", item, 0) for item in "aabbbcd"])
    vocabulary = Vocabulary.of(log, hashed=8, events_min=2)
    assert vocabulary.items == ("b", "a")
    names = np.array(["a", "b", "c", "d", "never seen"], dtype=object)
    bundle = random_bundle(ModelConfig(hashed_items=8), vocabulary.items)
    keys = np.array([xxhash.xxh64_intdigest(name.encode()) for name in names], dtype=np.uint64)
    assert vocabulary.item_rows(names).tolist() == bundle.item_rows(keys).tolist()
    assert len(Vocabulary.of(cyclic_log(), hashed=8).items) == 12


def test_a_catalogue_without_items_is_refused() -> None:
    """Asking for more events than any item has says so."""
    with pytest.raises(DatasetError, match="no item of the log has 3 events"):
        Vocabulary.of(make_log([("u", "a", 0)]), hashed=8, events_min=3)


def test_histories_sort_by_time_and_keep_ties() -> None:
    """Each user's events stand in time order; equal times keep the log's order."""
    log = make_log([("u", "b", 5), ("v", "c", 1), ("u", "a", 5), ("u", "c", 2)])
    vocabulary = Vocabulary.of(log, hashed=8)
    histories = Histories.of(log, vocabulary)
    names = [vocabulary.items[row] for row in histories.items]
    assert (histories.users, names, histories.starts.tolist()) == (
        ("u", "v"),
        ["c", "b", "a", "c"],
        [0, 3, 4],
    )


def test_without_last_drops_from_each_user() -> None:
    """Leave-one-out cuts the last events and empties short users."""
    cut = histories_of_lengths(3, 1, 4).without_last(2)
    assert (cut.items.tolist(), cut.starts.tolist()) == ([0, 4, 5], [0, 1, 1, 3])


def test_held_out_tails() -> None:
    """The last event of users with two; or all from a time on, but never a user's first."""
    histories = histories_of_lengths(3, 1, 4)
    assert Held.last(histories).tails.tolist() == [1, 0, 1]
    assert Held.since(histories, 2).tails.tolist() == [1, 0, 3]


def test_each_event_but_the_first_is_a_target_once() -> None:
    """Whatever the random boundaries, the windows' targets cover every user exactly."""
    histories = histories_of_lengths(1, 2, 7, 30, 11)
    random = np.random.default_rng(0)
    for _ in range(20):
        windows = training_windows(histories, 10, random)
        assert (windows.ends - windows.begins).min() >= 2
        assert (windows.ends - windows.begins).max() <= 11
        targets = [np.arange(begin + 1, end) for begin, end in zip(*windows, strict=True)]
        firsts = set(histories.starts[:-1].tolist())
        assert sorted(np.concatenate(targets).tolist()) == [e for e in range(51) if e not in firsts]


def test_boundaries_change_from_epoch_to_epoch() -> None:
    """Long histories are cut elsewhere each time, short ones never."""
    histories = histories_of_lengths(100)
    random = np.random.default_rng(0)
    cuts = {tuple(training_windows(histories, 10, random).begins.tolist()) for _ in range(10)}
    assert len(cuts) > 3


def test_groups_hold_every_window_once_within_the_token_limit() -> None:
    """No window is lost, and padding included a group stays below its
    limit unless it is one window.
    """
    histories = histories_of_lengths(*range(2, 40))
    windows = training_windows(histories, 50, np.random.default_rng(0))
    parts = groups(windows, 64, np.random.default_rng(1))
    assert sorted(np.concatenate([part.begins for part in parts]).tolist()) == sorted(
        windows.begins.tolist()
    )
    for part in parts:
        assert len(part.begins) == 1 or len(part.begins) * (part.ends - part.begins).max() <= 64


def test_padding_repeats_the_last_event_behind_a_mask() -> None:
    """Rows of different length share a rectangle;
    the mask tells real events; times do not decrease.
    """
    histories = histories_of_lengths(3, 2)
    batch = pad(histories, training_windows(histories, 10, np.random.default_rng(0)))
    assert batch.events.items.tolist() == [[0, 1, 2], [3, 4, 4]]
    assert batch.events.mask.tolist() == [[True, True, True], [True, True, False]]


def test_a_window_knows_what_came_before_it() -> None:
    """How many events of its user, and how long ago the last of them; before a first one, none."""
    histories = histories_of_lengths(3, 6)
    windows = Windows(np.array([0, 2, 3, 5, 7]), np.array([3, 3, 6, 8, 9]))
    before = pad(histories, windows).events.before
    assert before is not None
    assert before.tolist() == [[0, 0], [2, 1], [0, 0], [2, 1], [4, 1]]


def test_a_log_without_pairs_cannot_be_learned_from() -> None:
    """Users with one event each leave nothing to predict."""
    with pytest.raises(DatasetError, match="no user has two events"):
        training_windows(histories_of_lengths(1, 1), 10, np.random.default_rng(0))
