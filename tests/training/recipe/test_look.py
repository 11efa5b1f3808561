"""How a log looks, by hand: each figure from a few events."""

from __future__ import annotations

import numpy as np

from tests.training.logs import cyclic_log, make_log
from training.recipe.look import DAY_MS, look


def test_each_figure_by_hand() -> None:
    """Two users and a newcomer, ten clicks: lengths, repeats, gaps, and the newest tenth."""
    days = [0, 1, 2, 3, 4, 5, 6, 7, 8]
    events = [("a", "xyxzy"[n % 5], day * DAY_MS) for n, day in enumerate(days)]
    found = look(make_log([*events, ("b", "new", 20 * DAY_MS)]))
    assert (found.events, found.users, found.items) == (10, 2, 4)
    assert (found.events_median, found.events_mean, found.events_max) == (5.0, 5.0, 9)
    assert found.repeats == 0.6  # of nine clicks on x, y and z, three are first ones
    assert found.span_days == 20
    assert found.gap_median_s == DAY_MS / 1000
    assert found.one_visit == 0.5
    assert (found.cold_items, found.new_users) == (1.0, 1.0)
    assert not found.own_clocks
    assert not found.users_are_sessions


def test_ids_that_nobody_comes_back_with_are_sessions() -> None:
    """Visits of minutes, one after the other, over weeks; the sentences say it."""
    events = [
        (f"s{visit}", f"i{(visit + step) % 7}", visit * DAY_MS + step * 30_000)
        for visit in range(30)
        for step in range(3)
    ]
    found = look(make_log(events))
    assert found.users_are_sessions
    assert found.new_users == 1.0
    assert "look like sessions: 100 %" in found.describe()[0]
    assert not look(cyclic_log()).users_are_sessions
    some = look(make_log([(f"u{n % 9}", f"i{n}", n * DAY_MS // 40) for n in range(900)]))
    assert "Histories are long: 100 clicks" in some.describe()[0]


def test_clocks_of_their_own_are_noticed() -> None:
    """Every user begins at 0: the newest tenth is each user's last click, and nobody is new."""
    events = [(f"u{user}", f"i{step}", step * 1000) for user in range(9) for step in range(4)]
    found = look(make_log(events))
    assert found.own_clocks
    assert not found.users_are_sessions
    assert (found.cold_items, found.new_users) == (1.0, 0.0)
    assert "clocks of their own" in found.describe()[3]


def test_the_order_of_the_events_does_not_matter() -> None:
    """The same from a shuffled log; an empty one has figures, too."""
    log = cyclic_log()
    assert look(log.take(np.random.default_rng(0).permutation(len(log)))) == look(log)
    assert look(log.take(np.arange(0))).events == 0
