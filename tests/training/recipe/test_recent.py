"""Which window of a log says best what new users will click."""

from __future__ import annotations

import numpy as np

from model.popularity import DAY_MS, RECORD
from training.data.sequences import Histories
from training.recipe.recent import recent, said

ITEMS = 50


def histories_of(items: np.ndarray, times_ms: np.ndarray) -> Histories:
    """Users with two clicks each, in the order of time."""
    return Histories(
        users=tuple(map(str, range(len(items) // 2))),
        items=items,
        actions=np.zeros(len(items), dtype=np.int64),
        times_ms=times_ms,
        starts=np.arange(0, len(items) + 1, 2),
    )


def drifting(period_days: int, *, days: int = 100, each_day: int = 100, seed: int = 0) -> Histories:
    """A log in which ten items are in fashion, others after each period."""
    random = np.random.default_rng(seed)
    day = np.arange(days * each_day) // each_day
    fashion = (day // period_days) * 10 % ITEMS
    items = (fashion + random.integers(0, 10, len(day))) % ITEMS
    return histories_of(items, np.arange(len(day)) * (DAY_MS // each_day))


def test_fashions_choose_a_window_as_short_as_they_are() -> None:
    """Where other items are popular every few days, a short window; where nothing ever changes,
    the whole log.
    """
    assert recent(drifting(3), ITEMS).record["window"] == "the newest day"
    assert recent(drifting(30), ITEMS).record["days"] in {1, 7}
    steady = recent(drifting(1000), ITEMS)
    assert steady.record["window"] == "the whole log"
    assert steady.counts.tolist() == drifting(1000).counts(ITEMS).tolist()


def test_counts_are_of_the_window_and_no_item_has_none() -> None:
    """As many clicks as in the whole log; what is in fashion first, the rest by all time."""
    log = drifting(20)
    found = recent(log, ITEMS)
    assert found.counts.sum() == 10_000
    assert found.counts.min() > 0
    newest = log.items[-1] // 10 * 10
    assert set(np.argsort(-found.counts)[:10]) == set(range(newest, newest + 10))
    assert found.record["until_ms"] == log.times_ms.max()


def test_the_choice_is_a_function_of_the_log() -> None:
    """Equal logs give equal counts and records, whatever order their users stand in."""
    log = drifting(7)
    turned = histories_of(
        log.items.reshape(-1, 2)[::-1].ravel(), log.times_ms.reshape(-1, 2)[::-1].ravel()
    )
    first = recent(log, ITEMS)
    second = recent(turned, ITEMS)
    assert first.record == second.record
    assert first.counts.tolist() == second.counts.tolist()


def test_a_log_of_a_few_hours_goes_by_shares() -> None:
    """Days would hold all of it or nothing."""
    log = drifting(10)
    hasty = histories_of(log.items, log.times_ms // 1000)
    found = recent(hasty, ITEMS)
    assert found.record["window"] == "the newest 3% of the clicks"
    assert found.record["days"] is None


def test_clocks_of_their_own_give_no_date() -> None:
    """Users that all begin at one moment have no common time: the order of the source counts."""
    log = drifting(10)
    own = histories_of(log.items, np.tile([0, 1000], len(log.items) // 2))
    found = recent(own, ITEMS)
    assert found.record["until_ms"] is None
    assert found.record["window"] == "the newest 3% of the clicks"


def test_a_log_too_short_to_choose_by_is_taken_whole() -> None:
    """So are none at all, and one whose items are all unknown."""
    for log in (
        drifting(1, days=2, each_day=10),
        histories_of(np.zeros(0, np.int64), np.zeros(0, np.int64)),
    ):
        found = recent(log, ITEMS)
        assert found.record["window"] == "the whole log"
        assert found.counts.tolist() == log.counts(ITEMS).tolist()
    unknown = recent(histories_of(np.full(400, 90), np.arange(400) * DAY_MS), ITEMS)
    assert unknown.counts.tolist() == [0.0] * ITEMS


def test_the_choice_is_said_in_a_sentence() -> None:
    """Window, date and reason; of older models, what they do."""
    told = said({RECORD: recent(drifting(3), ITEMS).record})
    assert told.startswith(
        "users without clicks get what was popular in the newest day, until 1970"
    )
    assert told.endswith("the best of 4 windows for the first clicks of new users")
    assert said({}) == "users without clicks get what was popular in the whole log"
