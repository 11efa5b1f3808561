"""The newest part of some histories: by the common clock, or by each user's own."""

from __future__ import annotations

import numpy as np

from model.arrays import Bools, Longs
from training.data.sequences import Histories

OWN_CLOCKS = 0.5  # share of the users who begin at the first moment of all
SHARE = 0.1


def own_clocks(firsts_ms: Longs) -> bool:
    """Whether times of different users cannot be compared, by when each user begins."""
    return len(firsts_ms) > 1 and bool(np.mean(firsts_ms == firsts_ms.min()) > OWN_CLOCKS)


def has_own_clocks(histories: Histories) -> bool:
    """See `own_clocks`."""
    begun = histories.starts[:-1][histories.lengths() > 0]
    return own_clocks(histories.times_ms[begun])


def newest(histories: Histories, share: float = SHARE) -> Bools:
    """The newest `share` of the events (n,), with all of their first moment; where each user has a
    clock of its own, of each user's events, and one at least.
    """
    count = len(histories.items)
    if has_own_clocks(histories):
        lengths = histories.lengths()
        kept = np.ceil(lengths * share).astype(np.int64)
        return np.arange(count) >= np.repeat(histories.starts[1:] - kept, lengths)
    if not count:
        return np.zeros(0, dtype=bool)
    since = np.sort(histories.times_ms)[min(int(count * (1 - share)), count - 1)]
    return np.asarray(histories.times_ms >= since)


def kept(histories: Histories, mask: Bools) -> Histories:
    """The same users with the events for which `mask` (n,) is true."""
    before = np.concatenate([[0], np.cumsum(mask)]).astype(np.int64)
    return Histories(
        users=histories.users,
        items=histories.items[mask],
        actions=histories.actions[mask],
        times_ms=histories.times_ms[mask],
        starts=before[histories.starts],
    )
