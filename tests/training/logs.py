"""Small logs that training tests share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from training.data import columns
from training.data.clicklog import ClickLog
from training.data.remarks import Remarks
from training.data.time_column import TimeUnit


def make_log(events: list[tuple[str, str, int]], ratings: list[float] | None = None) -> ClickLog:
    """A log of (user, item, time_ms) events."""
    users, items, times = zip(*events, strict=True)
    return ClickLog(
        users=np.array(users, dtype=object),
        items=np.array(items, dtype=object),
        actions=np.full(len(users), "click", dtype=object),
        times_ms=np.array(times, dtype=np.int64),
        ratings=None if ratings is None else np.array(ratings),
    )


def cyclic_log(users: int = 40, length: int = 9) -> ClickLog:
    """Users who walk through 12 items in a circle, from different starts:
    predictable from order alone.
    """
    events = [
        (f"user-{user}", f"item-{(user * 5 + step) % 12}", 60_000 * (1 + step * users + user))
        for user in range(users)
        for step in range(length)
    ]
    return make_log(sorted(events, key=lambda event: event[2]))


def read_noted(table: pa.Table, heard: list[str], unit: TimeUnit = "ms") -> ClickLog:
    """The log of a table; what is remarked on it goes to `heard`."""
    remarks = Remarks()
    log = columns.of_table(table, {}, unit, "log", remarks)
    remarks.tell(heard.append)
    return log
