"""A click log as columns: what every data set becomes, and what training reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model.arrays import Bools, Doubles, Longs, Strings
from training.errors import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickLog:
    """n events in the order of their source; ids are strings, times are milliseconds since 1970.

    Where two events share a time, their order here is the order in which they happened: every sort
    is stable. `ratings` is None for sources without any.
    """

    users: Strings  # (n,)
    items: Strings  # (n,)
    actions: Strings  # (n,)
    times_ms: Longs  # (n,)
    ratings: Doubles | None = None  # (n,)

    def __post_init__(self) -> None:
        """Check that all columns are equally long."""
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) != 1:
            raise DatasetError(f"the columns of a click log must be equally long, got {lengths}")

    def __len__(self) -> int:
        return len(self.times_ms)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The columns that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: column for name, column in found.items() if column is not None}

    def take(self, index: Longs | Bools) -> ClickLog:
        """The events at `index` (positions or a boolean mask), in that order."""
        ratings = None if self.ratings is None else self.ratings[index]
        return ClickLog(
            users=self.users[index],
            items=self.items[index],
            actions=self.actions[index],
            times_ms=self.times_ms[index],
            ratings=ratings,
        )

    def rows(self, start: int, stop: int) -> ClickLog:
        """The events [start, stop)."""
        return self.take(np.arange(start, stop))

    def by_time(self) -> ClickLog:
        """The same events in time order; ties keep the order of their source."""
        return self.take(np.argsort(self.times_ms, kind="stable"))

    def with_frequent_items(self, events_min: int) -> ClickLog:
        """Only the events of items that occur at least `events_min` times, as RecBole filters."""
        codes, names = factorize(self.items)
        frequent = np.bincount(codes, minlength=len(names)) >= events_min
        return self.take(frequent[codes])

    def counts(self) -> tuple[int, int, int]:
        """Numbers of users, items and events."""
        return len(factorize(self.users)[1]), len(factorize(self.items)[1]), len(self)


def joined(logs: Sequence[ClickLog]) -> ClickLog:
    """The events of several logs, of which all or none have ratings, one after the other."""
    if len(logs) == 1:
        return logs[0]
    names = logs[0].columns()
    return ClickLog(
        **{name: np.concatenate([log.columns()[name] for log in logs]) for name in names}
    )


def factorize(strings: Strings) -> tuple[Longs, Strings]:
    """Codes (n,) into the distinct values, which stand in the order of their first occurrence."""
    return unique_strings(pa.array(strings, type=pa.large_string()))


def unique_strings(texts: pa.Array | pa.ChunkedArray) -> tuple[Longs, Strings]:
    """The same of an Arrow column without nulls, of whatever size:
    large offsets and one chunk hold more than 2 GiB.
    """
    whole = texts.cast(pa.large_string())
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.combine_chunks()
    encoded = whole.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_numpy(zero_copy_only=False).astype(object)
