"""A published model: one directory of weights, item table, configuration and golden examples.

    config.json           the model's configuration, where it came from, by what `Recommend` sorts,
                          and the best level to answer at
    weights.safetensors   the arrays of `model.params`, items' projections pre-stored
    items.parquet         item ids in row order, their 64-bit keys, click counts
    golden.json           clicks of a few made-up users, the digest of their states and some scores
    manifest.json         size and digest of each of these; its own digest is the model version

Loading checks the digests, then folds and scores the golden examples: a bundle that does not give
the same bytes and the same scores on this machine is refused. Nothing here needs PyTorch.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from model.arrays import Bytes, Floats, Keys, Longs
from model.config import ModelConfig
from model.kernels.fold import fold_events
from model.kernels.read import Reading, read_row
from model.kernels.scorer import Scorer, Scores
from model.levels import Level
from model.order import Order
from model.params import FoldParams, ScoreParams, sizes_of
from model.popularity import Popularity
from model.state import layout, views

RETRIEVED_PER_ITEM = 10
RETRIEVED_MIN = 100
NAMELESS = "click"  # what an event without an action counts as
UNKNOWN_ACTION = 255  # above the id of any action


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a state says without any arithmetic."""

    events: int
    last_event_ms: int
    recent: Longs  # item rows, newest first, at most K


class Bundle:
    """One model version, ready to fold and score. Thread-safe:
    nothing in it changes after construction.
    """

    def __init__(
        self,
        *,
        version: str,
        config: ModelConfig,
        items: tuple[str, ...],
        fold: FoldParams,
        score: ScoreParams,
        order: Order = Order.NEXT_ITEM,
        best: Level = Level.FULL,
        popularity: Popularity = Popularity(),  # noqa: B008 - a constant
    ) -> None:
        self.version = version
        self.config = config
        self.items = items
        self.order = order
        self.best = best
        self.popularity = popularity
        self.layout = layout(config)
        self._sizes = sizes_of(config)
        self._fold = fold
        self._scorer = Scorer(score, len(items), config.ring_length)
        keys = np.array([xxhash.xxh64_intdigest(item.encode()) for item in items], dtype=np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._actions = {
            np.uint64(xxhash.xxh64_intdigest((name or NAMELESS).encode())): number
            for number, name in sorted(
                enumerate(config.actions), key=lambda action: action[1] != ""
            )
        }

    def unrounded(self) -> Bundle:
        """The same model over float32 states, which no event rounds;
        `model.state.widen` turns a row into one.
        """
        twin = copy.copy(self)
        twin.config = dataclasses.replace(self.config, state_dtype="float32")
        twin.layout = layout(twin.config)
        twin._sizes = sizes_of(twin.config)
        return twin

    def ordered(self, order: Order) -> Bundle:
        """The same model, recommending in another order."""
        twin = copy.copy(self)
        twin.order = order
        return twin

    def limited(self, best: Level) -> Bundle:
        """The same model, answering at `best` what is asked for above it."""
        twin = copy.copy(self)
        twin.best = best
        return twin

    def item_rows(self, keys: Keys) -> Longs:
        """Row of each item key (n,); an unknown item gets one of the hashed rows, V + key mod U."""
        hashed = len(self.items) + (keys % np.uint64(self.config.hashed_items)).astype(np.int64)
        if not len(self._keys):
            return hashed
        at = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._order[at], hashed)

    def action_ids(self, keys: Keys) -> Bytes:
        """Id of each action key (n,); UNKNOWN_ACTION for one that the model does
        not know, which is not to fold.
        """
        ids = np.full(len(keys), UNKNOWN_ACTION, dtype=np.uint8)
        for key, action in self._actions.items():
            ids[keys == key] = action
        return ids

    def fold(
        self,
        rows: Bytes,  # (capacity, row_bytes), changed in place
        index: Longs,  # (n,) the row of each event's user
        users: Keys,  # (n,) user keys
        items: Longs,  # (n,) item rows
        actions: Bytes,  # (n,) action ids
        times_ms: Longs,  # (n,)
        offsets: Longs,  # (n,)
    ) -> None:
        """Apply n events in order. Releases the GIL;
        the bytes depend on nothing but the events and this bundle.

        Raises:
            ValueError: an action is none of this model's; nothing was folded.
        """
        if len(actions) and int(actions.max()) >= len(self.config.actions):
            raise ValueError(
                f"action {int(actions.max())} is none of the model's {len(self.config.actions)}"
            )
        fold_events(
            self._fold,
            self._sizes,
            self.layout,
            views(rows),
            _plain(index, np.int64),
            _plain(users, np.uint64),
            _plain(items, np.int64),
            _plain(actions, np.uint8),
            _plain(times_ms, np.int64),
            _plain(offsets, np.int64),
        )

    def read(self, row: Bytes | None) -> Reading | None:
        """Decode one row (row_bytes,); None for a user without events."""
        if row is None:
            return None
        seen = views(_plain(row, np.uint8)[None])
        if not seen.u32[0, self.layout.events // 4]:
            return None
        return read_row(self._fold, self._sizes, self.layout, seen, 0)

    def remembered(self, row: Bytes) -> Remembered:
        """Header and ring of one row (row_bytes,)."""
        seen = views(_plain(row, np.uint8)[None])
        at = self.layout
        K = self.config.ring_length
        events = int(seen.u32[0, at.events // 4])
        places = (events - 1 - np.arange(min(events, K))) % K
        recent = seen.u32[0, at.ring_items // 4 + places].astype(np.int64)
        return Remembered(events, int(seen.i64[0, at.last_time // 8]), recent)

    def score(
        self, row: Bytes | None, items: Longs, now_ms: int, level: int = Level.FULL
    ) -> Scores:
        """Click probabilities of item rows (M,), at `level` but not above the bundle's best;
        for a cold user, at PRIOR.
        """
        return self._scorer.score(self.read(row), items, now_ms, max(Level(level), self.best))

    def next_item(self, row: Bytes) -> Floats:
        """Next-item logits (V,) of the whole catalogue, from the row of a user with events."""
        reading = self.read(row)
        if reading is None:
            raise ValueError(
                "a user without events has no next-item logits; ask for popularity (level PRIOR) "
                "instead"
            )
        return self._scorer.next_item(reading)[0]

    def recommend(
        self, row: Bytes | None, k: int, exclude_seen: bool, now_ms: int
    ) -> tuple[Longs, Scores]:
        """Top k item rows of the catalogue, best first,
        and the probabilities that they are sorted by.

        In the order of the next-item logit they are of level SEQUENCE; in that of the full model's
        clicks, FULL, and only what the logit retrieved is compared. Equal ones come by the logit,
        then by row. A bundle whose best level is SEQUENCE has the first order only. A cold user
        gets what is popular in the window that `popularity` names.
        """
        reading = self.read(row)
        catalogue = len(self.items)
        by_logit = self.order is Order.NEXT_ITEM or self.best is not Level.FULL
        if by_logit or reading is None:
            return self._scorer.best(reading, min(k, catalogue), exclude_seen=exclude_seen)
        depth = min(max(RETRIEVED_PER_ITEM * k, RETRIEVED_MIN), catalogue)
        found, _ = self._scorer.best(reading, depth, exclude_seen=exclude_seen)
        scores = self._scorer.score(reading, found, now_ms, Level.FULL)
        best = np.argsort(-scores.probabilities, kind="stable")[:k]
        return found[best], Scores(scores.probabilities[best], scores.level)


def _plain(column: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """The same numbers as a writable contiguous array:
    one compiled form of the kernels serves all callers.
    """
    plain = np.ascontiguousarray(column, dtype=dtype)
    return plain if plain.flags.writeable else plain.copy()
