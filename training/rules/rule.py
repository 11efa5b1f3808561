"""What a simple method is: something that has learned by counting and scores the catalogue for a
user's history; and its ranks, as the API lists.

Letters: m clicks, V catalogue items, n events of a user so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from model.arrays import Bools, Doubles, Longs
from training.data.sequences import Histories
from training.measure.ranking import UNLISTED, Ranking


class History(NamedTuple):
    """A user's events so far, oldest first, and the moment that is asked about."""

    items: Longs  # (n,) rows; those from V on are no catalogue items
    times_ms: Longs  # (n,)
    now_ms: int

    def newest(self, items: int, count: int) -> Longs:
        """The rows of the last `count` events on catalogue items (row < `items`), newest first."""
        return self.items[self.items < items][::-1][:count]


# scores (V,), changed by nobody; of equal ones the more frequent item, the lower row, is first
Rule = Callable[[History], Doubles]
# from what came before, and V
Learn = Callable[[Histories, int], Rule]


def nothing() -> None:
    """A step that nobody counts."""


def rank_by(
    rule: Rule, histories: Histories, targets: Longs, step: Callable[[], None] = nothing
) -> Ranking:
    """Rank the catalogue events at flat positions `targets` (m,), each by what came before it;
    `step` is called after each.

    Raises:
        TrainingError: there is nothing to rank.
    """
    users = histories.starts.searchsorted(targets, side="right") - 1
    ranks = []
    for start, target in zip(histories.starts[users].tolist(), targets.tolist(), strict=True):
        history = History(
            histories.items[start:target],
            histories.times_ms[start:target],
            int(histories.times_ms[target]),
        )
        ranks.append(_ranks(rule(history), history.items, int(histories.items[target])))
        step()
    return Ranking.listed(ranks)


def rank_of(scores: Doubles, item: int) -> int:
    """The place, from 1, of an item."""
    return 1 + int(_before(scores, item).sum())


def _ranks(scores: Doubles, items: Longs, item: int) -> tuple[int, int]:
    """Rank of an item, plain and with the history left out."""
    before = _before(scores, item)
    plain = 1 + int(before.sum())
    if item in items:
        return plain, UNLISTED
    before[items[items < len(scores)]] = False
    return plain, 1 + int(before.sum())


def _before(scores: Doubles, item: int) -> Bools:
    before = scores > scores[item]
    before[:item] |= scores[:item] == scores[item]  # rows are in order of frequency
    return before
