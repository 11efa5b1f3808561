"""How a log looks, in figures that decide what suits it: a recipe, a simple method, a pilot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import Bools, Longs
from training.data.clicklog import ClickLog, factorize
from training.rules.newest import own_clocks

DAY_MS = 86_400_000
NEWEST_SHARE = 0.1
ONE_VISIT = 0.8  # share of the users; above it, users are sessions
SPAN_SHARE = 0.1  # of the log's span: a visit is no longer than that, where that is less than a day
REPEATS_MANY = 0.25
COLD_MANY = 0.1
NEW_MANY = 0.5
SHORT = 10  # events of a user


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A log at a glance. Shares lie between 0 and 1.

    The newest tenth is that of the time line; where each user has a clock of its own, it is each
    user's last event, and no user is new.
    """

    events: int
    users: int
    items: int
    events_median: float  # of a user
    events_mean: float
    events_max: int
    repeats: float  # clicks on an item that its user had before, of all clicks
    span_days: float
    gap_median_s: float  # between two clicks of one user; 0 where nobody has two
    one_visit: float  # users whose clicks all lie within a day (and a tenth of the span)
    cold_items: float  # clicks of the newest tenth on an item that is not in the rest
    new_users: float  # users of the newest tenth who are not in the rest
    own_clocks: bool  # each user's times begin anew, so there is no common time line
    users_are_sessions: bool  # ids that hardly anybody comes back with

    def describe(self) -> list[str]:
        """How the log looks and what that means for EchoRank, one sentence each."""
        return [self._users(), self._repeats(), self._items(), self._newcomers(), self._span()]

    def _users(self) -> str:
        events = (
            f"{self.events_median:g} clicks a user in the median, {self.events_mean:.1f} on "
            f"average, {self.events_max:,} at most"
        )
        if self.users_are_sessions:
            return (
                f"Users look like sessions: {_percent(self.one_visit)} of them come once only, "
                f"{events}. A state then lives for one visit; give ids that outlast a visit, if "
                "there are any, for more to learn from"
            )
        if self.events_median < SHORT:
            return f"Histories are short: {events}. Co-occurrence counts are hard to beat here"
        once = f"; {_percent(self.one_visit)} of the users came on one day only"
        return (
            f"Histories are long: {events}{once if self.one_visit else ''}. States that grow with "
            "each click are made for these"
        )

    def _repeats(self) -> str:
        said = f"{_percent(self.repeats)} of the clicks are on an item that the user had before"
        if self.repeats >= REPEATS_MANY:
            return f"{said}: own items are strong here; do not ask with exclude_seen by habit"
        return f"{said}: finding new items is the task here"

    def _items(self) -> str:
        said = (
            f"{_percent(self.cold_items)} of the newest clicks are on items that were not there "
            "before"
        )
        if self.cold_items >= COLD_MANY:
            return (
                f"{said}: no bundle can name these before the next training, so train often "
                "(docs/training.md, Roll-out)"
            )
        return f"{said}: a bundle stays good for a while"

    def _newcomers(self) -> str:
        if self.own_clocks:
            return "Users have clocks of their own, so nothing can be said of new ones"
        said = f"{_percent(self.new_users)} of the users with newest clicks are new"
        if self.new_users >= NEW_MANY:
            return f"{said}: what a first click is answered with matters most"
        return f"{said}: most questions come with a history"

    def _span(self) -> str:
        gap = f"{self.gap_median_s:,.0f} s between two clicks of a user in the median"
        if self.own_clocks:
            return f"Times are each user's own ({gap}): windows of days cannot be told apart"
        return f"The log spans {self.span_days:,.1f} days, {gap}"


def look(log: ClickLog) -> Look:
    """How `log` looks; its events may stand in any order."""
    codes, names = factorize(log.users)
    items, _ = factorize(log.items)
    order = np.lexsort((log.times_ms, codes))
    codes, items, times = codes[order], items[order], log.times_ms[order]
    lengths = np.bincount(codes, minlength=len(names))
    firsts = np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)]
    lasts = np.concatenate([codes[1:] != codes[:-1], [True]])[: len(codes)]
    gaps_ms = np.diff(times)[~firsts[1:]]
    span_ms = int(np.ptp(times)) if len(times) else 0
    stays_ms = times[lasts] - times[firsts]
    each_its_own = span_ms > 0 and own_clocks(times[firsts])
    newest = lasts if each_its_own else _newest(times)
    pairs = codes * (1 + items.max(initial=0)) + items
    untimed = len(gaps_ms) > 0 and each_its_own and bool((gaps_ms == gaps_ms[0]).all())
    visit_ms = min(DAY_MS, SPAN_SHARE * span_ms)
    one_visit = 0.0 if untimed or not span_ms else _mean(stays_ms <= visit_ms)
    return Look(
        events=len(codes),
        users=len(names),
        items=len(np.unique(items)),
        events_median=float(np.median(lengths)) if len(lengths) else 0.0,
        events_mean=float(lengths.mean()) if len(lengths) else 0.0,
        events_max=int(lengths.max(initial=0)),
        repeats=1 - len(np.unique(pairs)) / len(codes) if len(codes) else 0.0,
        span_days=span_ms / DAY_MS,
        gap_median_s=float(np.median(gaps_ms)) / 1000 if len(gaps_ms) else 0.0,
        one_visit=one_visit,
        cold_items=_mean(~np.isin(items[newest], items[~newest])),
        new_users=0.0
        if each_its_own
        else _mean(~np.isin(np.unique(codes[newest]), codes[~newest])),
        own_clocks=each_its_own,
        users_are_sessions=one_visit >= ONE_VISIT,
    )


def _newest(times_ms: Longs) -> Bools:
    """The events (n,) of the newest tenth of the log, all of its first moment with them."""
    if not len(times_ms):
        return np.zeros(0, dtype=bool)
    since = np.sort(times_ms)[int(len(times_ms) * (1 - NEWEST_SHARE))]
    return np.asarray(times_ms >= since)


def _mean(flags: Bools) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
