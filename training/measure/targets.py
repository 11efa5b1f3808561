"""What the head is asked about: candidates at some positions of a batch.

To learn, the next item among items drawn from the model's own lists, with the share of each in the
draw (`ListSampler`). To be judged, the next item against sampled negatives, or labelled impressions
(such as rating >= 4) as they stand in the log. Letters: B users, L events, Q positions a user, M
candidates a position, V catalogue items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.arrays import Bools, Longs
from training.data.sequences import Batch, Histories

REDRAWS = 8
OWN = 0.6  # of the candidates that the head learns from: as the model itself lists them


class ClickTargets(NamedTuple):
    """Candidates asked right before event `at` + 1, when only the events up to `at` are known."""

    at: Tensor  # (B, Q) positions
    candidates: Tensor  # (B, Q, M) item rows
    now_ms: Tensor  # (B, Q) time of event at + 1
    labels: Tensor  # (B, Q, M) bool
    valid: Tensor  # (B, Q) bool, false for places that only fill up


class Lists(NamedTuple):
    """The next item and M drawn ones asked right before event `at` + 1;
    `expected` is what the drawing favoured, to be taken out again.
    """

    at: Tensor  # (B, Q) positions
    candidates: Tensor  # (B, Q, 1 + M) item rows, the next item first
    now_ms: Tensor  # (B, Q) time of event at + 1
    # (B, Q, 1 + M) log of how often each is drawn on average; 0 for the next item, and infinity
    # where it was drawn again, so that it counts once
    expected: Tensor
    valid: Tensor  # (B, Q) bool, false where the next item is not in the catalogue


class ListSampler:
    """Draws items as the model itself lists them:
    a share `own` by its next-item softmax, the rest half evenly and half by popularity.

    So most candidates are those that the head will be asked to sort, and none is impossible.
    """

    def __init__(self, histories: Histories, items: int, *, own: float = OWN) -> None:
        self.histories = histories
        self.items = items
        self.own = own
        counts = torch.from_numpy(histories.counts(items)).double()
        self.others = 0.5 / items + 0.5 * counts / counts.sum().clamp(min=1)  # (V,)

    def draw(
        self,
        begins: Longs,
        at: Longs,
        logits: Tensor | None,
        count: int,
        random: np.random.Generator,
    ) -> Lists:
        """The next item and `count` others, at positions `at` (B, Q) of rows from `begins` (B) on.

        `logits` (B * Q, V) are the model's own there; without them nothing is drawn by the model.
        Of the summed shares each of `count` equal parts gives one item, which evens out chance.
        """
        share = self.others  # (V,)
        if logits is not None:
            own = logits.cpu().double().softmax(dim=1)
            share = self.own * own + (1 - self.own) * share  # (B * Q, V)
        drawn = _parts(share.cumsum(dim=-1), at.size, count, random)
        drawn_share = share[drawn] if logits is None else share.gather(1, drawn)
        return self._lists(begins, at, drawn, count * drawn_share)

    def draw_among(
        self,
        begins: Longs,
        at: Longs,
        logits: Tensor,
        some: Tensor,
        count: int,
        random: np.random.Generator,
    ) -> Lists:
        """As `draw`, where the model's own `logits` (B * Q, C) are of `some` items (C,), ascending:
        the same share of `count` is drawn by the model among these, the rest as ever.
        """
        own = logits.cpu().double().softmax(dim=1)  # (B * Q, C)
        some = some.cpu()
        listed = round(self.own * count)
        column = _parts(own.cumsum(dim=1), at.size, listed, random)
        rest = _parts(self.others.cumsum(dim=0), at.size, count - listed, random)
        drawn = torch.cat([some[column], rest], dim=1)  # (B * Q, M)
        column = torch.searchsorted(some, drawn).clamp(max=len(some) - 1)
        own_share = own.gather(1, column).where(some[column] == drawn, 0)
        expected = listed * own_share + (count - listed) * self.others[drawn]
        return self._lists(begins, at, drawn, expected)

    def _lists(self, begins: Longs, at: Longs, drawn: Tensor, expected: Tensor) -> Lists:
        """Of what was drawn (B * Q, M), and how often each is on average."""
        place = begins[:, None] + at  # (B, Q) flat
        positive = torch.from_numpy(self.histories.items[place + 1])  # (B, Q)
        shape = (*positive.shape, drawn.shape[1])
        drawn = drawn.view(shape)
        taken_out = expected.log().float().view(shape)
        taken_out = taken_out.masked_fill(drawn == positive[..., None], float("inf"))
        return Lists(
            torch.from_numpy(at),
            torch.cat([positive[..., None], drawn], dim=-1),
            torch.from_numpy(self.histories.times_ms[place + 1]),
            torch.cat([torch.zeros(*positive.shape, 1), taken_out], dim=-1),
            positive < self.items,
        )


def _parts(summed: Tensor, rows: int, count: int, random: np.random.Generator) -> Tensor:
    """Of summed shares (V,) or (rows, V), a place (rows, count) out of each of equal parts."""
    chance = torch.from_numpy(random.random((rows, count)))
    parts = (torch.arange(count) + chance) / count * summed[..., -1:]
    return torch.searchsorted(summed, parts).clamp(max=summed.shape[-1] - 1)


class NegativeSampler:
    """Draws catalogue items that a user has not had so far, some uniformly and some by popularity.

    A share `seen` comes from the user's own past instead, so that repeats are asked about, too.
    """

    def __init__(
        self, histories: Histories, items: int, *, popular: float = 0.5, seen: float = 0.1
    ) -> None:
        self.histories = histories
        self.items = items
        self.popular = popular
        self.seen = seen
        self.rows = 1 + max(items, int(histories.items.max(initial=0)))
        counts = histories.counts(items)
        self.cumulative = np.cumsum(counts) / max(1, counts.sum())
        users = np.repeat(np.arange(len(histories.users)), histories.lengths())
        self.keys, self.first = np.unique(users * self.rows + histories.items, return_index=True)

    def draw(
        self, begins: Longs, at: Longs, negatives: int, random: np.random.Generator
    ) -> ClickTargets:
        """The next item (label true) and `negatives` others, at positions `at` (B,
        Q) of rows from `begins` (B) on.
        """
        place = begins[:, None] + at  # (B, Q) flat
        positive = self.histories.items[place + 1]  # (B, Q)
        shape = (*at.shape, negatives)
        drawn = np.where(random.random(shape) < self.popular, self._popular(shape, random), -1)
        for _ in range(REDRAWS):
            bad = (
                (drawn < 0) | (drawn == positive[..., None]) | self.is_seen(place[..., None], drawn)
            )
            drawn = np.where(bad, random.integers(0, self.items, shape), drawn)
        past = self.histories.items[
            begins[:, None, None] + self._up_to(at[..., None], shape, random)
        ]
        own = (random.random(shape) < self.seen) & (past < self.items)
        drawn = np.where(own, past, drawn)
        drawn = np.where(drawn == positive[..., None], (drawn + 1) % self.items, drawn)
        candidates = np.concatenate([positive[..., None], drawn], axis=-1)  # (B, Q, M)
        labels = torch.zeros(candidates.shape, dtype=torch.bool)
        labels[..., 0] = True
        return ClickTargets(
            torch.from_numpy(at),
            torch.from_numpy(candidates),
            torch.from_numpy(self.histories.times_ms[place + 1]),
            labels,
            torch.from_numpy(positive < self.items),
        )

    def is_seen(self, place: Longs, items: Longs) -> Bools:
        """Whether the user of the event at each flat position has had the item
        up to and including that event.
        """
        users = np.searchsorted(self.histories.starts, place, side="right") - 1
        wanted = users * self.rows + items
        found = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.asarray((self.keys[found] == wanted) & (self.first[found] <= place))

    def _popular(self, shape: tuple[int, ...], random: np.random.Generator) -> Longs:
        drawn = np.searchsorted(self.cumulative, random.random(shape), side="right")
        return np.minimum(drawn, self.items - 1)

    @staticmethod
    def _up_to(at: Longs, shape: tuple[int, ...], random: np.random.Generator) -> Longs:
        return np.floor(random.random(shape) * (at + 1)).astype(np.int64)


def random_positions(batch: Batch, count: int, random: np.random.Generator) -> Longs:
    """`count` positions (B, Q) a user, drawn among those that have a next event."""
    lengths: Longs = batch.events.mask.sum(dim=1).numpy()[:, None]  # (B, 1)
    return np.floor(random.random((len(lengths), count)) * (lengths - 1)).astype(np.int64)


def labelled(histories: Histories, begins: Longs, at: Longs, labels: Bools) -> ClickTargets:
    """The event after each position `at` (B, Q) as one candidate,
    with its own label from `labels` (n,).
    """
    place = begins[:, None] + at + 1
    return ClickTargets(
        torch.from_numpy(at),
        torch.from_numpy(histories.items[place])[..., None],
        torch.from_numpy(histories.times_ms[place]),
        torch.from_numpy(labels[place])[..., None],
        torch.ones(at.shape, dtype=torch.bool),
    )
