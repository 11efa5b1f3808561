"""What the head is asked to predict: candidates at some positions of a batch, with labels.

Either the next item against sampled negatives, or labelled impressions (such as rating >= 4) as
they stand in the log. Letters: B users, L events, Q positions a user, M candidates a position, V
catalogue items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.arrays import Bools, Longs
from training.data.sequences import Batch, Histories

REDRAWS = 8


class ClickTargets(NamedTuple):
    """Candidates asked right before event `at` + 1, when only the events up to `at` are known."""

    at: Tensor  # (B, Q) positions
    candidates: Tensor  # (B, Q, M) item rows
    now_ms: Tensor  # (B, Q) time of event at + 1
    labels: Tensor  # (B, Q, M) bool
    valid: Tensor  # (B, Q) bool, false for places that only fill up


class NegativeSampler:
    """Draws catalogue items that a user has not had so far, some uniformly and some by popularity.

    A share `seen` comes from the user's own past instead, so that the head also learns what a
    repeat is worth.
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
