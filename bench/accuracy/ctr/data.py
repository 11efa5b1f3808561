"""Impressions with their long histories, from a rated log:
what click-through models are compared on.

Each rated event is an impression: its item is the candidate, its label is `rating >= label_from`.
Its history are the same user's events with an earlier time. Events that share the impression's time
are all left out, whichever side of it the source lists them on: MovieLens stamps a whole page of
ratings at once, and a label's neighbours on the page are not known when it is asked for. History
events carry their own rating as the action, so a model may see what was liked.

The split is by global time: the last `test_share` of all eligible impressions test, the last
`validation_share` of those before them choose the epoch, the rest train. An impression is eligible
when its history has `history_min` events. A log of impressions and clicks maps its label column to
the role `rating` and sets `label_from` to 1.

Letters: B rows of a batch, L events of a row, Q impressions that share a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.arrays import Bools, Longs, Strings
from model.network.embedding import gap_bucket
from training.data.clicklog import ClickLog, factorize
from training.data.sequences import Vocabulary
from training.errors import DatasetError

NO_CATEGORY = 0
SPAN_MAX = 256  # events between the first and the last impression of a row


@dataclass(frozen=True, kw_only=True)
class CtrProtocol:
    """How impressions are made from a log and divided.

    Raises:
        ValueError: a setting is out of range.
    """

    label_from: float = 4.0
    history_min: int = 200
    length: int = 1000  # of the history, at most
    training: int = 120_000  # impressions sampled
    validation: int = 10_000
    test: int = 40_000
    test_share: float = 0.2
    validation_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.history_min < 1:
            raise ValueError(
                f"history_min = {self.history_min} must be at least 1: an empty history says "
                "nothing"
            )
        if self.length < self.history_min:
            raise ValueError(
                f"length = {self.length} is below history_min = {self.history_min}; raise it"
            )
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """All events of a log, user after user in time order,
    and which of them are asked for. n events in all.
    """

    users: Longs  # (n,)
    items: Longs  # (n,) rows of the vocabulary
    actions: Longs  # (n,)
    gaps: Longs  # (n,) bucket of the time since the user's event before
    times_ms: Longs  # (n,)
    labels: Bools  # (n,)
    categories: Longs  # (n,) NO_CATEGORY where none is known
    starts: Longs  # (n,) the user's first event
    # (n,) the user's first event with the same time: an event p has the history [starts[p],
    # ends[p])
    ends: Longs
    training: Longs  # (N,) positions of the impressions to learn from
    validation: Longs
    test: Longs
    vocabulary: Vocabulary  # of the events before the validation part
    eligible: int
    times_split_ms: tuple[int, int]  # where validation and test begin

    def counts(self) -> dict[str, int]:
        """What a reader needs to judge the split:
        global time leaves users in the test part that training never saw.
        """
        known = np.unique(self.users[self.training])
        tested = np.unique(self.users[self.test])
        lengths = (self.ends - self.starts)[self.test]
        return {
            "eligible": self.eligible,
            "training": len(self.training),
            "validation": len(self.validation),
            "test": len(self.test),
            "training_users": len(known),
            "test_users": len(tested),
            "test_users_without_training": len(np.setdiff1d(tested, known)),
            "median_test_history": int(np.median(lengths)),
        }


def impressions(
    log: ClickLog,
    protocol: CtrProtocol,
    *,
    gap_buckets: int,
    hashed: int,
    categories: Mapping[str, str] | None = None,
) -> Impressions:
    """The impressions of a rated log; `categories` names each item's, where there is such a thing.

    Raises:
        DatasetError: the log has no ratings, or too few long histories.
    """
    if log.ratings is None:
        raise DatasetError(
            "the log has no ratings to make labels from; map a rating or label column to the role "
            "rating"
        )
    if without := int(np.count_nonzero(np.isnan(log.ratings))):
        raise DatasetError(
            f"{without:,} of {len(log):,} events have no rating, so no label; remove them from "
            "the log"
        )
    users, _ = factorize(log.users)
    order = np.lexsort((log.times_ms, users))  # stable, so ties stay in the log's order
    users = users[order]
    times = log.times_ms[order]
    starts, ends = _bounds(users, times)
    eligible = np.flatnonzero(ends - starts >= protocol.history_min)
    parts, split = _divide(eligible, times, protocol)
    seen = log.times_ms < split[0]
    vocabulary = Vocabulary.of(_rated(log.take(seen)), hashed=hashed)
    rated = _rated(log)
    return Impressions(
        users=users,
        items=vocabulary.item_rows(rated.items)[order],
        actions=vocabulary.action_ids(rated.actions)[order],
        gaps=_gaps(times, starts, gap_buckets),
        times_ms=times,
        labels=(log.ratings >= protocol.label_from)[order],
        categories=_categories(log.items, categories)[order],
        starts=starts,
        ends=ends,
        training=parts[0],
        validation=parts[1],
        test=parts[2],
        vocabulary=vocabulary,
        eligible=len(eligible),
        times_split_ms=split,
    )


def _rated(log: ClickLog) -> ClickLog:
    """The log with each event's rating as its action."""
    assert log.ratings is not None
    values, codes = np.unique(log.ratings, return_inverse=True)
    names = np.array([f"{value:g}" for value in values], dtype=object)
    return ClickLog(
        users=log.users,
        items=log.items,
        actions=names[codes],
        times_ms=log.times_ms,
        ratings=log.ratings,
    )


def _bounds(users: Longs, times: Longs) -> tuple[Longs, Longs]:
    """Position of each event's user's first event,
    and of that user's first event at the same time.
    """
    place = np.arange(len(users))
    new_user = np.diff(users, prepend=-1) != 0
    new_time = new_user | (np.diff(times, prepend=times[:1] - 1) != 0)
    return (
        np.maximum.accumulate(np.where(new_user, place, 0)),
        np.maximum.accumulate(np.where(new_time, place, 0)),
    )


def _gaps(times: Longs, starts: Longs, buckets: int) -> Longs:
    gap = np.diff(times, prepend=times[:1])
    bucket = gap_bucket(torch.from_numpy(gap), buckets).numpy()
    return np.where(starts == np.arange(len(times)), buckets - 1, bucket)


def _categories(items: Strings, names: Mapping[str, str] | None) -> Longs:
    if names is None:
        return np.full(len(items), NO_CATEGORY, dtype=np.int64)
    number = {name: code + 1 for code, name in enumerate(sorted(set(names.values())))}
    codes, distinct = factorize(items)
    return np.array(
        [number[names[item]] if item in names else NO_CATEGORY for item in distinct], np.int64
    )[codes]


def _divide(
    eligible: Longs, times: Longs, protocol: CtrProtocol
) -> tuple[tuple[Longs, Longs, Longs], tuple[int, int]]:
    """Sampled training, validation and test positions,
    and the times at which the last two begin.
    """
    test_from = _cut(times[eligible], protocol.test_share, protocol)
    before = eligible[times[eligible] < test_from]
    validation_from = _cut(times[before], protocol.validation_share, protocol)
    random = np.random.default_rng(protocol.seed)
    parts = (
        _sample(before[times[before] < validation_from], protocol.training, random),
        _sample(before[times[before] >= validation_from], protocol.validation, random),
        _sample(eligible[times[eligible] >= test_from], protocol.test, random),
    )
    if not all(len(part) for part in parts):
        sizes = [len(part) for part in parts]
        raise DatasetError(
            f"training, validation and test would hold {sizes} impressions with "
            f"{protocol.history_min} events before them; lower history_min or bring a longer log"
        )
    return parts, (validation_from, test_from)


def _cut(times: Longs, share: float, protocol: CtrProtocol) -> int:
    if not len(times):
        raise DatasetError(
            f"no event has {protocol.history_min} earlier ones of its user; lower history_min"
        )
    return int(np.sort(times)[int(len(times) * (1 - share))])


def _sample(positions: Longs, count: int, random: np.random.Generator) -> Longs:
    """At most `count` of the positions, in their order, which is by user and time."""
    if len(positions) <= count:
        return positions
    return np.sort(random.choice(positions, count, replace=False))


class Rows(NamedTuple):
    """Impressions that share a row: those of one user that are close in time.
    Row i asks `asked[cuts[i]:cuts[i+1]]`.
    """

    asked: Longs  # (N,) positions, by user and time
    cuts: Longs  # (rows + 1,)
    begins: Longs  # (rows,) first event of the row
    ends: Longs  # (rows,) one past the last


class CtrBatch(NamedTuple):
    """B rows of at most L events, and Q impressions of each row."""

    items: Tensor  # (B, L)
    actions: Tensor  # (B, L)
    gaps: Tensor  # (B, L)
    times_ms: Tensor  # (B, L)
    categories: Tensor  # (B, L)
    candidates: Tensor  # (B, Q) item rows
    candidate_categories: Tensor  # (B, Q)
    begins: Tensor  # (B, Q) first event of each impression's history in its row
    ends: Tensor  # (B, Q) one past the last
    labels: Tensor  # (B, Q) bool
    valid: Tensor  # (B, Q) bool, false for padding
    positions: Longs  # (B, Q) of the impressions in the log


def rows(
    data: Impressions,
    asked: Longs,
    length: int,
    per_row: int,
    random: np.random.Generator | None = None,
) -> Rows:
    """Rows of at most `per_row` impressions;
    with `random` the first cut of each user is drawn, so that they move.
    """
    user = data.users[asked]
    end = data.ends[asked]
    shift = (
        np.zeros(len(asked), np.int64)
        if random is None
        else random.integers(per_row, size=len(asked))
    )
    cuts = [0]
    count = int(shift[0])
    for place in range(1, len(asked)):
        count += 1
        first = cuts[-1]
        other_user = user[place] != user[first]
        if other_user or count >= per_row or end[place] - end[first] > SPAN_MAX:
            cuts.append(place)
            count = int(shift[place]) if other_user else 0
    firsts = np.array(cuts)
    lasts = np.append(firsts[1:], len(asked)) - 1
    begins = np.maximum(data.starts[asked[firsts]], end[firsts] - length)
    return Rows(asked, np.append(firsts, len(asked)), begins, end[lasts])


def batches(
    data: Impressions,
    rows: Rows,
    length: int,
    tokens: int,
    random: np.random.Generator | None = None,
) -> Iterator[CtrBatch]:
    """Batches of rows of similar length, at most `tokens` padded events each;
    in random order with `random`.
    """
    sizes = rows.ends - rows.begins
    order = np.lexsort(
        (np.zeros(len(sizes)) if random is None else random.random(len(sizes)), sizes)
    )
    cuts = [0]
    for place in range(len(order)):
        if place > cuts[-1] and (place + 1 - cuts[-1]) * sizes[order[place]] > tokens:
            cuts.append(place)
    parts = np.split(order, cuts[1:])
    for turn in range(len(parts)) if random is None else random.permutation(len(parts)):
        yield _batch(data, rows, parts[turn], length)


def _batch(data: Impressions, rows: Rows, part: Longs, length: int) -> CtrBatch:
    begins = rows.begins[part]
    sizes = rows.ends[part] - rows.begins[part]
    at = begins[:, None] + np.minimum(np.arange(sizes.max()), sizes[:, None] - 1)  # (B, L)
    counts = rows.cuts[part + 1] - rows.cuts[part]
    turn = np.arange(counts.max())  # (Q,)
    # (B, Q)
    position = rows.asked[rows.cuts[part][:, None] + np.minimum(turn, counts[:, None] - 1)]
    ends = data.ends[position]
    first = np.maximum(data.starts[position], ends - length)
    return CtrBatch(
        items=torch.from_numpy(data.items[at]),
        actions=torch.from_numpy(data.actions[at]),
        gaps=torch.from_numpy(data.gaps[at]),
        times_ms=torch.from_numpy(data.times_ms[at]),
        categories=torch.from_numpy(data.categories[at]),
        candidates=torch.from_numpy(data.items[position]),
        candidate_categories=torch.from_numpy(data.categories[position]),
        begins=torch.from_numpy(first - begins[:, None]),
        ends=torch.from_numpy(ends - begins[:, None]),
        labels=torch.from_numpy(data.labels[position]),
        valid=torch.from_numpy(turn < counts[:, None]),
        positions=position,
    )
