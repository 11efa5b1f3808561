"""How many of an arm's clicks are on items that its model does not know.

A few are new items. Many mean that the model is of another shop, or that its clicks' item field is
another one: it then answers by popularity and recency alone, at full speed and in good health. So
it is said early, and again as it goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

EVENTS_MIN = 200  # fewer say nothing about a share
SHARE_MAX = 0.2  # of the clicks; the alert EchoRankUnknownItems has the same
ADVICE = (
    "the model is of another shop, or older than most of the catalogue, or events.fields names "
    "another field than its training did; train one on these clicks (docs/training.md), publish "
    "it, and restart"
)


@dataclass(frozen=True, slots=True)
class Known:
    """Clicks that an arm folded, and how many of them its model does not know."""

    events: int
    unknown: int

    def __add__(self, other: Known) -> Known:
        return Known(self.events + other.events, self.unknown + other.unknown)

    @property
    def share(self) -> float:
        """Of unknown items, 0 to 1."""
        return self.unknown / self.events if self.events else 0.0

    def complaint(self, arm: str, example: str = "") -> str | None:
        """A sentence if it is too many."""
        if self.events < EVENTS_MIN or self.share <= SHARE_MAX:
            return None
        return (
            f"arm {arm}: {self.unknown:,} of {self.events:,} clicks ({self.share:.0%}) are on "
            f"items that its model does not know{example}: {ADVICE}"
        )


class UnknownItems:
    """Counts what the arms of one shard fold;
    complains in the log after EVENTS_MIN clicks, then ten times as many.
    """

    def __init__(self, metrics: Metrics, arms: Mapping[str, Bundle]) -> None:
        self._metrics = metrics
        self._arms = dict(arms)
        self._lock = threading.Lock()  # partitions fold side by side
        self._folded = dict.fromkeys(arms, Known(0, 0))
        self._next = dict.fromkeys(arms, EVENTS_MIN)

    def count(self, arm: str, events: int, unknown: int) -> None:
        """One batch that was folded."""
        self._metrics.folded_total.labels(arm).inc(events)
        self._metrics.unknown_items_total.labels(arm, "event").inc(unknown)
        with self._lock:
            self._folded[arm] = folded = self._folded[arm] + Known(events, unknown)
            if folded.events < self._next[arm]:
                return
            while self._next[arm] <= folded.events:
                self._next[arm] *= 10
        items = self._arms[arm].items
        if complaint := folded.complaint(
            arm, f" (it knows {len(items):,}, such as {items[0]!r})" if items else ""
        ):
            log.warning("%s", complaint)
