"""Held-out events asked of a bundle, with states as bytes: the model as users will meet it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from model.arrays import Bytes, Doubles, Floats, Longs
from model.bundle.bundle import Bundle
from model.levels import Level
from model.state import zeros
from training.data.sequences import UNKNOWN, Held, Histories
from training.measure.evaluate import Clicks
from training.measure.ranking import UNLISTED, Ranking
from training.measure.targets import NegativeSampler

LISTED = 10  # items of the lists that are asked for
# lists are made of all items: of a large catalogue fewer are asked for, but so many at least
SORTED_MAX = 1_000_000_000
CLICKS_MIN = 500
# probabilities come as float32; closer to 0 or 1 their logit is taken as this one's
SMALLEST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a bundle answered."""

    clicks: dict[Level, Clicks]
    ranks: Longs  # of the clicked items in the lists that `Recommend` gives


def ask(
    bundle: Bundle,
    held: Held,
    sampler: NegativeSampler,
    *,
    negatives: int,
    share: float = 1.0,
    seed: int = 0,
) -> Served:
    """Fold each user's events, and before about a `share` of the held-out
    ones ask for scores at every level.
    """
    random = np.random.default_rng(seed)
    histories = held.histories
    users: list[int] = []
    logits: dict[Level, list[Doubles]] = {level: [] for level in Level}
    ranks: list[int] = []
    for user in np.flatnonzero(held.tails).tolist():
        start = int(histories.starts[user])
        stop = int(histories.starts[user + 1])
        targets = np.arange(stop - held.tails[user], stop)
        wanted = (random.random(len(targets)) < share) & (
            histories.items[targets] < len(bundle.items)
        )
        targets = targets[wanted]
        if not len(targets):
            continue
        drawn = sampler.draw(np.array([start]), (targets - 1 - start)[None], negatives, random)
        before = walk(bundle, histories, targets)
        for (target, row), items in zip(before, drawn.candidates[0].numpy(), strict=True):
            now_ms = int(histories.times_ms[target])
            for level in Level:
                logits[level].append(logit(bundle.score(row, items, now_ms, level).probabilities))
            ranks.append(place(bundle, row, int(items[0]), now_ms))
            users.append(user)
    labels = np.tile(np.arange(negatives + 1) == 0, len(users))
    asked = np.repeat(np.array(users, dtype=np.int64), negatives + 1)
    return Served(
        clicks={
            level: Clicks(
                users=asked, labels=labels, logits=np.concatenate([np.zeros(0), *logits[level]])
            )
            for level in Level
        },
        ranks=np.array(ranks, dtype=np.int64),
    )


def rank_targets(bundle: Bundle, histories: Histories, targets: Longs, k: int = LISTED) -> Ranking:
    """Rank the catalogue events at `targets`, ascending flat positions, as `Recommend` lists them
    in its lists of k, by the states that the shipped fold left before each.

    Raises:
        TrainingError: there is nothing to rank.
    """
    return Ranking.listed(
        places(bundle, row, int(histories.items[target]), int(histories.times_ms[target]), k)
        for target, row in walk(bundle, histories, targets)
    )


def clicks_of(items: int, most: int) -> int:
    """`most` clicks, or fewer of a catalogue of so many `items` that this would take long."""
    return min(most, max(CLICKS_MIN, SORTED_MAX // items))


def places(bundle: Bundle, row: Bytes, item: int, now_ms: int, k: int = LISTED) -> tuple[int, int]:
    """Rank of an item row in the API's lists of k, plain and with seen items left out."""
    plain = place(bundle, row, item, now_ms, k=k)
    return plain, place(bundle, row, item, now_ms, k=k, exclude_seen=True)


def place(
    bundle: Bundle,
    row: Bytes,
    item: int,
    now_ms: int,
    *,
    k: int = LISTED,
    exclude_seen: bool = False,
) -> int:
    """Rank of an item row, from 1, in the k that `Recommend` answers from that state;
    `UNLISTED` if it is not there.
    """
    listed, _ = bundle.recommend(row, k, exclude_seen, now_ms)
    found = np.flatnonzero(listed == item)
    return int(found[0]) + 1 if len(found) else UNLISTED


def walk(bundle: Bundle, histories: Histories, targets: Longs) -> Iterator[tuple[int, Bytes]]:
    """Each target, an ascending flat position,
    with its user's state (row_bytes,) right before that event.

    The row is the same memory each time: copy what you keep.
    """
    users = np.searchsorted(histories.starts, targets, side="right") - 1
    rows = zeros(bundle.config, 1)
    last = -1
    folded = 0
    for user, target in zip(users.tolist(), targets.tolist(), strict=True):
        if user != last:
            rows[:] = 0
            last = user
            folded = int(histories.starts[user])
        _fold(bundle, rows, histories, user, folded, target)
        folded = target
        yield target, rows[0]


def logit(probabilities: Floats) -> Doubles:
    """The logit of each served probability, finite also where that was rounded to 0 or 1."""
    p = probabilities.astype(np.float64).clip(SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _fold(
    bundle: Bundle, rows: Bytes, histories: Histories, user: int, start: int, stop: int
) -> None:
    place = np.arange(start, stop)
    place = place[histories.actions[place] != UNKNOWN]
    count = len(place)
    key = xxhash.xxh64_intdigest(histories.users[user].encode())
    bundle.fold(
        rows,
        np.zeros(count, dtype=np.int64),
        np.full(count, key, dtype=np.uint64),
        histories.items[place],
        histories.actions[place].astype(np.uint8),
        histories.times_ms[place],
        place,
    )
