"""How a log is divided into what is learned from, what chooses the epoch, and what is the test.

Each protocol is a function from a log to a `Division`. A question is an event that has an earlier
event of its user, and its history is all of these: events of the validation and earlier questions
among them, as a system that reads a stream would know them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.clicklog import ClickLog, factorize
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import DatasetError

ITEM_EVENTS_MIN = 5  # RecBole's filter, for leave-one-out
SESSIONS_HELD = 0.05  # the newest of the sessions to learn from, as the validation
NEWEST = 0.1  # of the events of a time line, as the test; as many before them, as the validation


class Division(NamedTuple):
    """A divided log. An event whose item is not in the catalogue is no question."""

    vocabulary: Vocabulary
    training: Histories
    held: Held  # chooses the epoch
    test: Held  # judges the result
    # the newest event that is known before the test, where all of the test is later
    until_ms: int | None = None


def leave_one_out(log: ClickLog, *, hashed: int, tested: int = 1) -> Division:
    """RecBole's: items with at least five events; each user's last event is the test (or the last
    `tested`), the one before it the validation.
    """
    log = log.with_frequent_items(ITEM_EVENTS_MIN)
    vocabulary = Vocabulary.of(log, hashed=hashed)
    everything = Histories.of(log, vocabulary)
    return Division(
        vocabulary=vocabulary,
        training=everything.without_last(tested + 1),
        held=Held.last(everything.without_last(tested)),
        test=Held.newest(everything, tested),
    )


def by_sessions(log: ClickLog, *, hashed: int, tested: int) -> Division:
    """SR-GNN's: the `tested` newest users are the test, each event of theirs after the first a
    question; the newest twentieth of the other users is the validation, asked the same way.

    The catalogue is the items of all users but the test's; the test of the published files knows no
    others.

    Raises:
        DatasetError: there are too few users.
    """
    log = log.by_time()
    codes, names = factorize(log.users)  # in the order of their first events
    known = len(names) - tested
    learned = int(known * (1 - SESSIONS_HELD))
    if not 0 < learned < known:
        raise DatasetError(
            f"{len(names):,} sessions are too few to test on the newest {tested:,}; bring a longer "
            "log"
        )
    vocabulary = Vocabulary.of(log.take(codes < known), hashed=hashed)
    held = Histories.of(log.take((codes >= learned) & (codes < known)), vocabulary)
    return Division(
        vocabulary=vocabulary,
        training=Histories.of(log.take(codes < learned), vocabulary),
        held=Held.newest(held),
        test=Held.newest(Histories.of(log.take(codes >= known), vocabulary)),
        until_ms=int(held.times_ms.max()),
    )


def by_time(log: ClickLog, *, hashed: int) -> Division:
    """A global split of the time line: the newest tenth of the events is the test, the tenth before
    it the validation, and every event of these is a question.

    So the test is the future of everything that was learned, which leave-one-out does not grant.
    It is "successive" of D. Gusak, A. Volodkevich, A. Klenitskiy, A. Vasilev, E. Frolov. 2025. Time
    to Split. RecSys, at the quantile .9. RecTools, with which eSASRec is measured, asks each user
    once, at the cut, and takes all later items for right; such figures do not compare.

    The catalogue is the items from before the test. Where users come in bursts, as on MovieLens,
    most questions are of users who were not there before the cut: look at both (`parted`).

    Raises:
        DatasetError: the log is too short to be split.
    """
    log = log.by_time()
    count = len(log)
    if not 0 < int(count * (1 - 2 * NEWEST)) < int(count * (1 - NEWEST)) < count:
        raise DatasetError(f"a log of {count} events is too short for a global time split")
    held_ms = int(log.times_ms[int(count * (1 - 2 * NEWEST))])
    test_ms = int(log.times_ms[int(count * (1 - NEWEST))])
    before = log.take(log.times_ms < test_ms)
    learned = before.take(before.times_ms < held_ms)
    if not len(learned):
        raise DatasetError(
            "four fifths of the log have one and the same time, so no cut divides it; are the "
            "times right?"
        )
    vocabulary = Vocabulary.of(before, hashed=hashed)
    return Division(
        vocabulary=vocabulary,
        training=Histories.of(learned, vocabulary),
        held=Held.since(Histories.of(before, vocabulary), held_ms),
        test=Held.since(Histories.of(log, vocabulary), test_ms),
        until_ms=int(before.times_ms.max()),
    )


def parted(test: Held, until_ms: int) -> tuple[Held, Held]:
    """The questions of users who were there at `until_ms`, and of those who came later."""
    histories = test.histories
    known = np.zeros(len(histories.users), dtype=np.bool_)
    some = histories.lengths() > 0
    known[some] = histories.times_ms[histories.starts[:-1][some]] <= until_ms
    return test.of(known), test.of(~known)
