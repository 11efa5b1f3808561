"""An ingest's process: reads the partitions that are its part for their owners, and once more for standbys.

The two readers share nothing: a standby that restores or lags never holds up an owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from actors.errors import BrokerUnavailable
from actors.ingest import Ingest
from actors.roles import Role
from cluster.routing import RoutingTable

log = logging.getLogger(__name__)

RETRY_S = 1.0


class Followed(Protocol):
    """The coordinator, as far as ingest needs it."""

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""


class Shards(Protocol):
    """The shards, as far as they need to be told the routing table."""

    def follow(self, table: RoutingTable) -> None:
        """Use this table from now on."""


class Reader(NamedTuple):
    """An ingest, the shards it feeds, and the way to close its connections."""

    ingest: Ingest
    shards: Shards
    close: Callable[[], None]


class IngestProcess:
    """Reads the partitions p with p mod `count` = `number`.

    The second reader exists while some of them have a standby: always where standbys are configured, and else
    while partitions move.
    """

    def __init__(
        self, *, owners: Reader, open_standbys: Callable[[], Reader], followed: Followed, number: int, count: int
    ) -> None:
        self._owners, self._open_standbys, self._followed = owners, open_standbys, followed
        self._number, self._count = number, count
        self._table: RoutingTable | None = None
        self._standbys: Reader | None = None
        self._has_standbys, self._has_none = asyncio.Event(), asyncio.Event()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Follow the routing table and move clicks, until `stop`."""
        following = asyncio.create_task(self._followed.follow(self._follow))
        reading = asyncio.create_task(self._owners.ingest.run(self._stop))
        standing_by = asyncio.create_task(self._read_for_standbys())
        done, _ = await asyncio.wait((following, reading, standing_by), return_when=asyncio.FIRST_COMPLETED)
        following.cancel()
        for task in done:
            task.result()
        self._has_none.set()
        self._has_standbys.set()  # only to wake who waits for it
        await standing_by
        await self._owners.ingest.close()
        self._stopped.set()

    async def stop(self) -> None:
        """Finish the round in progress and read no more."""
        self._stop.set()
        await self._stopped.wait()

    async def _follow(self, table: RoutingTable) -> None:
        self._table = table
        self._assign(self._owners, Role.OWNER)
        if self._part(Role.STANDBY):
            self._has_none.clear()
            self._has_standbys.set()
        else:
            self._has_standbys.clear()
            self._has_none.set()
        if self._standbys is not None:
            self._assign(self._standbys, Role.STANDBY)

    async def _read_for_standbys(self) -> None:
        await self._has_standbys.wait()
        while not self._stop.is_set():
            try:
                reader = await asyncio.to_thread(self._open_standbys)
            except BrokerUnavailable as error:
                log.warning("nobody reads for standbys yet, next try in %.0f s: %s", RETRY_S, error)
                await asyncio.sleep(RETRY_S)
                continue
            self._standbys = reader
            self._assign(reader, Role.STANDBY)
            await reader.ingest.run(self._has_none)
            self._standbys = None
            await reader.ingest.close()
            await asyncio.to_thread(reader.close)
            await self._has_standbys.wait()

    def _assign(self, reader: Reader, role: Role) -> None:
        assert self._table is not None
        reader.shards.follow(self._table)
        reader.ingest.assign(self._part(role))

    def _part(self, role: Role) -> dict[int, int]:
        """The epoch of each partition of ours that has a registered replica in this role."""
        assert self._table is not None
        replicas = self._table.replicas(role).items()
        return {p: replica.epoch for p, replica in replicas if p % self._count == self._number}
