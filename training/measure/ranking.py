"""Ranks of held-out events over the whole catalogue, twice, and what they amount to.

By RecBole's protocol every catalogue item competes and the history is not masked ("plain"). Beside
it stand the same scores with already-seen items taken out of the competition ("excluded"), the
target among them if it was seen: a miss, as `exclude_seen` of the RPC leaves it out. RecBole's
masking keeps the target in; figures differ where users take an item twice. Scores are ranked as
papers do (`of`): ties count against the target. Lists are ranked as they are shown (`listed`): an
item has the place at which it stands, and one that is left out is a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.arrays import Doubles, Longs, Reals
from training.data.sequences import Held
from training.errors import TrainingError
from training.measure import metrics

UNLISTED = np.iinfo(np.int32).max  # the rank of an item that a list does not hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Ranks of the held-out events, in no particular order."""

    plain: Longs  # (m,)
    excluded: Longs  # (m,)

    @classmethod
    def of(cls, scores: Reals, held: Held, place: Longs) -> Ranking:
        """Rank the event after each flat position `place` (m,) by scores (m, V), which are changed.

        Raises:
            DivergedError: the scores are not numbers.
        """
        target = held.histories.items[place + 1]
        plain = metrics.ranks(scores, target)
        _rule_out(scores, held, place)
        seen = np.take_along_axis(scores, target[:, None], axis=1)[:, 0] == -np.inf
        return cls(plain=plain, excluded=np.where(seen, UNLISTED, metrics.ranks(scores, target)))

    @classmethod
    def listed(cls, ranks: Iterable[tuple[int, int]]) -> Ranking:
        """Of pairs of ranks, plain and excluded, `UNLISTED` where the item was not in the list.

        Raises:
            TrainingError: there is none.
        """
        pairs = np.array(list(ranks), dtype=np.int64).reshape(-1, 2)
        return cls.joined([cls(plain=pairs[:, 0], excluded=pairs[:, 1])])

    @classmethod
    def joined(cls, parts: Sequence[Ranking]) -> Ranking:
        """All parts as one.

        Raises:
            TrainingError: there is no event in them.
        """
        if not sum(len(part.plain) for part in parts):
            raise TrainingError(
                "no held-out event to rank: all users have one event only, or no target is in the "
                "catalogue; bring a longer log"
            )
        return cls(
            plain=np.concatenate([part.plain for part in parts]),
            excluded=np.concatenate([part.excluded for part in parts]),
        )

    def summary(self, k: int = 10) -> dict[str, float]:
        """HR, NDCG and MRR at k, plain and excluded."""
        found: dict[str, float] = {"events": float(len(self.plain))}
        for suffix, rank in (("", self.plain), ("_excluded", self.excluded)):
            found[f"hr{k}{suffix}"] = float(metrics.hit_ratio(rank, k).mean())
            found[f"ndcg{k}{suffix}"] = float(metrics.ndcg(rank, k).mean())
            found[f"mrr{k}{suffix}"] = float(metrics.reciprocal_rank(rank, k).mean())
        return found

    def intervals(self, k: int = 10, seed: int = 0) -> dict[str, float]:
        """95 % bootstrap intervals of HR and NDCG at k, plain and excluded:
        `hr10_low`, `hr10_high` and so on.
        """
        found: dict[str, float] = {}
        for suffix, rank in (("", self.plain), ("_excluded", self.excluded)):
            for name, values in (
                (f"hr{k}", metrics.hit_ratio(rank, k)),
                (f"ndcg{k}", metrics.ndcg(rank, k)),
            ):
                low, high = _interval_of_mean(values, seed)
                found |= {f"{name}{suffix}_low": low, f"{name}{suffix}_high": high}
        return found


def _interval_of_mean(values: Doubles, seed: int) -> tuple[float, float]:
    return metrics.bootstrap(lambda at: float(values[at].mean()), len(values), seed=seed)


def _rule_out(scores: Reals, held: Held, place: Longs) -> None:
    """Set the scores of everything in the user's whole history up to
    `place` (m,) to minus infinity.
    """
    histories = held.histories
    items = scores.shape[1]
    starts = histories.starts[np.searchsorted(histories.starts, place, side="right") - 1]
    lengths = place + 1 - starts
    rows = np.repeat(np.arange(len(place)), lengths)
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    seen = histories.items[np.repeat(starts, lengths) + offsets]
    inside = seen < items
    scores[rows[inside], seen[inside]] = -np.inf
