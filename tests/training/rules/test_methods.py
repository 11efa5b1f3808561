"""The simple methods on logs small enough to count by hand, and what is true of all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.measure.ranking import UNLISTED
from training.rules import ease, item_knn, methods, popular_recent, sequential_rules, session_knn
from training.rules.fresh import fresh, repeats
from training.rules.methods import ALL, EXPLAINED, METHODS, rankings
from training.rules.own import frequent, last
from training.rules.popular import popular
from training.rules.rule import History, Rule, rank_by
from training.rules.visits import EVENTS_MAX, visit_starts, visits_of
from training.rules.weights import Weights

DAY_MS = 86_400_000
ITEMS = 6


def histories_of(events: list[list[int]], times_ms: list[list[int]] | None = None) -> Histories:
    """One list of item rows a user; without times, user u's events come after those of u - 1."""
    starts = np.concatenate([[0], np.cumsum([len(each) for each in events])]).astype(np.int64)
    items = np.array([item for each in events for item in each], dtype=np.int64)
    times = (
        np.arange(len(items))
        if times_ms is None
        else np.array([time for each in times_ms for time in each])
    )
    return Histories(
        users=tuple(f"u{n}" for n in range(len(events))),
        items=items,
        actions=np.zeros(len(items), dtype=np.int64),
        times_ms=times.astype(np.int64),
        starts=starts,
    )


def asked(rule: Rule, *items: int) -> Doubles:
    """The scores after these items."""
    rows = np.array(items, dtype=np.int64)
    return rule(History(rows, np.arange(len(rows)), len(rows)))


def order(scores: Doubles) -> list[int]:
    """The items as they are listed."""
    return np.argsort(-scores, kind="stable").tolist()


def test_own_items_by_hand() -> None:
    """Own items count by how often and how lately;
    ties go to the more frequent item; what was had is a miss.
    """
    counts = np.array([5, 4, 3, 2])
    history = np.array([3, 2, 2, 3, 3, 1, 9])  # 9 is no catalogue item
    assert order(asked(frequent(counts), *history)) == [3, 1, 2, 0]
    assert order(asked(last(counts), *history)) == [1, 3, 2, 0]
    histories = histories_of([[*history, 1]])
    ranked = rank_by(frequent(counts), histories, np.array([7]))
    assert (ranked.plain.tolist(), ranked.excluded.tolist()) == ([2], [UNLISTED])
    equal = rank_by(popular(np.array([1, 1, 1, 1])), histories, np.array([3]))
    assert (equal.plain.tolist(), equal.excluded.tolist()) == ([4], [UNLISTED])


def test_seen_items_out_leaves_them_out_of_the_way_too() -> None:
    """An unseen target moves up by the seen items before it; a seen one is a miss."""
    histories = histories_of([[0, 1, 2, 0]])
    ranked = rank_by(popular(np.array([9, 8, 7])), histories, np.array([2, 3]))
    assert ranked.plain.tolist() == [3, 1]
    assert ranked.excluded.tolist() == [1, UNLISTED]


def test_sequential_rules_by_hand() -> None:
    """Pairs weigh 1 / distance, and an item asked by weighs 1 / age."""
    rule = sequential_rules.learn(histories_of([[0, 1, 2], [0, 2]]), ITEMS)
    assert asked(rule, 0).tolist() == [0, 1, 1 / 2 + 1, 0, 0, 0]
    assert asked(rule, 0, 1).tolist() == [0, 1 / 2, 1 + 1.5 / 2, 0, 0, 0]
    assert not asked(rule, 5, 9).any()  # no rule from 5, and 9 is no catalogue item


def test_pairs_of_different_users_and_of_hashed_items_are_no_rules() -> None:
    """Only within a user, only within the catalogue, at most ten events apart."""
    far = sequential_rules.learn(histories_of([[0, *[9] * 10, 1], [2, 3]]), ITEMS)
    assert not asked(far, 0).any()
    near = sequential_rules.learn(histories_of([[0, *[9] * 9, 1], [2, 3]]), ITEMS)
    assert asked(near, 0)[1] == pytest.approx(0.1)
    assert not asked(near, 1).any()


def test_item_knn_by_hand() -> None:
    """Damped cosines over visits; each item of the user's counts once, by its age."""
    rule = item_knn.learn(histories_of([[0, 1], [0, 1, 2], [0, 2]]), ITEMS)
    # item 0 is in 3 visits, 1 and 2 in 2 each; 0 with 1 in 2, 0 with 2 in 2, 1 with 2 in 1
    zero = 2 / (np.sqrt(3 * 2) + item_knn.DAMPED)
    one = 1 / (np.sqrt(2 * 2) + item_knn.DAMPED)
    assert asked(rule, 0)[:3] == pytest.approx([0, zero, zero])
    assert asked(rule, 0, 0, 1)[:3] == pytest.approx([zero, zero / 2, one + zero / 2])


def test_session_knn_by_hand() -> None:
    """Neighbours share items, the newest weighing most; long visits weigh less."""
    rule = session_knn.learn(histories_of([[0, 1], [0, 2, 3, 4], [5, 3]]), ITEMS)
    first = 1 / np.sqrt(2)
    second = 1 / np.sqrt(4)
    assert asked(rule, 0) == pytest.approx([first + second, first, *[second] * 3, 0])
    faded = 1 / np.sqrt(2)  # of the item before the newest
    both = (1 + faded) / 2  # the second visit has both
    third = 1 / np.sqrt(2)
    expected = [faded * first + both, faded * first, both, both + third, both, third]
    assert asked(rule, 0, 3) == pytest.approx(expected)


def test_session_knn_takes_the_newest_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more that share an item than are looked at, the old ones have no vote."""
    monkeypatch.setattr(session_knn, "NEWEST", 2)
    rule = session_knn.learn(histories_of([[0, 1], [0, 2], [0, 3]]), ITEMS)
    assert asked(rule, 0)[1] == 0
    monkeypatch.setattr(session_knn, "NEIGHBOURS", 1)
    assert order(asked(rule, 0))[:2] == [0, 3]


def test_ease_is_the_papers_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """B = I - P / diag(P) of the users' ones; items beyond the most frequent ones score nothing."""
    monkeypatch.setattr(ease, "PENALTY", 2.0)
    events = [[0, 1, 1], [0, 1, 2], [2, 3], [0, 3]]
    had = np.zeros((4, ITEMS))
    for user, items in enumerate(events):
        had[user, items] = 1
    inverse = np.linalg.inv(had.T @ had + 2.0 * np.eye(ITEMS))
    weights = np.eye(ITEMS) - inverse / np.diag(inverse)
    scores = asked(ease.learn(histories_of(events), ITEMS), 0, 0, 3)
    assert scores == pytest.approx(weights[0] + weights[3], abs=1e-6)
    monkeypatch.setattr(ease, "ITEMS_MAX", 3)
    fewer = asked(ease.learn(histories_of(events), ITEMS), 0, 3)
    assert fewer[1] > 0
    assert not fewer[3:].any()


def test_the_window_that_tells_the_newest_clicks_best_is_taken() -> None:
    """A fashion of the last week beats the most frequent item of all time; a steady log keeps it
    all.
    """
    old = [(0, day) for day in range(60) for _ in range(3)]
    new = [(1, day) for day in range(80, 90) for _ in range(5)]
    events = [*old, *new]
    fashion = histories_of([[item] for item, _ in events], [[day * DAY_MS] for _, day in events])
    assert order(popular(fashion.counts(2))(History(*[np.zeros(0, np.int64)] * 2, 0))) == [0, 1]
    assert order(asked(popular_recent.learn(fashion, 2))) == [1, 0]
    steady = histories_of([[0, 0, 1] * 20], [[day * DAY_MS for day in range(60)]])
    assert order(asked(popular_recent.learn(steady, 2))) == [0, 1]


def test_users_with_clocks_of_their_own_have_windows_of_their_own() -> None:
    """Everybody begins at 0 and ends with item 1."""
    events = [[0] * 8 + [1] * 4 for _ in range(5)]
    own = histories_of(events, [list(range(12)) for _ in events])
    assert order(asked(popular_recent.learn(own, 2))) == [1, 0]


def test_long_histories_are_cut_into_visits() -> None:
    """Up to 50 events are one visit; longer ones end at a pause of a day or after 50 events."""
    assert visit_starts(np.arange(EVENTS_MAX) * 2 * DAY_MS).tolist() == [0]
    days = np.repeat([0, 2, 4], [20, 3, 40]) * DAY_MS
    assert visit_starts(days).tolist() == [0, 20]  # three events are too few for a visit
    assert visit_starts(np.zeros(120, dtype=np.int64)).tolist() == [0, 50, 100]
    assert visit_starts(np.zeros(0, dtype=np.int64)).tolist() == []


def test_visits_stand_in_the_order_of_their_ends() -> None:
    """Each item once a visit; the visits of an item from the oldest on."""
    sets = visits_of(histories_of([[0, 2, 2], [1, 2], [9]], [[5, 6, 9], [1, 2], [3]]), 3)
    assert sets.items.tolist() == [1, 2, 0, 2]
    assert sets.starts.tolist() == [0, 2, 2, 4]
    assert sets.visits[sets.item_starts[2] :].tolist() == [0, 2]
    assert sets.counts().tolist() == [1, 1, 2]


def test_own_items_come_last_where_nobody_takes_one_twice() -> None:
    """And keep their place where people do."""
    once = histories_of([[0, 1], [1, 2], [2, 0]])
    assert repeats(once) == 0
    assert order(asked(fresh(sequential_rules.learn)(once, 3), 0, 1)) == [2, 0, 1]
    again = histories_of([[0, 0], [1, 1], [0, 0]])
    assert repeats(again) == 1
    assert order(asked(fresh(sequential_rules.learn)(again, 3), 0))[0] == 0


@pytest.mark.parametrize("name", ALL)
def test_nothing_to_learn_from_is_no_error(name: str) -> None:
    """Every method answers, also for a user without events."""
    rule = ALL[name](histories_of([]), ITEMS)
    assert asked(rule).shape == asked(rule, 1, 9).shape == (ITEMS,)
    assert name in EXPLAINED


LEARNED = histories_of([[0, 1, 2, 3], [1, 2, 3], [4, 0, 1], [5, 4], [2, 2, 0]])
RULES = {name: learn(LEARNED, ITEMS) for name, learn in ALL.items()}
CLICKS = st.lists(st.integers(0, ITEMS + 1), max_size=8)


@given(before=CLICKS, after=CLICKS, other=CLICKS, target=st.integers(0, ITEMS - 1))
def test_no_list_depends_on_later_events(
    before: list[int], after: list[int], other: list[int], target: int
) -> None:
    """Neither on the user's own nor on another user's, nor on the order of questions."""
    at = np.array([len(before)])
    short = histories_of([[*before, target]])
    long = histories_of([[*before, target, *after], other])
    for rule in RULES.values():
        first = rank_by(rule, short, at)
        later = rank_by(rule, long, at)
        assert first.plain.tolist() == later.plain.tolist()
        assert first.excluded.tolist() == later.excluded.tolist()
        if target in before:
            assert later.excluded.tolist() == [UNLISTED]


def test_every_method_ranks_the_same_clicks() -> None:
    """By name, in their order; who is asked and each answer are heard of."""
    heard: list[str] = []
    steps: list[int] = []
    found = dict(
        rankings(
            METHODS,
            LEARNED,
            LEARNED,
            np.array([1, 2, 5]),
            ITEMS,
            begin=heard.append,
            step=lambda: steps.append(1),
        )
    )
    assert heard == list(found) == list(METHODS)
    assert len(steps) == 3 * len(METHODS)
    assert {len(ranked.plain) for ranked in found.values()} == {3}


def test_the_newest_events_of_a_long_log_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of all events of years would not fit into memory."""
    monkeypatch.setattr(methods, "EVENTS_MAX", 4)
    seen: list[Histories] = []

    def learn(training: Histories, items: int) -> Rule:
        seen.append(training)
        return popular(training.counts(items))

    monkeypatch.setattr(methods, "ALL", {"popularity": learn})
    list(rankings(["popularity"], LEARNED, LEARNED, np.array([1]), ITEMS))
    assert seen[0].items.tolist() == LEARNED.items[-4:].tolist()
    assert seen[0].lengths().tolist() == [0, 0, 0, 1, 3]


def test_weights_hold_as_many_items_as_a_large_catalogue() -> None:
    """Rows that share a pair are summed, the others stand alone."""
    rows: Longs = np.array([99_999, 5, 99_999])
    found = Weights.summed(rows, np.array([1, 5, 1]), np.array([1.0, 2.0, 3.0]), 100_000)
    scores = np.zeros(100_000)
    found.add_row(scores, 99_999, 0.5)
    assert (scores[1], scores.sum()) == (2.0, 2.0)
