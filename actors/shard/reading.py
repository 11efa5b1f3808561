"""What a shard answers about a user, and whether newer clicks may exist."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from actors.clock import Clock
from actors.errors import InvalidRequest
from actors.shard.held import HeldPartition, StateRead
from actors.shard.roles import Grant, Role
from actors.shard.settings import ShardSettings
from model.bundle.bundle import Bundle


class StateReader:
    """Reads states of held partitions; without locks but the stores' own."""

    def __init__(self, arms: Mapping[str, Bundle], clock: Clock, settings: ShardSettings) -> None:
        self._arms = arms
        self._clock = clock
        self._settings = settings
        self._lease_ends_s = math.inf  # without a coordinator nobody else can own anything
        self._granted: Mapping[int, Grant] | None = None

    def lease(self, until_s: float, grants: Mapping[int, Grant]) -> None:
        """Answers of partitions that are granted to an owner may count
        until then, in the clock's monotonic time.

        What is granted to somebody else by now is released a moment later.
        """
        self._granted = grants
        self._lease_ends_s = until_s

    def read(self, held: HeldPartition, arm: str, user_key: int) -> StateRead:
        """The user's state; while the partition restores, an empty and stale one.

        Raises:
            InvalidRequest: no arm has that name.
        """
        if (bundle := self._arms.get(arm)) is None:
            raise InvalidRequest(
                "arm", f"there is no arm {arm!r}; this shard has {sorted(self._arms)}"
            )
        if held.stores is None:
            return StateRead(row=None, offset=0, last_event_ms=-1, stale=True, partial=True)
        row, offset = held.stores[arm].read(user_key)
        at = bundle.layout.last_time
        return StateRead(
            row=row,
            offset=offset,
            last_event_ms=-1 if row is None else int(row[at : at + 8].view(np.int64)[0]),
            stale=self._is_stale(held, offset),
            partial=held.partial(offset, self._settings.ready_lag_records_max),
        )

    def _is_stale(self, held: HeldPartition, offset: int) -> bool:
        """A standby's answers, and those of an owner that may have a successor
        by now, count as stale always.
        """
        now_s = self._clock.monotonic()
        grant = held.grant if self._granted is None else self._granted.get(held.partition)
        owns = held.role is Role.OWNER and grant is not None and grant.role is Role.OWNER
        in_charge = owns and now_s <= self._lease_ends_s
        lag_max = self._settings.ready_lag_records_max
        heard_since_s = now_s - self._settings.silence_s
        return not in_charge or held.stale(offset, lag_max, heard_since_s)
