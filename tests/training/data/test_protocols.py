"""Protocols: who learns from what, and which events are asked about."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.logs import make_log
from training.data import datasets
from training.data.clicklog import ClickLog
from training.data.protocols import by_sessions, by_time, leave_one_out, parted
from training.data.sequences import Held
from training.errors import DatasetError


def sessions_log(count: int) -> ClickLog:
    """Sessions of three clicks, one after the other: items n, n + 1 and n + 2 modulo five."""
    return make_log(
        [
            (f"s{n}", f"i{(n + step) % 5}", 60_000 * n + 1_000 * step)
            for n in range(count)
            for step in range(3)
        ]
    )


def asked(held: Held) -> list[str]:
    """The users with questions, each as often as it has one."""
    return list(np.repeat(np.array(held.histories.users, dtype=object), held.tails))


def test_newest_sessions_are_the_test_and_all_their_later_clicks_are_asked() -> None:
    """The test are the newest, the validation the newest twentieth before them, each click after a
    session's first is a question, and nobody is in two parts.
    """
    divided = by_sessions(sessions_log(44), hashed=4, tested=4)
    assert asked(divided.test) == [f"s{n}" for n in range(40, 44) for _ in range(2)]
    assert asked(divided.held) == ["s38", "s38", "s39", "s39"]
    assert divided.training.users == tuple(f"s{n}" for n in range(38))
    assert divided.until_ms == 39 * 60_000 + 2_000
    assert divided.test.histories.times_ms.min() > divided.until_ms


def test_an_item_that_only_the_test_has_is_no_question() -> None:
    """It has no row in the catalogue, so no list could hold it."""
    log = sessions_log(24)
    log.items[-1] = "new"
    divided = by_sessions(log, hashed=4, tested=4)
    items = len(divided.vocabulary.items)
    assert items == 5
    assert len(divided.test.targets(items)) == divided.test.tails.sum() - 1


def test_too_few_sessions_are_refused() -> None:
    """A log without sessions to learn from says how many it has."""
    with pytest.raises(DatasetError, match="4 sessions are too few to test on the newest 3"):
        by_sessions(sessions_log(4), hashed=4, tested=3)


def test_leave_one_out_holds_the_last_two_events_of_everybody() -> None:
    """The last is the test and the one before it the validation; rare items are gone before."""
    log = make_log([(f"u{n}", item, step) for n in range(5) for step, item in enumerate("abc")])
    divided = leave_one_out(log, hashed=4)
    assert divided.training.lengths().tolist() == [1] * 5
    assert divided.held.histories.lengths().tolist() == [2] * 5
    assert (divided.held.tails.tolist(), divided.test.tails.tolist()) == ([1] * 5, [1] * 5)
    assert divided.until_ms is None


def test_a_time_split_asks_what_is_later_than_all_that_was_learned() -> None:
    """The newest tenth is the test and the tenth before it the validation; histories go on, and
    users who came after the cut are told apart.
    """
    old = [(f"u{n % 4}", "ab"[n % 2], n) for n in range(36)]
    divided = by_time(
        make_log([*old, ("u0", "a", 36), *(("v", "b", n) for n in (37, 38, 39))]), hashed=4
    )
    assert divided.training.times_ms.max() == 31
    assert divided.held.tails.tolist() == [1, 1, 1, 1]
    assert divided.until_ms == 35
    known, cold = parted(divided.test, 35)
    assert asked(known) == ["u0"]
    assert asked(cold) == ["v", "v"]
    assert divided.test.histories.lengths().tolist() == [10, 9, 9, 9, 3]


@pytest.mark.parametrize(
    ("events", "message"), [(1, "1 events is too short"), (9, "one and the same time")]
)
def test_a_time_line_that_cannot_be_cut_is_refused(events: int, message: str) -> None:
    """Too few events, or too many of one moment."""
    log = make_log([("u", "a", 5)] * events)
    with pytest.raises(DatasetError, match=message):
        by_time(log, hashed=4)


def test_only_sets_of_sessions_have_tested_ones() -> None:
    """The published split belongs to its data set; a log of the user's own has none."""
    assert datasets.tested_sessions("tmall") == 1_027
    assert datasets.tested_sessions("diginetica") == 15_963
    assert datasets.tested_sessions("beauty") is None
    assert datasets.tested_sessions("file") is None
