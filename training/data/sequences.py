"""User histories, the vocabulary that numbers their items, and batches for training and evaluation.

Dimension letters: see `model.config`. A history is one user's events in time order, ties in the
log's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xxhash
from torch import Tensor

from model.arrays import Bools, Longs, Strings
from model.bundle.bundle import NAMELESS
from model.config import ACTIONS_MAX
from model.network.embedding import Sequences
from training.data.clicklog import ClickLog, factorize
from training.errors import DatasetError

UNKNOWN = -1  # the number of an action that a vocabulary does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Numbers for items and actions, the same that `Bundle.item_rows` and
    `Bundle.action_ids` give when serving.
    """

    items: tuple[str, ...]  # (V,) the catalogue, most frequent first
    actions: tuple[str, ...]
    hashed: int  # U: rows V..V+U-1 stand for all other items

    @classmethod
    def of(cls, log: ClickLog, *, hashed: int, events_min: int = 1) -> Vocabulary:
        """The catalogue of `log`: its items with at least `events_min` events.

        Raises:
            DatasetError: no item is that frequent, or there are too many actions.
        """
        codes, names = factorize(log.items)
        counts = np.bincount(codes, minlength=len(names)).astype(np.int64)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= events_min]
        if not len(order):
            raise DatasetError(
                f"no item of the log has {events_min} events; lower events_min or bring more events"
            )
        action_codes, actions = factorize(_named(log.actions))
        if len(actions) > ACTIONS_MAX:
            raise DatasetError(
                f"the log has {len(actions):,} different actions, such as {list(actions[:3])}; a "
                f"model takes {ACTIONS_MAX}: write rare ones as one, or name another column, such "
                "as --field action=COLUMN"
            )
        by_use = np.argsort(-np.bincount(action_codes), kind="stable")
        return cls(items=tuple(names[order]), actions=tuple(actions[by_use]), hashed=hashed)

    def item_rows(self, items: Strings) -> Longs:
        """Row (n,) of each item: 0..V-1 in the catalogue, else V + xxh64(item) mod U."""
        codes, names = factorize(items)
        known = {name: row for row, name in enumerate(self.items)}
        rows = [known[name] if name in known else self._hashed_row(name) for name in names]
        return np.array(rows, dtype=np.int64)[codes]

    def action_ids(self, actions: Strings) -> Longs:
        """Position (n,) of each action in `actions`;
        UNKNOWN for one that is not there, which no state folds.
        """
        codes, names = factorize(_named(actions))
        known = dict(
            sorted(((name or NAMELESS, n) for n, name in enumerate(self.actions)), reverse=True)
        )
        return np.array([known.get(name, UNKNOWN) for name in names], dtype=np.int64)[codes]

    def _hashed_row(self, item: str) -> int:
        return len(self.items) + xxhash.xxh64_intdigest(item.encode()) % self.hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """All users' events, one user after the other;
    user u has the events [starts[u], starts[u + 1]).
    """

    users: tuple[str, ...]
    items: Longs  # (n,) rows
    actions: Longs  # (n,), UNKNOWN among them only in logs that the vocabulary is not of
    times_ms: Longs  # (n,) non-decreasing within a user
    starts: Longs  # (users + 1,)

    @classmethod
    def of(cls, log: ClickLog, vocabulary: Vocabulary) -> Histories:
        """The histories of `log`, users in the order of their first event in it."""
        codes, names = factorize(log.users)
        # by user, then time; stable, so ties stay in the log's order
        order = np.lexsort((log.times_ms, codes))
        lengths = np.bincount(codes, minlength=len(names))
        return cls(
            users=tuple(names),
            items=vocabulary.item_rows(log.items)[order],
            actions=vocabulary.action_ids(log.actions)[order],
            times_ms=log.times_ms[order],
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )

    def lengths(self) -> Longs:
        """Events of each user."""
        return np.diff(self.starts)

    def counts(self, items: int) -> Longs:
        """Events of each catalogue item, (V,) for V = `items`."""
        return np.bincount(self.items, minlength=items)[:items].astype(np.int64)

    def without_last(self, count: int) -> Histories:
        """The same users without their last `count` events (users with fewer keep none)."""
        lengths = np.maximum(self.lengths() - count, 0)
        places = np.arange(len(self.items)) - np.repeat(self.starts[:-1], self.lengths())
        keep = places < np.repeat(lengths, self.lengths())
        return Histories(
            users=self.users,
            items=self.items[keep],
            actions=self.actions[keep],
            times_ms=self.times_ms[keep],
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )


class Held(NamedTuple):
    """Histories whose last `tails[u]` events are to be predicted,
    each from everything before it.
    """

    histories: Histories
    tails: Longs  # (users,); 0 for users without targets

    @classmethod
    def last(cls, histories: Histories) -> Held:
        """Leave-one-out: the last event of every user with at least 2."""
        return cls.newest(histories, 1)

    @classmethod
    def newest(cls, histories: Histories, count: int | None = None) -> Held:
        """The last `count` events of every user, or all of them, that have an event before them."""
        later = np.maximum(histories.lengths() - 1, 0)
        return cls(histories, later if count is None else np.minimum(count, later))

    @classmethod
    def since(cls, histories: Histories, time_ms: int) -> Held:
        """Global time split: every event at or after `time_ms` that has an event before it."""
        late = np.concatenate([[0], np.cumsum(histories.times_ms >= time_ms)])
        tails = late[histories.starts[1:]] - late[histories.starts[:-1]]
        return cls(histories, np.minimum(tails, np.maximum(histories.lengths() - 1, 0)))

    def targets(
        self, items: int, count_max: int | None = None, random: np.random.Generator | None = None
    ) -> Longs:
        """Flat positions (m,), ascending, of the events to be predicted whose item
        is in the catalogue (row < `items`).

        Of more than `count_max`, so many drawn by `random`.
        """
        histories = self.histories
        late = np.arange(len(histories.items)) >= np.repeat(
            histories.starts[1:] - self.tails, histories.lengths()
        )
        found = np.flatnonzero(late & (histories.items < items))
        if count_max is None or len(found) <= count_max:
            return found
        random = random or np.random.default_rng(0)
        return np.sort(random.choice(found, count_max, replace=False))

    def share(self, number: int, count: int) -> Held:
        """The targets of every `count`-th user, from user `number` on."""
        return self.of(np.arange(len(self.tails)) % count == number)

    def of(self, users: Bools) -> Held:
        """The targets of those users (users,) alone."""
        return self._replace(tails=np.where(users, self.tails, 0))


class Windows(NamedTuple):
    """Slices [begin, end) of the flat columns of `Histories`, each within one user."""

    begins: Longs
    ends: Longs


class Batch(NamedTuple):
    """One padded batch, and where its rows come from:
    row b holds the events from `begins[b]` on.
    """

    events: Sequences  # (B, L)
    begins: Longs  # (B,) flat positions in the histories


def training_windows(histories: Histories, length: int, random: np.random.Generator) -> Windows:
    """Windows of at most `length` + 1 events with random boundaries.

    Neighbouring windows share one event, so each event but a user's first is the target of exactly
    one window.
    """
    begins = []
    ends = []
    for start, stop in zip(histories.starts[:-1], histories.starts[1:], strict=True):
        if stop - start < 2:
            continue
        first = start + (random.integers(1, length + 1) if stop - start > length + 1 else length)
        edges = np.concatenate([[start], np.arange(first, stop - 1, length), [stop - 1]])
        begins.append(edges[:-1])
        ends.append(edges[1:] + 1)
    if not begins:
        raise DatasetError(
            "no user has two events, so there is nothing to learn from; bring a longer log"
        )
    return Windows(np.concatenate(begins), np.concatenate(ends))


def groups(
    windows: Windows, tokens: int, random: np.random.Generator | None = None
) -> list[Windows]:
    """Windows of similar length together,
    at most `tokens` padded positions a group (but at least one window).

    With `random`, equal lengths and the groups come in random order; without it, in order of
    length.
    """
    lengths = windows.ends - windows.begins
    jitter = np.zeros(len(lengths)) if random is None else random.random(len(lengths))
    order = np.lexsort((jitter, lengths))
    cuts = [0]
    for place in range(len(order)):
        if place > cuts[-1] and (place + 1 - cuts[-1]) * lengths[order[place]] > tokens:
            cuts.append(place)
    parts = [
        Windows(windows.begins[part], windows.ends[part]) for part in np.split(order, cuts[1:])
    ]
    return parts if random is None else [parts[turn] for turn in random.permutation(len(parts))]


def pad(histories: Histories, windows: Windows) -> Batch:
    """One batch of the windows, padded at the end by repeating each window's last event."""
    lengths = windows.ends - windows.begins
    offsets = np.arange(lengths.max())  # (L,)
    mask = offsets < lengths[:, None]  # (B, L)
    at = windows.begins[:, None] + np.minimum(offsets, lengths[:, None] - 1)  # (B, L)
    return Batch(
        Sequences(
            items=_tensor(histories.items[at]),
            actions=_tensor(histories.actions[at]),
            times_ms=_tensor(histories.times_ms[at]),
            mask=torch.from_numpy(mask),
            before=_tensor(_before(histories, windows.begins)),
        ),
        windows.begins,
    )


def _named(actions: Strings) -> Strings:
    """The same, where an action without a name is a click, as it is in the stream."""
    return np.where(actions == "", NAMELESS, actions)


def _before(histories: Histories, begins: Longs) -> Longs:
    """What came before the event at each flat position (B,): how many events of its user, and how
    many milliseconds ago the last of them, (B, 2).
    """
    starts = histories.starts[np.searchsorted(histories.starts, begins, side="right") - 1]
    gap_ms = histories.times_ms[begins] - histories.times_ms[np.maximum(begins - 1, starts)]
    return np.stack([begins - starts, gap_ms], axis=1)


def _tensor(values: Longs) -> Tensor:
    return torch.from_numpy(values)
