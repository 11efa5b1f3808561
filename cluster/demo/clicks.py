"""The clicks of the demonstration, which of them to ask about, and what:
its item among 99 that the user has not seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actors.clicks.click import Click

if TYPE_CHECKING:
    from training.data.clicklog import ClickLog

UNSEEN = 99


@dataclass(frozen=True, slots=True)
class Question:
    """One click that is about to happen, and the candidates to rank before it does."""

    click: Click
    candidates: tuple[str, ...]  # the clicked item first; none: this click is not asked about


def clicks_of(log: ClickLog) -> list[Click]:
    """A log's rows as clicks, in order."""
    rows = zip(log.users, log.items, log.actions, log.times_ms.tolist(), strict=True)
    return [Click(*row) for row in rows]


def sample(clicks: Sequence[Click], share: float, seed: int) -> set[int]:
    """Places of the clicks to ask about: about `share` of each user's, drawn at random,
    and at least one.

    What is drawn of a user depends on nothing but the user, the number of clicks and the seed.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, click in enumerate(clicks):
        places[click.user].append(place)
    chosen: set[int] = set()
    for user, own in places.items():
        random = np.random.default_rng((seed, xxhash.xxh64_intdigest(user.encode())))
        count = max(1, round(share * len(own)))
        chosen.update(random.choice(own, count, replace=False).tolist())
    return chosen


def questions(
    earlier: Sequence[Click],
    coming: Sequence[Click],
    catalogue: Sequence[str],
    seed: int,
    *,
    share: float = 1.0,
) -> list[Question]:
    """One entry for each coming click, in order; candidates only for a `sample` of them.

    Unseen means: not clicked by the user before that moment.
    """
    random = np.random.default_rng(seed)
    chosen = sample(coming, share, seed)
    seen: dict[str, set[str]] = defaultdict(set)
    for click in earlier:
        seen[click.user].add(click.item)
    found = []
    for place, click in enumerate(coming):
        known = seen[click.user]
        candidates: tuple[str, ...] = ()
        if place in chosen:
            others = [item for item in catalogue if item not in known and item != click.item]
            drawn = random.choice(len(others), UNSEEN, replace=False)
            candidates = (click.item, *(others[i] for i in drawn))
        found.append(Question(click, candidates))
        known.add(click.item)
    return found
