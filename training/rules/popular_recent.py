"""The most frequent items of a recent window, for everybody: of the windows tried, the one that
tells best what came in the newest tenth of the training.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.rules.newest import has_own_clocks, kept, newest
from training.rules.popular import popular
from training.rules.rule import Rule

DAY_MS = 86_400_000
DAYS = (30, 7, 1)
SHARES = (0.3, 0.1, 0.01)  # of each user's events, where users have clocks of their own
LISTED = 10


def learn(training: Histories, items: int) -> Rule:
    """By the events of the chosen window, which ends with the training; ties by all events."""
    late = newest(training)
    asked = np.bincount(training.items[late], minlength=items)[:items]
    gains = [_ndcg(counts, asked) for counts in _windows(kept(training, ~late), items)]
    return popular(_windows(training, items)[int(np.argmax(gains))])


def _windows(histories: Histories, items: int) -> list[Doubles]:
    """Counts (V,) of all events, and of shorter and shorter windows of them."""
    everything = histories.counts(items)
    if has_own_clocks(histories):
        parts = [newest(histories, share) for share in SHARES]
    else:
        until_ms = histories.times_ms.max(initial=0)
        parts = [histories.times_ms > until_ms - days * DAY_MS for days in DAYS]
    ties = everything / (1.0 + everything.max(initial=0))
    return [everything + ties, *(kept(histories, part).counts(items) + ties for part in parts)]


def _ndcg(counts: Doubles, asked: Longs) -> float:
    """NDCG@10 of the list by `counts`, over all events `asked` (V,), but for a constant factor."""
    top = np.argsort(-counts, kind="stable")[:LISTED]
    return float((asked[top] / np.log2(2.0 + np.arange(len(top)))).sum())
