"""How a log is divided into what is learned from, what chooses the epoch, and what is the test.

Each protocol is a function from a log to a `Division`. A question is an event that has an earlier
event of its user, and its history is all of these: events of the validation and earlier questions
among them, as a system that reads a stream would know them.
"""

from __future__ import annotations

from typing import NamedTuple

from training.data.clicklog import ClickLog, factorize
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import DatasetError

ITEM_EVENTS_MIN = 5  # RecBole's filter, for leave-one-out
SESSIONS_HELD = 0.05  # the newest of the sessions to learn from, as the validation


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
