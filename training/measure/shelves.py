"""Short candidate lists as rankers meet them, and how well each level finds the clicked item there.

Three kinds, of SIZE items each (fewer where the catalogue is smaller), the clicked one among them:
- uniform: items that the user has not had, drawn uniformly; calibration is fitted on such lists.
- popular: the user's OWN newest items, and others drawn by how often they are clicked, none twice.
- top: what the model itself would retrieve, the first of its next-item logit. If the clicked item
  is not there it takes the place of the last one.

Letters: m lists, M items a list, V catalogue items.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.arrays import Bytes, Doubles, Longs
from model.bundle.bundle import Bundle
from model.levels import BEST, Level
from model.order import Order
from training.data.sequences import Histories
from training.measure import metrics
from training.measure.evaluate import Clicks
from training.measure.served import logit
from training.measure.targets import NegativeSampler

SIZE = 100
OWN = 20


class Shelf(StrEnum):
    """A kind of candidate list."""

    UNIFORM = "uniform"
    POPULAR = "popular"
    TOP = "top"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a bundle said of lists whose first item was clicked."""

    users: Longs  # (m,)
    logits: Doubles  # (m, M) of the probabilities that it answered

    def auc(self) -> Doubles:
        """Of each list (m,): the share of the others below the clicked item, ties counting half."""
        own = self.logits[:, :1]
        others = self.logits[:, 1:]
        below = (others < own).mean(axis=1) + (others == own).mean(axis=1) / 2
        return np.asarray(below)

    def ndcg(self, k: int = 10) -> Doubles:
        """NDCG@k within each list (m,); ties count against the clicked item."""
        return metrics.ndcg(metrics.ranks(self.logits, np.zeros(len(self.logits), np.int64)), k)

    def summary(self) -> dict[str, float]:
        """AUC over all candidates, GAUC within lists, log-loss and calibration error of the
        probabilities as they were answered, NDCG@10 within lists.
        """
        m, M = self.logits.shape
        lists = Clicks(
            users=np.repeat(np.arange(m), M),
            labels=np.tile(np.arange(M) == 0, m),
            logits=self.logits.ravel(),
        )
        return lists.summary() | {"ndcg10": float(self.ndcg().mean())}


class Shelves:
    """Lists of one kind, drawn for a bundle's users and asked of it at both levels."""

    def __init__(self, bundle: Bundle, histories: Histories, shelf: Shelf, seed: int = 0) -> None:
        self._bundle = bundle
        self._histories = histories
        self._shelf = shelf
        self._random = np.random.default_rng(seed)
        self._items = len(bundle.items)
        self._counts = histories.counts(self._items)
        self._unseen = NegativeSampler(histories, self._items, popular=0.0, seen=0.0)
        self._retrieving = bundle.ordered(Order.NEXT_ITEM)
        self._users: list[int] = []
        self._logits: dict[Level, list[Doubles]] = {level: [] for level in BEST}

    def ask(self, target: int, row: Bytes) -> None:
        """Put the list of one click, a flat position whose user's state before it is
        `row` (row_bytes,), to the bundle.
        """
        items = self.draw(target, row)
        now_ms = int(self._histories.times_ms[target])
        self._users.append(int(np.searchsorted(self._histories.starts, target, side="right")) - 1)
        for level, logits in self._logits.items():
            logits.append(logit(self._bundle.score(row, items, now_ms, level).probabilities))

    def asked(self) -> dict[Level, Asked]:
        """All that was answered so far, by the level that was asked for."""
        users = np.array(self._users, dtype=np.int64)
        return {
            level: Asked(users=users, logits=np.stack(logits))
            for level, logits in self._logits.items()
        }

    def draw(self, target: int, row: Bytes) -> Longs:
        """Item rows (M,) of the list of one click, the clicked item first."""
        start = self._histories.starts[
            np.searchsorted(self._histories.starts, target, side="right") - 1
        ]
        if self._shelf is Shelf.UNIFORM:
            at = np.array([[target - 1 - start]])
            drawn = self._unseen.draw(np.array([start]), at, SIZE - 1, self._random)
            return np.asarray(drawn.candidates[0, 0].numpy())
        item = int(self._histories.items[target])
        if self._shelf is Shelf.POPULAR:
            return self._popular(item, self._histories.items[start:target])
        now_ms = int(self._histories.times_ms[target])
        listed, _ = self._retrieving.recommend(row, SIZE, False, now_ms)
        return np.concatenate([[item], listed[listed != item][: len(listed) - 1]])

    def _popular(self, item: int, history: Longs) -> Longs:
        """Without replacement: of exponential times with the counts as rates the shortest
        (P. Efraimidis, P. Spirakis. 2006. Weighted random sampling with a reservoir).
        """
        with np.errstate(divide="ignore"):
            order = self._random.standard_exponential(self._items) / self._counts  # (V,)
        known = history[history < self._items]
        _, newest = np.unique(known[::-1], return_index=True)
        order[known[::-1][np.sort(newest)[:OWN]]] = -1
        order[item] = -2
        size = min(SIZE, self._items)
        chosen = np.argpartition(order, size - 1)[:size]
        return chosen[np.argsort(order[chosen], kind="stable")]
