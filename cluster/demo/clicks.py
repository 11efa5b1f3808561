"""The clicks of the demonstration, and what to ask before each:
its item among 99 that the user has not seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actors.clicks.click import Click

if TYPE_CHECKING:
    from training.data.clicklog import ClickLog

UNSEEN = 99


@dataclass(frozen=True, slots=True)
class Question:
    """One click that is about to happen, and the candidates to rank before it does."""

    click: Click
    candidates: tuple[str, ...]  # the clicked item first


def clicks_of(log: ClickLog) -> list[Click]:
    """A log's rows as clicks, in order."""
    rows = zip(log.users, log.items, log.actions, log.times_ms.tolist(), strict=True)
    return [Click(*row) for row in rows]


def questions(
    earlier: Sequence[Click], coming: Sequence[Click], catalogue: Sequence[str], seed: int
) -> list[Question]:
    """A question for each coming click, in order; unseen means:
    not clicked by the user before that moment.
    """
    random = np.random.default_rng(seed)
    seen: dict[str, set[str]] = defaultdict(set)
    for click in earlier:
        seen[click.user].add(click.item)
    asked = []
    for click in coming:
        known = seen[click.user]
        others = [item for item in catalogue if item not in known and item != click.item]
        drawn = random.choice(len(others), UNSEEN, replace=False)
        asked.append(Question(click, (click.item, *(others[i] for i in drawn))))
        known.add(click.item)
    return asked
