"""How the states of two stores of one arm differ: which users, and which part of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xxhash

from actors.state.store import PartitionStore
from model.arrays import Bytes
from model.state import StateLayout

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """One user whose rows differ; a digest is the xxh3 of a row, None where there is no row."""

    user: int  # key
    expected: str | None
    found: str | None
    parts: tuple[str, ...]  # fields of `model.state.StateLayout`; none where one row is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a comparison row by row found; `users` differ,
    of whom the first few are `shown`, by their keys.
    """

    users_expected: int
    users_found: int
    users: int
    shown: tuple[RowDifference, ...]


def compare(expected: PartitionStore, found: PartitionStore, shown: int = SHOWN) -> Difference:
    """Compare two stores of one bundle row by row; nobody may write to them meanwhile."""
    differing = [user for user, row in _rows(expected) if not _same(row, found.row(user))]
    differing += [user for user, _ in _rows(found) if expected.row(user) is None]
    first = sorted(differing)[:shown]
    layout = expected.bundle.layout
    return Difference(
        users_expected=expected.users,
        users_found=found.users,
        users=len(differing),
        shown=tuple(
            _difference(layout, user, expected.row(user), found.row(user)) for user in first
        ),
    )


def _rows(store: PartitionStore) -> Iterator[tuple[int, Bytes]]:
    for users, rows in store.states():
        yield from zip(users.tolist(), rows, strict=True)


def _same(row: Bytes, other: Bytes | None) -> bool:
    return other is not None and np.array_equal(row, other)


def _difference(
    layout: StateLayout, user: int, expected: Bytes | None, found: Bytes | None
) -> RowDifference:
    parts: tuple[str, ...] = ()
    if expected is not None and found is not None:
        ends = pairwise(layout._asdict().items())
        parts = tuple(
            name
            for (name, at), (_, end) in ends
            if not np.array_equal(expected[at:end], found[at:end])
        )
    return RowDifference(user=user, expected=_digest(expected), found=_digest(found), parts=parts)


def _digest(row: Bytes | None) -> str | None:
    return None if row is None else xxhash.xxh3_64_hexdigest(row.tobytes())
