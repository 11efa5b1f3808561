"""How far a system is that catches up with its log: in words, for whoever waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

WINDOW_S = 60.0  # the rate is that of the last minute
SHOWN = 5  # partitions that are named, the farthest behind first


class CatchingUp:
    """Keeps what lay ahead a while ago, to tell how fast it becomes less."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def line(self, now_s: float, behind: Mapping[int, int], waiting: Collection[int]) -> str:
        """One line: `behind` are records by partition,
        as far as they are known; `waiting` are not ready yet.
        """
        total = sum(behind.values())
        self._seen.append((now_s, total))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        parts = [
            f"{total:,} records behind" if behind else "not known yet how many records behind",
            *self._pace(total),
        ]
        if waiting:
            many = "partition" if len(waiting) == 1 else "partitions"
            parts.append(f"{len(waiting)} {many} not ready: {_partitions(behind, waiting)}")
        return f"Catching up: {'; '.join(parts)}. Answers say stale until then."

    def _pace(self, total: int) -> list[str]:
        (then_s, before) = self._seen[0]
        (now_s, _) = self._seen[-1]
        if now_s <= then_s or not total:
            return []
        rate = (before - total) / (now_s - then_s)
        if rate < 1:
            return ["not getting fewer" if rate > -1 else f"{-rate:,.0f} more a second"]
        return [f"{rate:,.0f} fewer a second", f"about {span(total / rate)} left"]


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = max(1, round(seconds))
    for size, larger, smaller in ((86_400, "d", "h"), (3_600, "h", "min"), (60, "min", "s")):
        if whole >= size:
            rest = whole % size // {"h": 3_600, "min": 60, "s": 1}[smaller]
            return f"{whole // size} {larger} {rest} {smaller}"
    return f"{whole} s"


def _partitions(behind: Mapping[int, int], waiting: Collection[int]) -> str:
    """As in `3 (1,200,000), 0 (restoring)`: one without a known lag has no reader yet."""
    farthest = sorted(waiting, key=lambda partition: (-behind.get(partition, 0), partition))
    named = [f"{p} ({f'{behind[p]:,}' if p in behind else 'restoring'})" for p in farthest[:SHOWN]]
    more = len(farthest) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
