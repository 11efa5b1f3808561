"""What a running system says unasked: one line a matter, from the metrics of its processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from actors.errors import ShardUnavailable
from actors.unknown_items import Known
from cluster.scrape import Scraped, values

log = logging.getLogger(__name__)

EARLY_S, EARLY_LOOKS = 3.0, 40  # in the first two minutes, when a wrong model or topic shows
LATE_S = 60.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the person at the terminal; `matter` is what is said once."""

    matter: str
    text: str


def known_items(scraped: Iterable[Scraped]) -> dict[str, Known]:
    """What each arm folded since its shards started, owners and standbys together."""
    scraped = list(scraped)
    found: dict[str, Known] = {}
    for labels, value in values(scraped, "echorank_folded_total"):
        found[labels["arm"]] = found.get(labels["arm"], Known(0, 0)) + Known(int(value), 0)
    for labels, value in values(scraped, "echorank_unknown_items_total"):
        if labels["source"] == "event":
            found[labels["arm"]] = found.get(labels["arm"], Known(0, 0)) + Known(0, int(value))
    return found


def of_unknown_items(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A model that does not know the shop."""
    for arm, known in sorted(known_items(scraped).items()):
        if complaint := known.complaint(arm):
            yield Notice(f"unknown items of {arm}", complaint)


KINDS: tuple[Callable[[Sequence[Scraped]], Iterable[Notice]], ...] = (of_unknown_items,)


def notices_of(scraped: Sequence[Scraped]) -> list[Notice]:
    """All that there is to say now."""
    return [notice for kind in KINDS for notice in kind(scraped)]


@dataclass
class Watch:
    """Looks at the metrics again and again, and says each matter once."""

    scrape: Callable[[], list[Scraped]]
    say: Callable[[str], None]
    said: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Say what is new; metrics that cannot be had now are looked at the next time."""
        try:
            found = notices_of(self.scrape())
        except ShardUnavailable:
            return
        for notice in found:
            if notice.matter not in self.said:
                self.said.add(notice.matter)
                self.say(notice.text)

    def until(self, stop: threading.Event) -> None:
        """Look until `stop` is set: often at first, then once a minute."""
        looks = 0
        while not stop.wait(EARLY_S if looks < EARLY_LOOKS else LATE_S):
            try:
                self.look()
            except Exception:
                log.exception("what the processes show could not be looked at; it is looked at again")
            looks += 1
