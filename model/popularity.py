"""Of which clicks a bundle's answers to users without any are, and when these are old.

Chosen at training (`training.recipe.recent`), recorded in each bundle's metadata.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RECORD = "popularity"  # its name in the metadata
OLD_DAYS = 30
OLD_WINDOWS = 7  # popularity of a day is old after a week
DAY_MS = 86_400_000
EVER = "the whole log"


@dataclass(frozen=True, slots=True)
class Popularity:
    """The window of the log that cold users' answers are of."""

    window: str = EVER
    days: int | None = None  # None: not of so many days
    # the newest click; None where it says nothing about today, as in older bundles
    until_ms: int | None = None

    @property
    def until(self) -> str:
        """The newest click as ISO 8601, `2026-01-31T12:00:00+00:00`; empty where there is none."""
        return "" if self.until_ms is None else _iso(self.until_ms)

    @property
    def old_from(self) -> str:
        """The moment from which others will be popular; empty where there is no date."""
        days = OLD_DAYS if self.days is None else min(OLD_DAYS, OLD_WINDOWS * self.days)
        return "" if self.until_ms is None else _iso(self.until_ms + days * DAY_MS)


def popularity_of(metadata: Mapping[str, Any]) -> Popularity:
    """What a bundle's metadata say; the whole log and no date, where it is an older bundle.

    A public data set has a date, but its age is no news: it was learned from for a try.
    """
    record = metadata.get(RECORD)
    if not isinstance(record, Mapping):
        return Popularity()
    until_ms = record.get("until_ms") if record.get("own_log") else None
    return Popularity(str(record.get("window", EVER)), record.get("days"), until_ms)


def _iso(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC).isoformat()
