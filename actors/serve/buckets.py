"""Which arm each of the 10,000 buckets of users belongs to,
and how that changes with the arms' weights.

A table of buckets is kept as runs, `(arm, count)` one after the other, and changed from the one
before: an arm that shall have fewer gives up just so many, and those alone move. Nobody else gets
another arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

BUCKETS = 10_000
Runs = tuple[tuple[str, int], ...]


class Weighted(Protocol):
    """An arm, as far as the split looks at it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def role(self) -> str:
        """Only live arms take traffic."""

    @property
    def weight(self) -> int:
        """Its share, in parts of the sum of the live weights."""


def first_buckets(arms: Iterable[Weighted]) -> Runs:
    """The table of a deployment that had none: consecutive ranges, in name order;
    empty if no live arm has a weight.
    """
    live = sorted(
        (arm for arm in arms if arm.role == "live" and arm.weight), key=lambda arm: arm.name
    )
    total = sum(arm.weight for arm in live)
    ends = [0]
    reached = 0
    for arm in live:
        reached += arm.weight
        # the first bucket whose place in the sum of weights is beyond
        ends.append(-(-reached * BUCKETS // total))
    return tuple(
        (arm.name, end - begin)
        for arm, begin, end in zip(live, ends[:-1], ends[1:], strict=True)
        if end > begin
    )


def next_buckets(before: Runs, arms: Iterable[Weighted]) -> Runs:
    """The table for these arms that moves the fewest buckets away from where they were.

    Of those that could move, the ones move that then lie where the first table would have them: so
    a change that is taken back brings everybody back.
    """
    fresh = expanded(first_buckets(arms))
    table = expanded(before)
    if not table or not fresh:
        return runs(fresh)
    counts = Counter(table)
    wanted = Counter(fresh)
    surplus = counts - wanted
    deficit = wanted - counts
    freed = []
    for settled in (False, True):  # first what lies elsewhere than the first table would have it
        for bucket in reversed(range(BUCKETS)):
            arm = table[bucket]
            if surplus[arm] > 0 and (fresh[bucket] == arm) == settled:
                surplus[arm] -= 1
                freed.append(bucket)
                table[bucket] = ""
    for bucket in freed:
        if deficit[fresh[bucket]] > 0:
            deficit[fresh[bucket]] -= 1
            table[bucket] = fresh[bucket]
    left = (name for name in sorted(deficit) for _ in range(deficit[name]))
    for bucket in sorted(bucket for bucket in freed if not table[bucket]):
        table[bucket] = next(left)
    return runs(table)


def expanded(table: Runs) -> list[str]:
    """The arm of each bucket; ValueError unless there are 10,000 of them, or none."""
    arms = [name for name, count in table for _ in range(count)]
    if len(arms) not in (0, BUCKETS):
        raise ValueError(f"the table of the traffic split has {len(arms)} buckets, not {BUCKETS}")
    return arms


def runs(arms: Sequence[str]) -> Runs:
    """The table that has these arms, in their order."""
    return tuple((name, sum(1 for _ in same)) for name, same in groupby(arms))
