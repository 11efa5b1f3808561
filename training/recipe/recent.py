"""What a user without any click is offered: the popularity of a recent window of the log.

What is popular changes, and how fast depends on the log, so the log itself chooses the window. Its
newest fifth is cut into slices. Before each slice, every candidate window w gives each item i the
share

    p(i) = (n_w(i) + V p_all(i)) / (n_w + V)

with n clicks, and the share p_all of all clicks so far, each item half a click more. So what the
window lacks is judged by all time, as if by one click an item, and nothing has a share of zero
(Dirichlet smoothing: C. Zhai, J. Lafferty. 2001. A Study of Smoothing Methods for Language Models
Applied to Ad Hoc Information Retrieval. SIGIR). The window that makes the first clicks of the
slices' new users the most likely is taken; where there are few new users, all clicks of the slices
judge. That popularity must be of its time: Y. Ji, A. Sun, J. Zhang, C. Li. 2020. A Re-visit of the
Popularity Baseline in Recommender Systems. SIGIR.

Only clicks that the model learns from are looked at. Letters: n clicks, V catalogue items.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model.arrays import Bools, Doubles, Longs
from model.popularity import DAY_MS, EVER, RECORD
from training.data.sequences import Histories
from training.rules.newest import has_own_clocks

JUDGED = 0.2  # of the clicks, the newest, are predicted
SLICES = 10
CLICKS_MIN = 100  # fewer, in a window or to judge by, say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The newest part of a log: of so many days, or a share of its clicks."""

    days: int | None = None
    share: float = 1.0

    def __str__(self) -> str:
        """Such as `the newest 7 days`."""
        if self.days is not None:
            return "the newest day" if self.days == 1 else f"the newest {self.days} days"
        return EVER if self.share == 1 else f"the newest {self.share:.0%} of the clicks"

    def begin(self, times_ms: Longs, stop: int) -> int:
        """The first of the clicks in their order that the window holds before the click `stop`."""
        if self.days is None:
            return stop - round(stop * self.share)
        return int(np.searchsorted(times_ms[:stop], times_ms[stop - 1] - self.days * DAY_MS))


WHOLE = Window()
# longest first: of equally good ones the longest is taken
BY_DAYS = (Window(days=30), Window(days=7), Window(days=1))
BY_SHARE = (Window(share=0.1), Window(share=0.03), Window(share=0.01))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What is popular now, and how that was found."""

    counts: Doubles  # (V,) clicks an item, as many together as in the whole log
    record: dict[str, Any]  # JSON values, for the bundle's metadata


class TimeLine(NamedTuple):
    """The clicks of a log on catalogue items, in the order in which they happened."""

    items: Longs  # (n,) rows below V
    times_ms: Longs  # (n,)
    first: Bools  # (n,) the first of its user
    one_clock: bool  # False: times are of clocks of the users' own, and the order is the source's

    @classmethod
    def of(cls, histories: Histories, items: int) -> TimeLine:
        """All users' clicks together; equal times stay in the order of the users."""
        known = histories.starts[:-1][histories.lengths() > 0]
        first = np.zeros(len(histories.items), dtype=bool)
        first[known] = True
        one_clock = not has_own_clocks(histories)
        order = np.arange(len(first))
        if one_clock:
            order = np.argsort(histories.times_ms, kind="stable")
        order = order[histories.items[order] < items]
        return cls(histories.items[order], histories.times_ms[order], first[order], one_clock)

    def cuts(self) -> Longs:
        """Where the judged slices begin, and where the last one ends."""
        n = len(self.items)
        return np.linspace(n - int(n * JUDGED), n, SLICES + 1).astype(np.int64)

    def candidates(self) -> list[Window]:
        """The windows to choose from: of days, or where these hold too little or all, of shares."""
        for windows in (BY_DAYS if self.one_clock else (), BY_SHARE):
            usable = [window for window in windows if self._usable(window)]
            if usable:
                return [WHOLE, *usable]
        return [WHOLE]

    def judges(self) -> Bools:
        """Which clicks (n,) judge the windows; none where even all slices are too little."""
        late = np.arange(len(self.items)) >= self.cuts()[0]
        for judging in (late & self.first, late):
            if judging.sum() >= CLICKS_MIN:
                return judging
        return np.zeros(len(late), dtype=bool)

    def likelihood(self, window: Window, judging: Bools, items: int) -> float:
        """Mean log-likelihood of the judging clicks, each by the window before its slice."""
        cuts = self.cuts()
        found = []
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            asked = self.items[start:stop][judging[start:stop]]
            found.append(np.log(self.shares(window, start, items))[asked])
        return float(np.concatenate(found).mean())

    def shares(self, window: Window, stop: int, items: int) -> Doubles:
        """What each item (V,) has of the clicks before the click `stop`, by the window; all above
        0.
        """
        ever = np.bincount(self.items[:stop], minlength=items) + 0.5
        begin = window.begin(self.times_ms, stop)
        now = np.bincount(self.items[begin:stop], minlength=items)
        return np.asarray((now + items * ever / ever.sum()) / (stop - begin + items))

    def _usable(self, window: Window) -> bool:
        ends = [stop for stop in self.cuts().tolist() if stop]
        begins = [window.begin(self.times_ms, stop) for stop in ends]
        held = [stop - begin for begin, stop in zip(begins, ends, strict=True)]
        return bool(ends) and min(begins) > 0 and min(held) >= CLICKS_MIN


def recent(histories: Histories, items: int) -> Recent:
    """The popularity of the best window, and the record of the choice; in a log that is too short
    to choose by, of the whole log.
    """
    line = TimeLine.of(histories, items)
    judging = line.judges()
    windows = line.candidates() if judging.any() else [WHOLE]
    worth = {window: line.likelihood(window, judging, items) for window in _judged(windows)}
    best = max(worth, key=lambda window: worth[window], default=WHOLE)
    n = len(line.items)
    counts = histories.counts(items).astype(np.float64)
    if best != WHOLE:
        counts = n * line.shares(best, n, items)
    record = {
        "window": str(best),
        "days": best.days,
        "clicks": n - best.begin(line.times_ms, n) if n else 0,
        "until_ms": int(line.times_ms[-1]) if line.one_clock and n else None,
        "log_likelihood": {str(window): round(found, 4) for window, found in worth.items()},
        "judged_by": int(judging.sum()),
    }
    return Recent(counts=counts, record=record)


def said(metadata: Mapping[str, Any]) -> str:
    """What users without clicks get by the metadata of a model, as a sentence."""
    record = metadata.get(RECORD, {})
    until_ms = record.get("until_ms")
    until = ""
    if until_ms is not None:
        until = f", until {datetime.datetime.fromtimestamp(until_ms / 1000, datetime.UTC):%Y-%m-%d}"
    judged = len(record.get("log_likelihood", {}))
    why = f": the best of {judged} windows for the first clicks of new users" if judged else ""
    return f"users without clicks get what was popular in {record.get('window', EVER)}{until}{why}"


def _judged(windows: list[Window]) -> Iterable[Window]:
    """Where there is no choice, nothing is judged."""
    return windows if len(windows) > 1 else ()
